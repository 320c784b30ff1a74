"""GET: finds the newest record of a key among those who hold it.

A read asks the group of the key, and one more so that a lost datagram rarely stalls it. It ends when most of
the group has the record that it brings, or at once where the record proves itself; else when all near nodes
have answered, and brings the greatest of what they have. A write has reached most of the group before it is
acknowledged, so no read that begins later ends on what it replaced.
"""

from typing import Protocol

from attrs import define, field
from twisted.internet.defer import Deferred, succeed

from dht14.bounded import ExpiringSet
from dht14.kademlia.contact import Contact
from dht14.kademlia.disjoint_lookup import DisjointLookup
from dht14.kademlia.lookup import Lookup, Purpose
from dht14.kademlia.parameters import FIRST_READ_TIMEOUT, GROUP, OPERATION_TIMEOUT, REPLICATION, K
from dht14.node.fetch import FetchRace, ValueSource
from dht14.node.freshness import Freshness
from dht14.node.lookup_run import AnyLookup
from dht14.node.lookups import Lookups
from dht14.node.network_time import NetworkTime
from dht14.node.ports import Bulk
from dht14.records.advertised import AdvertisedRecord
from dht14.records.read_quorum import Rank, ReadQuorum
from dht14.records.receipt import NoRecord
from dht14.records.record import Kind, Record
from dht14.records.store import RecordStore
from dht14.records.version_floors import Floor
from dht14.wire.messages import FindValue, Lapsed, LargeValue, Nodes, Reply, Value, view_of

DOUBTED_SECONDS, MAX_DOUBTED = 600.0, 1_024
"""For how long the claims of a holder that did not make one true count only where nothing else is to be had, and
how many are remembered."""


