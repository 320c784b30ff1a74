"""GET: finds the newest record of a key among its holders.

A read asks as many of the group of the key as it needs, and spare nodes where waiting costs more than asking
does (`Lookups.spares`), so that a lost datagram rarely stalls it. It ends when most of the group have the
record that it returns, or at once if the record proves itself (content). Otherwise it ends when all near
nodes have answered, and returns the greatest record they have. A write is acknowledged only when most of the
group have it; so a read that begins later does not end on the record that the write replaced.
"""

from collections.abc import Callable, Collection, Iterable
from copy import copy
from functools import partial
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
    LATE_SECONDS,
    OPERATION_TIMEOUT,
    REPLICATION,
    SPARES_FAR,
    SPARES_NEAR,
    K,
)
from dht14.node.fetch_race import Claims, FetchRace
from dht14.node.get_replies import GetReplies
from dht14.node.lookup_run import AnyLookup
from dht14.node.lookups import Lookups
from dht14.node.network_clock import NetworkClock
from dht14.node.ports import Bulk
from dht14.node.resync_state import ResyncState
from dht14.records.receipt import NoRecord
from dht14.records.record import Kind, Record
from dht14.records.store import RecordStore
from dht14.records.version_floors import NO_FLOOR, Floor
from dht14.wire.messages import FindValue, view_of

DISTRUST_TTL, MAX_DISTRUSTED = 600.0, 1_024
"""How long a holder that did not send an advertised value is distrusted (seconds), and how many are
remembered. What it advertises counts only if there is nothing else."""

