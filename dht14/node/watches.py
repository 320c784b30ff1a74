"""Watching: keeps leases at the holders of each watched key, reads it when they hint at a change, and tells
those who watch it what the read found.

A key is watched once in a node, however many of its clients do so. The leases are at the group of the key,
the nodes that readers and writers ask: a write that succeeded is at most of them, and each tells of it. Where
too few give a lease, the key is read at an interval instead.
"""

import random
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from dht14.errors import CallFailed
from dht14.kademlia.contact import Contact
from dht14.kademlia.parameters import GROUP, OPERATION_TIMEOUT, QUORUM
from dht14.node.concurrency import ConcurrencyLimit
from dht14.node.lease_search import LeaseSearch
from dht14.node.lookups import Lookups
from dht14.node.metrics import ReadCause, WatchMetrics
from dht14.node.ports import Rpc
from dht14.node.timers import cancel_timer
from dht14.node.watch_state import Found, Seen, WatchState, seen_in
from dht14.records.receipt import NoRecord
from dht14.records.record import Record
from dht14.records.store import RecordStore
from dht14.wire.messages import NOTHING_HELD, mark_of

MAX_WATCHED = 1_024
"""Keys that one node watches at a time."""

MAX_SUBSCRIPTIONS = 16_384
"""Clients' watches at one node, of all keys together."""

READS_AT_ONCE, READ_QUEUE_TIMEOUT = 32, 1.0
"""Reads for which no client waits, of those that run at once; one that has waited so many seconds begins all
the same."""

ReadRecord = Callable[[int], "Deferred[Found]"]
"""Reads a key as a GET does."""

OnChange = Callable[[Found], object]
"""Called with the new state of a key: a record, or why there is none any more; NOT_READY: the node stops, and
tells nothing any more."""


@define(eq=False)
class Subscription:
    """One client's watch of a key: a `KeyWatch`."""

    _watches: "Watches"
    _watched: "_Watched"
    on_change: OnChange
    knows: bool = field(default=False, init=False)
    """Whether this client has been told any state."""
    _told: Seen = field(default=None, init=False)
    """Which one, the last time."""

    def present(self) -> "Deferred[Found]":
        """As `KeyWatch.present`."""
        return self._watches.read_for(self._watched, self)

    def tell(self, seen: Seen) -> bool:
        """Note that this client is told a state now; return whether that is new to it."""
        is_new = not self.knows or self._told != seen
        self.knows, self._told = True, seen
        return is_new

    def end(self) -> None:
        """As `KeyWatch.end`."""
        self._watches.ended(self._watched, self)


@define(eq=False)
class _Watched:
    """A key that is watched."""

    state: WatchState
    search: LeaseSearch
    subscriptions: dict[Subscription, None] = field(factory=dict)
    waiting: "list[tuple[Subscription, Deferred[Found]]]" = field(factory=list)
    """Those who want a read that has not begun yet."""
    timer: IDelayedCall | None = None
    is_reading: bool = False
    is_renewing: bool = False


