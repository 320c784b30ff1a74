"""GET: finds the newest record of a key among its holders.

A read asks as many of the group of the key as it needs, and spare nodes where waiting costs more than asking
does (`Lookups.spares`), so that a lost datagram rarely stalls it. It ends when most of the group have the
record that it returns, or at once if the record proves itself (content). Otherwise it ends when all near
nodes have answered, and returns the greatest record they have. A write is acknowledged only when most of the
group have it; so a read that begins later does not end on the record that the write replaced.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from copy import copy
from typing import Protocol

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, succeed

from dht14.bounded import ExpiringSet
from dht14.kademlia.contact import Contact
from dht14.kademlia.disjoint_lookup import DisjointLookup
from dht14.kademlia.lookup import Lookup, Purpose
from dht14.kademlia.parameters import (
    CONTENT_SPARES_FAR,
    CONTENT_SPARES_NEAR,
    FIRST_READ_TIMEOUT,
    GROUP,
    OPERATION_TIMEOUT,
    QUORUM,
    REPLICATION,
    SPARES_FAR,
    SPARES_NEAR,
    K,
)
from dht14.node.fetch import FetchRace, ValueSource, advertised_in, is_within, record_in
from dht14.node.lookup_run import AnyLookup
from dht14.node.lookups import Lookups
from dht14.node.network_clock import NetworkClock
from dht14.node.ports import Bulk
from dht14.node.resync_state import ResyncState
from dht14.records.advertised import AdvertisedRecord
from dht14.records.read_quorum import Rank, ReadQuorum
from dht14.records.receipt import NoRecord
from dht14.records.record import Kind, Record
from dht14.records.store import RecordStore
from dht14.records.version_floors import NO_FLOOR, Floor
from dht14.wire.messages import FindValue, Lapsed, LargeValue, Nodes, Reply, Value, view_of

DISTRUST_TTL, MAX_DISTRUSTED = 600.0, 1_024
"""How long a holder that did not send an advertised value is distrusted (seconds), and how many are
remembered. What it advertises counts only if there is nothing else."""


@define(eq=False, kw_only=True)
class GetReplies:
    """What the contacts asked by one get have under its key."""

    key: int
    is_content: bool
    """Whether only a value whose SHA-256 is the key counts."""
    exhaustive: bool
    """Whether all near nodes are asked, whatever the first ones answer."""
    _now: float
    _time: NetworkClock
    _distrusted: ExpiringSet[int]
    quorum: ReadQuorum = field(factory=ReadQuorum, init=False)
    spares: int = field(default=SPARES_NEAR, init=False)
    """Contacts to ask beyond the votes that are missing."""
    ended_early: bool = field(default=False, init=False)
    """Whether the lookup ended because most of the group have the same record."""
    _count: int = field(default=0, init=False)
    """Contacts that have answered, whatever they said."""
    _held: list[tuple[Contact, Rank | None]] = field(factory=list, init=False)
    """What each contact has."""
    _sources: dict[Rank, list[ValueSource]] = field(factory=dict, init=False)
    """The holders that advertise each record, in the order of their replies."""
    _doubtful: list[tuple[AdvertisedRecord, ValueSource]] = field(factory=list, init=False)
    """What distrusted contacts advertise."""
    _advertisers: Counter[Rank] = field(factory=Counter, init=False)
    """How many contacts advertise each record, the distrusted among them."""

    def replied(self, lookup: AnyLookup, contact: Contact, reply: Reply) -> None:
        """One contact answered: tell the lookup what its reply means."""
        self._count += 1
        if isinstance(reply, Value):
            self._holds(lookup, contact, reply, self._record(reply))
        elif isinstance(reply, LargeValue):
            self._holds(lookup, contact, reply, self._advertised(contact, reply))
        elif isinstance(reply, Lapsed) or (isinstance(reply, Nodes) and reply.holds_values):
            self._held.append((contact, None))
            if isinstance(reply, Lapsed):
                self.quorum.reported_expired(Floor(reply.kind, reply.version), contact.node_id)
            lookup.answered(contact, reply.contacts)
            self._end_if_certain(lookup)
        elif isinstance(reply, Nodes):
            lookup.refused(contact, reply.contacts)
            self._end_if_certain(lookup)
        else:
            lookup.refused(contact)

    def _record(self, reply: Value) -> Record | None:
        known = self.quorum.copy_in(reply.value, reply.version)
        if known is not None and is_within(reply, known, self._now):
            return known
        record = record_in(reply, self.key, self._now)
        return record if known is not None or self._is_believable(record) else None

    def _advertised(self, contact: Contact, reply: LargeValue) -> AdvertisedRecord | None:
        advertised = advertised_in(reply, self.key, self._now)
        if not self._is_believable(advertised):
            return None
        self._advertisers[advertised.rank] += 1
        source = ValueSource(contact, reply.ticket)
        if contact.node_id in self._distrusted:
            self._doubtful.append((advertised, source))
            return None
        self._sources.setdefault(advertised.rank, []).append(source)
        return advertised

    def _is_believable(self, found: Record | AdvertisedRecord) -> bool:
        if self.is_content and found.rank[0] is not Kind.CONTENT:
            return False
        if found.rank[0] is Kind.OPEN and not self._time.may_be_held(found.version):
            return False
        return found.is_authentic if isinstance(found, Record) else found.is_possible

    def _holds(
        self,
        lookup: AnyLookup,
        contact: Contact,
        reply: Value | LargeValue,
        found: Record | AdvertisedRecord | None,
    ) -> None:
        if found is None:
            lookup.refused(contact, reply.nearer)
            return
        self._held.append((contact, found.rank))
        self.quorum.add(found, contact.node_id if reply.current else None)
        lookup.answered(contact, reply.nearer, votes=reply.current)
        self._end_if_certain(lookup)

    def _end_if_certain(self, lookup: AnyLookup) -> None:
        """End the lookup if the newest record is known; else ask no more nodes than votes are missing."""
        if self.quorum.is_proven:
            self.ended_early = True
            lookup.conclude()
        elif isinstance(lookup, Lookup) and not self.exhaustive and self.quorum.best is not None:
            missing = lookup.missing_votes(self.quorum.holders)
            lookup.reduce(max(missing, 0) + self.spares)
            if missing <= 0:
                self.ended_early = True
                lookup.conclude()
        elif len(self.quorum.holders) >= QUORUM:
            lookup.heard_enough()

    def are_enough(self, lookup: AnyLookup) -> bool:
        """Whether a "not found" can rest on them, now that the lookup is over. Where hardly anybody has
        answered this node is probably cut off."""
        silent = lookup.asked_count - self._count
        heard = len(self._held) + lookup.counts_self
        return lookup.finished and 2 * heard >= min(GROUP, heard + silent)

    @property
    def are_claims(self) -> bool:
        """Whether as many contacts advertise one record as have one that was acknowledged. Where none of them
        has sent it, it is not known whether it exists."""
        return max(self._advertisers.values(), default=0) >= QUORUM

    def outdated(self, winner: Record) -> list[Contact]:
        """Return the contacts that had nothing, or a record less than the winner."""
        rank = winner.rank
        return [contact for contact, held in self._held if held is None or held < rank]

    def without_record(self) -> list[Contact]:
        """Return the contacts that had nothing."""
        return [contact for contact, held in self._held if held is None]

    def to_fetch(self, best: Record | None) -> list[tuple[AdvertisedRecord, list[ValueSource]]]:
        """Return the advertised records greater than `best`, the greatest of those received, the greatest
        first, with their holders.

        Those of distrusted contacts are returned only if there is nothing else.
        """
        above = self.quorum.advertised_above(best)
        if not above and best is None:
            return [(advertised, [source]) for advertised, source in self._doubtful]
        return [(advertised, self._sources[advertised.rank]) for advertised in above]


class GetObserver(Protocol):
    """Is notified of each get that has found a record."""

    def got(self, lookup: AnyLookup, winner: Record, replies: GetReplies) -> None:
        """The get has ended with this record. It does not wait for the observer."""


@frozen(kw_only=True)
class Comparison:
    """What the nodes near a key have, beside a record that this node has somewhere else than in its store."""

    best: Record | None
    """The greatest record that counts, perhaps the compared one; None: all of them have expired."""
    is_over: bool
    """Whether a greater record has replaced the compared one, and has expired since."""
    is_complete: bool
    """Whether those that should know have answered."""


@define(eq=False)
class RecordReader:
    """The gets of one node."""

    _lookups: Lookups
    _store: RecordStore | None
    _bulk: Bulk
    _time: NetworkClock
    _resync_state: ResyncState
    _observer: GetObserver | None
    _distrusted: ExpiringSet[int] = field(
        factory=lambda: ExpiringSet(DISTRUST_TTL, MAX_DISTRUSTED), init=False
    )

    def over(self, lookups: Lookups, wrap: Callable[[Bulk], Bulk]) -> "RecordReader":
        """Return a reader that runs other lookups, fetches through what `wrap` makes of the bulk channel, and
        shares all else with this one."""
        other = copy(self)
        other._lookups, other._bulk = lookups, wrap(self._bulk)
        return other

    def get(self, key: int, content: bool, timeout: float) -> "Deferred[Record | NoRecord]":
        """Fires with the newest record, or with why there is none.

        If the first search makes the key suspect, a second one asks more nodes: those nearest to the key may
        have withheld the newest record. Content needs no second search, because it proves itself.
        """
        now = self._lookups.clock.seconds()
        own = self._store.get(key, now) if self._store is not None else None
        if own is not None and own.kind is Kind.CONTENT:
            return succeed(own)  # Without a coroutine, which costs as much as all the rest.
        return Deferred.fromCoroutine(self._get(key, own, now + timeout, content))

    async def _get(self, key: int, own: Record | None, deadline: float, content: bool) -> Record | NoRecord:
        clock, detector = self._lookups.clock, self._lookups.eclipse_detector
        was_suspect = detector.suspects(key)
        found = await self._find(key, own, deadline, content, exhaustive=False)
        is_certain = isinstance(found, Record) and found.kind is Kind.CONTENT
        if not is_certain and not was_suspect and detector.suspects(key):
            found = newest(found, await self.find(key, deadline - clock.seconds(), content))
        if isinstance(found, Record) and found.is_tombstone:
            return NoRecord.DELETED
        return found

    async def find(
        self, key: int, timeout: float = OPERATION_TIMEOUT, content: bool = False, exhaustive: bool = False
    ) -> Record | NoRecord:
        """Find the newest record under `key` within `timeout` seconds; a tombstone is a record too.

        With `content` only a value whose SHA-256 is the key counts. An `exhaustive` search asks all of the k
        nearest nodes.
        """
        now = self._lookups.clock.seconds()
        own = self._store.get(key, now) if self._store is not None else None
        if own is not None and own.kind is Kind.CONTENT:
            return own
        return await self._find(key, own, now + timeout, content, exhaustive)

    async def _find(
        self, key: int, own: Record | None, deadline: float, content: bool, exhaustive: bool
    ) -> Record | NoRecord:
        replies = self._replies(key, own, content, exhaustive)
        lookup = await self._ask(replies, own, deadline)
        found = await self._fetch_best(replies, deadline)
        remaining = deadline - self._lookups.clock.seconds()
        if found is None and replies.ended_early and remaining > 0:
            # The holders that ended the search advertised a value and did not send it. They are distrusted
            # now.
            replies = self._replies(key, own, content, exhaustive=True)
            lookup = await self._ask(replies, own, deadline)
            found = await self._fetch_best(replies, deadline)
        if found is None:
            is_certain = replies.are_enough(lookup) and not replies.are_claims
            return NoRecord.NOT_FOUND if is_certain else NoRecord.UNANSWERED
        if self._observer is not None:
            self._observer.got(lookup, found, replies)
        return found

    async def compare(self, record: Record, near: Iterable[Contact], timeout: float) -> Comparison:
        """Compare a record with what the nodes near its key have; the lookup begins with the contacts `near`,
        too. A large value that is equal to that of the record is not fetched."""
        key, rank, now = record.key, record.rank, self._lookups.clock.seconds()
        own = self._store.get(key, now) if self._store is not None else None
        replies = self._replies(key, own, content=False, exhaustive=False)
        quorum = replies.quorum
        quorum.add(record, None)
        lookup = await self._ask(replies, own, now + timeout, near)
        best = await self._fetch_best(replies, now + timeout)
        own_floor = self._store.floor(key, now) if self._store is not None else NO_FLOOR
        return Comparison(
            best=best,
            is_over=quorum.is_over(rank) or own_floor > rank[:2],
            is_complete=replies.are_enough(lookup),
        )

    def _replies(self, key: int, own: Record | None, content: bool, exhaustive: bool) -> GetReplies:
        """Return what is known before any contact was asked: what this node itself holds."""
        now, own_id = self._lookups.clock.seconds(), self._lookups.table.own_id
        self._distrusted.expire(now)
        replies = GetReplies(
            key=key,
            is_content=content,
            exhaustive=exhaustive or self._lookups.eclipse_detector.suspects(key),
            now=now,
            time=self._time,
            distrusted=self._distrusted,
        )
        if self._store is not None:
            replies.quorum.reported_expired(self._store.floor(key, now), own_id)
        if own is not None and not content:
            replies.quorum.add(own, own_id if self._resync_state.is_current else None)
        return replies

    def _ask(
        self, replies: GetReplies, own: Record | None, deadline: float, near: Iterable[Contact] = ()
    ) -> "Deferred[Lookup] | Deferred[DisjointLookup]":
        """Run the lookup: over disjoint paths if the key is suspect, else of the nodes nearest to the key."""
        key, lookups = replies.key, self._lookups
        timeout = deadline - lookups.clock.seconds()
        request = FindValue(key, self._view(key))
        if lookups.eclipse_detector.suspects(key):
            return lookups.run(
                lookups.new_disjoint_lookup(key, REPLICATION), request, replies.replied, timeout
            )
        lookup = lookups.new_lookup(key, K if replies.exhaustive else REPLICATION, Purpose.VALUE)
        lookup.heard_of(near)
        is_current = self._store is not None and self._resync_state.is_current
        if is_current and lookups.neighbourhood.is_near(key, REPLICATION):
            lookup.include_self()
        lookup.thorough = own is None or replies.exhaustive
        if replies.is_content:
            replies.spares = lookups.spares(lookup, CONTENT_SPARES_NEAR, CONTENT_SPARES_FAR)
        else:
            replies.spares = lookups.spares(lookup, SPARES_NEAR, SPARES_FAR)
        votes = 1 if replies.is_content else max(lookup.missing_votes(replies.quorum.holders), 0)
        lookup.alpha = votes + replies.spares
        if not replies.exhaustive:
            timeout = min(timeout, FIRST_READ_TIMEOUT)
        return lookups.run(lookup, request, replies.replied, timeout)

    def _view(self, key: int) -> bytes:
        """Return the group of the key as this node sees it: holders name the members that it lacks."""
        table = self._lookups.table
        known = [contact.node_id for contact in table.holders(key, GROUP)]
        return view_of(sorted((*known, table.own_id), key=key.__xor__)[:GROUP])

    async def _fetch_best(self, replies: GetReplies, deadline: float) -> Record | None:
        """Fetch the large values that were advertised, and return the greatest record."""
        best = replies.quorum.best_record
        if not (to_fetch := replies.to_fetch(best)):
            return best
        race = FetchRace(to_fetch, self._bulk, self._lookups.clock, best)
        await race.run(deadline - self._lookups.clock.seconds())
        now = self._lookups.clock.seconds()
        for source in race.failed:
            self._distrusted.add(source.contact.node_id, now)
        return race.best


def newest(one: Record | NoRecord, other: Record | NoRecord) -> Record | NoRecord:
    """Return the greater of two records, or the only one; `other` if there is none."""
    found = [record for record in (one, other) if isinstance(record, Record)]
    return max(found, key=lambda record: record.rank, default=other)