MAX_SEARCHES = 3
"""How often a search is made that stands still with its process."""


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
    """Whether a greater record has replaced the compared one, and has expired since, whatever those know
    that have not answered."""
    floor: Floor = NO_FLOOR
    """What several of them remember of expired records."""
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
        detector = self._lookups.eclipse_detector
        was_suspect = detector.suspects(key)
        found = await self._find(key, own, deadline, content, exhaustive=False)
        is_certain = isinstance(found, Record) and found.kind is Kind.CONTENT
        if not is_certain and not was_suspect and detector.suspects(key):
            known = found if isinstance(found, Record) else None
            found = await self._find(key, own, deadline, content, exhaustive=False, known=known)
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
        self,
        key: int,
        own: Record | None,
        deadline: float,
        content: bool,
        exhaustive: bool,
        known: Record | None = None,
    ) -> Record | NoRecord:
        """As `find`. `known`: what an earlier search has found."""
        clock = self._lookups.clock
        timeout = deadline - clock.seconds()
        for _ in range(MAX_SEARCHES):
            replies = self._replies(key, own, content, exhaustive)
            if known is not None:
                replies.quorum.add(known, None)
            lookup = await self._ask(replies, own, deadline)
            now = clock.seconds()
            if now <= deadline + LATE_SECONDS or replies.ended_early:
                break
            own = self._store.get(key, now) if self._store is not None else None
            deadline = now + timeout
        found = replies.quorum.best_record
        if to_fetch := replies.to_fetch(lookup, found):
            return await self._fetch(replies, lookup, to_fetch, own, deadline)
        return self._result(replies, lookup, found)

    async def _fetch(
        self, replies: GetReplies, lookup: AnyLookup, to_fetch: Claims, own: Record | None, deadline: float
    ) -> Record | NoRecord:
        """Fetch the large values that were advertised, and return the greatest record."""
        clock = self._lookups.clock
        race = self._race(replies, lookup, to_fetch)
        try:
            await race.run(deadline - clock.seconds())
            lacks_more = self._lacks_more(replies, lookup, race)
            if (lacks_more or race.withdrawers_above(race.best)) and deadline > clock.seconds():
                # The holders that ended the search, or agree, advertise a value and do not send it. Or those
                # that had it have replaced it since: then the same search finds what they have now.
                self._distrust(race, but_for=race.withdrawers)
                replies = self._replies(replies.key, own, replies.is_content, exhaustive=lacks_more)
                lookup = await self._ask(replies, own, deadline)
                if race.best is not None:
                    replies.quorum.add(race.best, None)
                race.best = replies.quorum.best_record
                insists = partial(replies.agreed_above, lookup)
                await race.go_on(replies.to_fetch(lookup, race.best), insists)
            elif race.is_stalled:  # All near nodes were asked: only time can help.
                await race.go_on((), partial(replies.agreed_above, lookup))
        finally:
            race.stop()
        self._distrust(race, but_for=race.withdrawers - race.withdrawers_above(race.best))
        if replies.agreed_above(lookup, race.best, race.withdrawn):
            return NoRecord.UNANSWERED
        return self._result(replies, lookup, race.best)

    def _result(self, replies: GetReplies, lookup: AnyLookup, found: Record | None) -> Record | NoRecord:
        if self._lookups.is_stopping and not self._outlives_stop(replies, found):
            return NoRecord.UNANSWERED
        if found is None:
            if replies.last_resort is not None:
                return replies.last_resort
            return NoRecord.NOT_FOUND if replies.are_certain(lookup) else NoRecord.UNANSWERED
        if self._observer is not None:
            self._observer.got(lookup, found, replies)
        return found

    @staticmethod
    def _outlives_stop(replies: GetReplies, found: Record | None) -> bool:
        """Whether the calls that the stop of this node has ended could have brought nothing better."""
        return found is not None and (found.kind is Kind.CONTENT or replies.ended_early)

    @staticmethod
    def _lacks_more(replies: GetReplies, lookup: AnyLookup, race: FetchRace) -> bool:
        """Whether others must be looked for: the record with which the search ended early did not come, or
        one that most of the group advertise."""
        if replies.exhaustive:
            return False
        ended_with, best = replies.quorum.best, race.best
        if replies.ended_early and ended_with is not None and (best is None or best.rank < ended_with.rank):
            return True
        return replies.agreed_above(lookup, best, race.withdrawn)

    def dated(self, record: Record) -> Record:
        """Return a record with a version that others take, as `NetworkClock.dated`."""
        return self._time.dated(record, len(self._lookups.table))

    async def compare(self, record: Record, near: Iterable[Contact], timeout: float) -> Comparison:
        """Compare a record with what the nodes near its key have; the lookup begins with the contacts `near`,
        too. A large value that is equal to that of the record is not fetched."""
        key, rank, now = record.key, record.rank, self._lookups.clock.seconds()
        own = self._store.get(key, now) if self._store is not None else None
        replies = self._replies(key, own, content=False, exhaustive=False)
        quorum = replies.quorum
        quorum.add(record, None)
        lookup = await self._ask(replies, own, now + timeout, near)
        race = self._race(replies, lookup, replies.to_fetch(lookup, quorum.best_record))
        try:
            await race.run(now + timeout - self._lookups.clock.seconds())
        finally:
            race.stop()
        self._distrust(race)
        own_floor = self._store.floor(key, now) if self._store is not None else NO_FLOOR
        is_over_here = self._time.believed_floor(own_floor) > rank[:2]
        # What a few say whom nobody can contradict now ends nothing: the others are asked again later.
        is_over = is_over_here or quorum.is_over(rank, replies.unheard(lookup))
        is_doubtful = not is_over and quorum.is_over(rank)
        is_agreed_above = replies.agreed_above(lookup, race.best, race.withdrawn)
        return Comparison(
            best=race.best,
            is_over=is_over,
            floor=quorum.floor,
            is_complete=replies.are_enough(lookup)
            and not (is_doubtful or is_agreed_above or self._lookups.is_stopping),
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
            replies.reported_expired(self._store.floor(key, now), own_id)
        if own is not None and not content:
            replies.has_own(own, own_id if self._votes(own) else None)
        return replies

    def _votes(self, own: Record | None) -> bool:
        """Whether what this node holds under the key, perhaps nothing, counts as the answer of a holder."""
        if self._store is None or not self._resync_state.is_current:
            return False
        return own is None or not self._store.is_replacing(own)

    def _ask(
        self, replies: GetReplies, own: Record | None, deadline: float, near: Iterable[Contact] = ()
    ) -> "Deferred[Lookup] | Deferred[DisjointLookup]":
        """Run the lookup: over disjoint paths if the key is suspect, else of the nodes nearest to the key."""
        key, lookups = replies.key, self._lookups
        timeout = deadline - lookups.clock.seconds()
        if lookups.eclipse_detector.suspects(key):
            request = FindValue(key, self._view(key))
            return lookups.run(
                lookups.new_disjoint_lookup(key, REPLICATION), request, replies.replied, timeout
            )
        lookup = lookups.new_lookup(key, K if replies.exhaustive else REPLICATION, Purpose.VALUE)
        lookup.heard_of(near)
        votes = self._votes(own)
        if votes and lookups.neighbourhood.is_near(key, REPLICATION):
            lookup.include_self()
        lookup.thorough = own is None or not votes or replies.last_resort is not None or replies.exhaustive
        if replies.is_content:
            replies.spares = lookups.spares(lookup, CONTENT_SPARES_NEAR, CONTENT_SPARES_FAR)
        else:
            replies.spares = lookups.spares(lookup, SPARES_NEAR, SPARES_FAR)
        missing = 1 if replies.is_content else max(lookup.missing_votes(replies.quorum.holders), 0)
        lookup.alpha = missing + replies.spares
        if not replies.exhaustive:
            timeout = min(timeout, FIRST_READ_TIMEOUT)
        return lookups.run(lookup, FindValue(key, self._view(key)), replies.replied, timeout)

    def _view(self, key: int) -> bytes:
        """Return the group of the key as this node sees it: holders name the members that it lacks."""
        table = self._lookups.table
        known = [contact.node_id for contact in table.holders(key, GROUP)]
        return view_of(sorted((*known, table.own_id), key=key.__xor__)[:GROUP])

    def _race(self, replies: GetReplies, lookup: AnyLookup, to_fetch: Claims) -> FetchRace:
        best, insists = replies.quorum.best_record, partial(replies.agreed_above, lookup)
        return FetchRace(to_fetch, self._bulk, self._lookups.clock, best, insists)

    def _distrust(self, race: FetchRace, but_for: Collection[int] = ()) -> None:
        now = self._lookups.clock.seconds()
        for source in race.failed:
            if source.contact.node_id not in but_for:
                self._distrusted.add(source.contact.node_id, now)