@define(eq=False)
class GetReplies:
    """What the contacts that one get asked have under its key."""

    key: int
    is_content: bool
    """Whether only a value whose SHA-256 is the key counts."""
    exhaustive: bool
    """Whether all near nodes are heard, whatever the first ones say."""
    _now: float
    _time: NetworkTime
    _doubted: ExpiringSet[int]
    quorum: ReadQuorum = field(factory=ReadQuorum, init=False)
    ended_early: bool = field(default=False, init=False)
    """Whether it ended because most of the group have the same record."""
    _held: list[tuple[Contact, Rank | None]] = field(factory=list, init=False)
    """What each contact has."""
    _claimers: dict[Rank, list[ValueSource]] = field(factory=dict, init=False)
    """By what they claim, the first to answer first."""
    _doubtful: list[tuple[AdvertisedRecord, ValueSource]] = field(factory=list, init=False)
    """Claims of contacts that are doubted."""

    def replied(self, lookup: AnyLookup, contact: Contact, reply: Reply) -> None:
        """One contact answered."""
        if isinstance(reply, Value):
            record = Record(
                key=self.key,
                value=reply.value,
                version=reply.version,
                expires_at=self._now + reply.ttl_ms / 1000,
                replication=reply.replication,
            )
            self._told(lookup, contact, reply, record if self._is_believable(record) else None)
        elif isinstance(reply, LargeValue):
            self._told(lookup, contact, reply, self._claim(contact, reply))
        elif isinstance(reply, Lapsed) or (isinstance(reply, Nodes) and reply.holds_values):
            self._held.append((contact, None))
            if isinstance(reply, Lapsed):
                self.quorum.reported_expired(Floor(reply.kind, reply.version), contact.node_id)
            lookup.answered(contact, reply.contacts)
            self._look(lookup)
        elif isinstance(reply, Nodes):
            lookup.refused(contact, reply.contacts)
            self._look(lookup)
        else:
            lookup.refused(contact)

    def behind(self, winner: Record) -> list[Contact]:
        """The contacts that had nothing, or less than the winner."""
        rank = winner.rank
        return [contact for contact, held in self._held if held is None or held < rank]

    def lacking(self) -> list[Contact]:
        """The contacts that had nothing."""
        return [contact for contact, held in self._held if held is None]

    def claims(self) -> list[tuple[AdvertisedRecord, list[ValueSource]]]:
        """The claims greater than every record that is here, the greatest first, with those who make them.

        Those of doubted contacts count where there is nothing else.
        """
        above = self.quorum.advertised_above(self.quorum.best_record)
        if not above and self.quorum.best_record is None:
            return [(claim, [claimer]) for claim, claimer in self._doubtful]
        return [(claim, self._claimers[claim.rank]) for claim in above]

    def _is_believable(self, found: Record | AdvertisedRecord) -> bool:
        if self.is_content and found.rank[0] is not Kind.CONTENT:
            return False
        if found.rank[0] is Kind.OPEN and not self._time.may_be_held(found.version):
            return False
        return found.is_authentic if isinstance(found, Record) else found.is_possible

    def _claim(self, contact: Contact, told: LargeValue) -> AdvertisedRecord | None:
        expires_at = self._now + told.ttl_ms / 1000
        claim = AdvertisedRecord(
            key=self.key,
            version=told.version,
            expires_at=expires_at,
            replication=told.replication,
            owned=told.owned,
            length=told.length,
            digest=told.digest,
        )
        if not self._is_believable(claim):
            return None
        claimer = ValueSource(contact, told.ticket)
        if contact.node_id in self._doubted:
            self._doubtful.append((claim, claimer))
            return None
        self._claimers.setdefault(claim.rank, []).append(claimer)
        return claim

    def _told(
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
        self._look(lookup)

    def _look(self, lookup: AnyLookup) -> None:
        """End the lookup where enough is known."""
        if self.quorum.is_proven:
            self.ended_early = True
            lookup.conclude()
        elif isinstance(lookup, Lookup) and not self.exhaustive and self.quorum.best is not None:
            missing = lookup.missing_votes(self.quorum.holders)
            lookup.hurry(max(missing, 0) + 1)
            if missing <= 0:
                self.ended_early = True
                lookup.conclude()


class GetObserver(Protocol):
    """Told of each get that has found a record."""

    def got(self, lookup: AnyLookup, winner: Record, replies: GetReplies) -> None:
        """The get has ended with this record. It does not wait for what is made of that."""


@define(eq=False)
class RecordReader:
    """The gets of one node."""

    _lookups: Lookups
    _store: RecordStore | None
    _bulk: Bulk
    _time: NetworkTime
    _freshness: Freshness
    _observer: GetObserver | None
    _doubted: ExpiringSet[int] = field(factory=lambda: ExpiringSet(DOUBTED_SECONDS, MAX_DOUBTED), init=False)

    async def get(self, key: int, content: bool, timeout: float) -> Record | NoRecord:
        """The newest record, sought more widely where the first search has raised the alarm.

        Content is beyond doubt. Of other records those nearest to the key may have kept the newest back.
        """
        clock, alarm = self._lookups.clock, self._lookups.alarm
        deadline = clock.seconds() + timeout
        had_rung = alarm.suspects(key)
        found = await self.find(key, timeout, content)
        is_certain = isinstance(found, Record) and found.kind is Kind.CONTENT
        if not is_certain and not had_rung and alarm.suspects(key):
            found = newest(found, await self.find(key, deadline - clock.seconds(), content))
        if isinstance(found, Record) and found.is_tombstone:
            return NoRecord.DELETED
        return found

    def find(
        self, key: int, timeout: float = OPERATION_TIMEOUT, content: bool = False, exhaustive: bool = False
    ) -> "Deferred[Record | NoRecord]":
        """Find the newest record under `key` within `timeout` seconds.

        With `content` only a value whose SHA-256 is the key counts. An `exhaustive` search hears all of the
        k nearest nodes.
        """
        now = self._lookups.clock.seconds()
        own = self._store.get(key, now) if self._store else None
        if own is not None and own.kind is Kind.CONTENT:
            return succeed(own)
        return Deferred.fromCoroutine(self._find(key, own, now + timeout, content, exhaustive))

    async def _find(
        self, key: int, own: Record | None, deadline: float, content: bool, exhaustive: bool
    ) -> Record | NoRecord:
        replies = self._replies(key, own, content, exhaustive)
        lookup = await self._ask(replies, own, deadline)
        found = await self._fetched(replies, deadline)
        remaining = deadline - self._lookups.clock.seconds()
        if found is None and replies.ended_early and remaining > 0:
            # Those who claimed to have it ended the search, and nobody sent it. Now their word counts for less.
            replies = self._replies(key, own, content, exhaustive=True)
            lookup = await self._ask(replies, own, deadline)
            found = await self._fetched(replies, deadline)
        if found is None:
            return NoRecord.NOT_FOUND if lookup.finished else NoRecord.UNANSWERED
        if self._observer is not None:
            self._observer.got(lookup, found, replies)
        return found

    def _replies(self, key: int, own: Record | None, content: bool, exhaustive: bool) -> GetReplies:
        now = self._lookups.clock.seconds()
        self._doubted.expire(now)
        is_wide = self._lookups.alarm.suspects(key)
        replies = GetReplies(key, content, exhaustive or is_wide, now, self._time, self._doubted)
        if self._store is not None:
            replies.quorum.reported_expired(self._store.floor(key, now), self._lookups.table.own_id)
        if own is not None and not content:
            replies.quorum.add(own, self._lookups.table.own_id if self._freshness.is_current else None)
        return replies

    def _ask(
        self, replies: GetReplies, own: Record | None, deadline: float
    ) -> "Deferred[Lookup] | Deferred[DisjointLookup]":
        table, key = self._lookups.table, replies.key
        timeout = deadline - self._lookups.clock.seconds()
        request = FindValue(key, self._view(key))
        if self._lookups.alarm.suspects(key):
            return self._lookups.run(self._lookups.paths(key, REPLICATION), request, replies.replied, timeout)
        lookup = self._lookups.lookup(key, K if replies.exhaustive else REPLICATION, Purpose.VALUE)
        if self._store is not None and self._freshness.is_current and table.is_near(key, REPLICATION):
            lookup.includes_self()
        lookup.thorough = own is None or replies.exhaustive
        lookup.alpha = max(lookup.missing_votes(replies.quorum.holders), 0) + 1
        if not replies.exhaustive:
            timeout = min(timeout, FIRST_READ_TIMEOUT)
        return self._lookups.run(lookup, request, replies.replied, timeout)

    def _view(self, key: int) -> bytes:
        table = self._lookups.table
        known = [contact.node_id for contact in table.holders(key, GROUP)]
        return view_of(sorted((*known, table.own_id), key=key.__xor__)[:GROUP])

    async def _fetched(self, replies: GetReplies, deadline: float) -> Record | None:
        """The greatest record that is to be had: values that fit no datagram have only been told of."""
        best = replies.quorum.best_record
        claims = replies.claims()
        if not claims:
            return best
        race = FetchRace(claims, self._bulk, self._lookups.clock, best)
        await race.run(deadline - self._lookups.clock.seconds())
        now = self._lookups.clock.seconds()
        for claimer in race.failed:
            self._doubted.add(claimer.contact.node_id, now)
        return race.best


def newest(one: Record | NoRecord, other: Record | NoRecord) -> Record | NoRecord:
    """The greater of two records, where there are two."""
    found = [record for record in (one, other) if isinstance(record, Record)]
    return max(found, key=lambda record: record.rank, default=other)