class Watches(Service):
    """The keys that one node watches for its clients."""

    log = Logger()
    name = "watches"

    def __init__(
        self,
        lookups: Lookups,
        rpc: Rpc,
        read: ReadRecord,
        store: RecordStore | None,
        clock: IReactorTime,
        rng: random.Random,
    ) -> None:
        self._lookups = lookups
        self._rpc = rpc
        self._read_record = read
        self._store = store
        self._clock = clock
        self._rng = rng
        self._watched: dict[int, _Watched] = {}
        self._subscriptions = 0
        self._reads = ConcurrencyLimit(clock, READS_AT_ONCE, READ_QUEUE_TIMEOUT)
        self._is_stopped = False
        self.metrics = WatchMetrics()

    def stopService(self) -> None:
        """Watch nothing any more; who waits for a state gets none."""
        self._is_stopped = True
        for watched in list(self._watched.values()):
            for subscription in list(watched.subscriptions):
                self.ended(watched, subscription)
                subscription.on_change(NoRecord.NOT_READY)
        super().stopService()

    # For clients

    def watch(self, key: int, on_change: OnChange) -> Subscription | None:
        """Return a watch that begins with `Subscription.present`; None where there are too many already."""
        watched = self._watched.get(key)
        is_full = watched is None and len(self._watched) >= MAX_WATCHED
        if self._is_stopped or is_full or self._subscriptions >= MAX_SUBSCRIPTIONS:
            self.metrics.refused += 1
            return None
        if watched is None:
            state = WatchState(key)
            watched = _Watched(state, LeaseSearch(state, self._lookups, self._rpc, self._clock))
            self._watched[key] = watched
        subscription = Subscription(self, watched, on_change)
        watched.subscriptions[subscription] = None
        self._subscriptions += 1
        self._count()
        return subscription

    def read_for(self, watched: _Watched, subscription: Subscription) -> "Deferred[Found]":
        """Fires with the result of a read that has yet to begin; with UNANSWERED after the time of a get."""
        result: Deferred[Found] = Deferred()
        if subscription not in watched.subscriptions:
            result.callback(NoRecord.UNANSWERED)
        else:
            watched.waiting.append((subscription, result))
            self._advance(watched)
        return result.addTimeout(OPERATION_TIMEOUT, self._clock).addErrback(_not_in_time)

    def ended(self, watched: _Watched, subscription: Subscription) -> None:
        """A client watches no more. With the last one the leases are given back."""
        if watched.subscriptions.pop(subscription, self) is not None:
            return
        self._subscriptions -= 1
        for waiting in [one for one in watched.waiting if one[0] is subscription]:
            watched.waiting.remove(waiting)
            waiting[1].callback(NoRecord.UNANSWERED)
        if not watched.subscriptions:
            cancel_timer(watched.timer)
            del self._watched[watched.state.key]
            watched.search.end()
        self._count()

    def _count(self) -> None:
        self.metrics.watched, self.metrics.subscriptions = len(self._watched), self._subscriptions

    # What happens

    def notified(self, key: int, mark: bytes, node_id: int) -> bool:
        """A node says that its record of the key has changed. Return whether it was asked to."""
        watched = self._watched.get(key)
        if watched is None or not watched.state.notified(node_id, mark):
            self.metrics.unasked += 1
            return False
        self.metrics.notified += 1
        self._advance(watched)
        return True

    def record_held(self, key: int) -> None:
        """The store of this node holds the record that was offered under this key."""
        watched = self._watched.get(key)
        if watched is not None and watched.state.notified(self._lookups.table.own_id, self._own_mark(key)):
            self._advance(watched)

    def _own_mark(self, key: int) -> bytes:
        record = self._store.get(key, self._clock.seconds()) if self._store is not None else None
        return NOTHING_HELD if record is None else mark_of(record.version, record.digest)

    def _advance(self, watched: _Watched) -> None:
        """Begin what is due, and set the timer for what comes next."""
        now, state = self._clock.seconds(), watched.state
        if not watched.subscriptions:
            return
        if not watched.is_renewing and state.renew_at <= now:
            watched.is_renewing = True
            self._run(watched, self._renew(watched))
        if not watched.is_reading and (watched.waiting or state.read_at() <= now):
            watched.is_reading = True
            self._run(watched, self._read(watched))
        cancel_timer(watched.timer)
        times = [state.renew_at] * (not watched.is_renewing) + [state.read_at()] * (not watched.is_reading)
        if times and watched.subscriptions:
            watched.timer = self._clock.callLater(max(min(times) - now, 0.0), self._advance, watched)

    def _run(self, watched: _Watched, work: Coroutine[Any, Any, None]) -> None:
        running: Deferred[None] = Deferred.fromCoroutine(work)
        running.addErrback(partial(self._failed, watched))
        running.addCallback(lambda _: self._advance(watched))

    def _failed(self, watched: _Watched, failure: Failure) -> None:
        self.log.failure("A watch failed; this is a bug.", failure, event="watch.bug")
        # It goes on, but not at once.
        now = self._clock.seconds()
        watched.state.read_ended(NoRecord.UNANSWERED, now)
        watched.state.renewed(False, now, 1.0)

    # Reading

    async def _read(self, watched: _Watched) -> None:
        state = watched.state
        is_queued = not watched.waiting
        if is_queued:
            await self._reads.acquire()
        try:
            waiting, watched.waiting = watched.waiting, []
            self.metrics.reads[self._cause(watched, bool(waiting))] += 1
            state.read_began()
            try:
                found = await self._read_record(state.key)
            except CallFailed:
                found = NoRecord.UNANSWERED
        finally:
            if is_queued:
                self._reads.release()
            watched.is_reading = False
        has_result = state.read_ended(found, self._clock.seconds())
        for subscription, result in waiting:
            is_told = has_result or (isinstance(found, Record) and not subscription.knows)
            # Who has stopped waiting is told of the result as of a change.
            if is_told and not result.called and subscription in watched.subscriptions:
                subscription.tell(seen_in(found))
            result.callback(found if is_told else NoRecord.UNANSWERED)
        if has_result:
            self._tell(watched, found)

    def _cause(self, watched: _Watched, is_wanted: bool) -> ReadCause:
        if is_wanted:
            return ReadCause.CLIENT
        return ReadCause.HINT if watched.state.has_hint(self._clock.seconds()) else ReadCause.POLL

    def _tell(self, watched: _Watched, found: Found) -> None:
        seen = seen_in(found)
        for subscription in list(watched.subscriptions):
            if subscription.tell(seen):
                self.metrics.changes += 1
                subscription.on_change(found)

    # Leases

    async def _renew(self, watched: _Watched) -> None:
        """Get leases of the nearest nodes, of the next nearest in place of those that give none."""
        state, own_id = watched.state, self._lookups.table.own_id
        try:
            holds = self._store is not None and self._lookups.neighbourhood.is_near(state.key, GROUP)
            granted, asked = await watched.search.run(GROUP - holds)
            now = self._clock.seconds()
            if holds:
                own = Contact(own_id, ("", 0))
                state.granted(own, self._own_mark(state.key), float("inf"))
            else:
                state.refused(own_id)
            is_healthy = granted + holds >= min(QUORUM, asked + holds)
            state.renewed(is_healthy, now, self._rng.uniform(0.9, 1.1))
        finally:
            watched.is_renewing = False


def _not_in_time(failure: Failure) -> Found:
    failure.trap(TimeoutError)
    return NoRecord.UNANSWERED
