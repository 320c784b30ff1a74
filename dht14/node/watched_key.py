"""One key that a node watches for its clients: when to renew its leases, when to read it, whom to tell what.

`WatchState` decides, `LeaseSearch` asks for leases; here is what waits: the timer, the read and the renewal
under way, and those who want to know.
"""

import random
from collections.abc import Callable, Coroutine
from typing import Any

from attrs import define, field
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

READS_AT_ONCE, READ_QUEUE_TIMEOUT = 32, 1.0
"""Reads for which no client waits, of those that run at once; one that has waited so many seconds begins all
the same."""

ReadRecord = Callable[[int], "Deferred[Found]"]
"""Reads a key as a GET does."""

OnChange = Callable[[Found], object]
"""Called with the new state of a key: a record, or why there is none any more; NOT_READY: the node stops, and
tells nothing any more."""


@define(eq=False, kw_only=True)
class WatchAccess:
    """What all watched keys of one node need of it."""

    lookups: Lookups
    rpc: Rpc
    read: ReadRecord
    store: RecordStore | None
    clock: IReactorTime
    rng: random.Random
    metrics: WatchMetrics = field(factory=WatchMetrics, init=False)
    reads: ConcurrencyLimit = field(init=False)
    """The reads for which no client waits."""

    def __attrs_post_init__(self) -> None:
        self.reads = ConcurrencyLimit(self.clock, READS_AT_ONCE, READ_QUEUE_TIMEOUT)


@define(eq=False)
class Subscription:
    """One client's watch of a key: a `KeyWatch`."""

    _watched: "WatchedKey"
    on_change: OnChange
    _on_end: "Callable[[Subscription], None]"
    knows: bool = field(default=False, init=False)
    """Whether this client has been told any state."""
    _told: Seen = field(default=None, init=False)
    """Which one, the last time."""

    def present(self) -> "Deferred[Found]":
        """As `KeyWatch.present`."""
        return self._watched.read_for(self)

    def tell(self, seen: Seen) -> bool:
        """Note that this client is told a state now; return whether that is new to it."""
        is_new = not self.knows or self._told != seen
        self.knows, self._told = True, seen
        return is_new

    def end(self) -> None:
        """As `KeyWatch.end`."""
        self._on_end(self)


class WatchedKey:
    """A key that is watched, from its first subscription to the end of the last one."""

    log = Logger()

    def __init__(self, key: int, access: WatchAccess) -> None:
        self._state = WatchState(key)
        self._access = access
        self._search = LeaseSearch(self._state, access.lookups, access.rpc, access.clock)
        self._own_id = access.lookups.table.own_id
        self._subscriptions: dict[Subscription, None] = {}
        self._waiting: list[tuple[Subscription, Deferred[Found]]] = []
        """Those who want a read that has not begun yet."""
        self._timer: IDelayedCall | None = None
        self._is_reading = False
        self._is_renewing = False

    # Those who watch it

    @property
    def subscriptions(self) -> tuple[Subscription, ...]:
        """Those who watch it."""
        return tuple(self._subscriptions)

    def add(self, subscription: Subscription) -> None:
        """A client watches the key from now on."""
        self._subscriptions[subscription] = None

    def remove(self, subscription: Subscription) -> bool:
        """A client watches no more. Return whether it did until now."""
        return self._subscriptions.pop(subscription, self) is None

    def wait_no_more(self, subscription: Subscription) -> None:
        """End the waiting of a client that has gone: it gets UNANSWERED."""
        for waiting in [one for one in self._waiting if one[0] is subscription]:
            self._waiting.remove(waiting)
            waiting[1].callback(NoRecord.UNANSWERED)

    def end(self) -> None:
        """Nobody watches the key any more: give the leases back."""
        cancel_timer(self._timer)
        self._search.end()

    def read_for(self, subscription: Subscription) -> "Deferred[Found]":
        """Fires with the result of a read that has yet to begin; with UNANSWERED after the time of a get."""
        result: Deferred[Found] = Deferred()
        if subscription not in self._subscriptions:
            result.callback(NoRecord.UNANSWERED)
        else:
            self._waiting.append((subscription, result))
            self._advance()
        return result.addTimeout(OPERATION_TIMEOUT, self._access.clock).addErrback(_not_in_time)

    def _tell(self, found: Found) -> None:
        seen = seen_in(found)
        for subscription in self.subscriptions:
            if subscription.tell(seen):
                self._access.metrics.changes += 1
                subscription.on_change(found)

    # What happens

    def notified(self, mark: bytes, node_id: int) -> bool:
        """A node says that its record of the key has changed. Return whether it was asked to."""
        is_asked = self._state.notified(node_id, mark)
        if is_asked:
            self._access.metrics.notified += 1
            self._advance()
        return is_asked

    def record_held(self) -> None:
        """The store of this node holds the record that was offered under the key."""
        if self._state.notified(self._own_id, self._own_mark()):
            self._advance()

    def _own_mark(self) -> bytes:
        store, now = self._access.store, self._access.clock.seconds()
        record = store.get(self._state.key, now) if store is not None else None
        return NOTHING_HELD if record is None else mark_of(record.version, record.digest)

    def _advance(self) -> None:
        """Begin what is due, and set the timer for what comes next."""
        clock, state = self._access.clock, self._state
        now = clock.seconds()
        if not self._subscriptions:
            return
        if not self._is_renewing and state.renew_at <= now:
            self._is_renewing = True
            self._run(self._renew())
        if not self._is_reading and (self._waiting or state.read_at() <= now):
            self._is_reading = True
            self._run(self._read())
        cancel_timer(self._timer)
        times = [state.renew_at] * (not self._is_renewing) + [state.read_at()] * (not self._is_reading)
        if times and self._subscriptions:
            self._timer = clock.callLater(max(min(times) - now, 0.0), self._advance)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        running: Deferred[None] = Deferred.fromCoroutine(work)
        running.addErrback(self._failed)
        running.addCallback(lambda _: self._advance())

    def _failed(self, failure: Failure) -> None:
        self.log.failure("A watch failed; this is a bug.", failure, event="watch.bug")
        # It goes on, but not at once.
        now = self._access.clock.seconds()
        self._state.read_ended(NoRecord.UNANSWERED, now)
        self._state.renewed(False, now, 1.0)

    # Reading

    async def _read(self) -> None:
        access, state = self._access, self._state
        is_queued = not self._waiting
        if is_queued:
            await access.reads.acquire()
        try:
            waiting, self._waiting = self._waiting, []
            access.metrics.reads[self._cause(bool(waiting))] += 1
            state.read_began()
            try:
                found = await access.read(state.key)
            except CallFailed:
                found = NoRecord.UNANSWERED
        finally:
            if is_queued:
                access.reads.release()
            self._is_reading = False
        has_result = state.read_ended(found, access.clock.seconds())
        for subscription, result in waiting:
            is_told = has_result or (isinstance(found, Record) and not subscription.knows)
            # Who has stopped waiting is told of the result as of a change.
            if is_told and not result.called and subscription in self._subscriptions:
                subscription.tell(seen_in(found))
            result.callback(found if is_told else NoRecord.UNANSWERED)
        if has_result:
            self._tell(found)

    def _cause(self, is_wanted: bool) -> ReadCause:
        if is_wanted:
            return ReadCause.CLIENT
        return ReadCause.HINT if self._state.has_hint(self._access.clock.seconds()) else ReadCause.POLL

    # Leases

    async def _renew(self) -> None:
        """Get leases of the nearest nodes, of the next nearest in place of those that give none."""
        access, state = self._access, self._state
        try:
            holds = access.store is not None and access.lookups.neighbourhood.is_near(state.key, GROUP)
            granted, asked = await self._search.run(GROUP - holds)
            now = access.clock.seconds()
            if holds:
                own = Contact(self._own_id, ("", 0))
                state.granted(own, self._own_mark(), float("inf"))
            else:
                state.refused(self._own_id)
            is_healthy = granted + holds >= min(QUORUM, asked + holds)
            state.renewed(is_healthy, now, access.rng.uniform(0.9, 1.1))
        finally:
            self._is_renewing = False


def _not_in_time(failure: Failure) -> Found:
    failure.trap(TimeoutError)
    return NoRecord.UNANSWERED
