"""The records in the replies of holders; fetches the values that are too large for a reply."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TypeVar

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from dht14.errors import CallFailed, Withdrawn
from dht14.kademlia.contact import Contact
from dht14.kademlia.parameters import HEDGE_DELAY, UNVOUCHED_TIMEOUT, VOUCHED_TIMEOUT, VOUCHING_HOLDERS
from dht14.node.ports import Bulk
from dht14.node.timers import cancel_timer
from dht14.records.advertised import AdvertisedRecord
from dht14.records.read_quorum import Rank
from dht14.records.record import Record
from dht14.wire.messages import LargeValue, Value

T = TypeVar("T")

MAX_FETCHES = 4
"""Advertised records of one key that are fetched at once."""


@frozen
class ValueSource:
    """A holder that advertises a record, and the ticket for its value."""

    contact: Contact
    ticket: bytes


Claims = Sequence[tuple[AdvertisedRecord, Sequence[ValueSource]]]
"""Advertised records, each with the holders that advertise it: first those that matter most."""


def record_in(reply: Value, key: int, now: float) -> Record:
    """Return the record that a holder sent. It may be anything: the caller judges it."""
    return Record(
        key=key,
        value=reply.value,
        version=reply.version,
        expires_at=now + reply.ttl_ms / 1000,
        replication=reply.replication,
    )


def is_within(reply: Value, record: Record, now: float) -> bool:
    """Whether a copy of this record is to have no more copies, and to live no longer."""
    return reply.replication <= record.replication and now + reply.ttl_ms / 1000 <= record.expires_at


def advertised_in(reply: LargeValue, key: int, now: float) -> AdvertisedRecord:
    """Return what a holder says of a record with a large value. It may be anything, too."""
    return AdvertisedRecord(
        key=key,
        version=reply.version,
        expires_at=now + reply.ttl_ms / 1000,
        replication=reply.replication,
        owned=reply.owned,
        length=reply.length,
        digest=reply.digest,
    )


def _queued(sources: Iterable[ValueSource]) -> deque[ValueSource]:
    return deque(sources)


@define(eq=False)
class Fetch:
    """The fetch of one value, until a holder has sent it or none can."""

    log = Logger()

    _advertised: AdvertisedRecord
    _sources: deque[ValueSource] = field(converter=_queued)
    """Holders that were not asked yet."""
    _bulk: Bulk
    _clock: IReactorTime
    asked: list[ValueSource] = field(factory=list, init=False)
    """Holders that were asked, in order."""
    withdrawn: set[int] = field(factory=set, init=False)
    """The ids of those that answered that they do not have it (any more)."""
    _sender: ValueSource | None = field(default=None, init=False)
    _done: "Deferred[Record | None]" = field(factory=Deferred, init=False)
    _transfers: "list[Deferred[bytes]]" = field(factory=list, init=False)
    """The transfers that are running."""
    _hedge: IDelayedCall | None = field(default=None, init=False)

    def run(self, timeout: float) -> "Deferred[Record | None]":
        """Begin. Fires with the record, or with None if no holder has sent it within `timeout` seconds."""
        deadline = self._clock.callLater(max(timeout, 0.0), self._end, None)
        self._done.addBoth(self._ended, deadline)
        self._ask_next()
        return self._done

    def heard_of(self, sources: Iterable[ValueSource]) -> None:
        """There are more holders. One of them is asked now if all others were asked a while ago."""
        self._sources.extend(sources)
        if self._sources and not (self._hedge is not None and self._hedge.active()):
            self._ask_next()

    def _ask_next(self) -> None:
        cancel_timer(self._hedge)
        if not self._sources:
            return
        source = self._sources.popleft()
        self.asked.append(source)
        self._hedge = self._clock.callLater(HEDGE_DELAY, self._ask_next)
        transfer = self._bulk.fetch(source.contact, source.ticket, self._advertised.length)
        self._transfers.append(transfer)
        transfer.addCallback(partial(self._received, source))
        transfer.addErrback(self._failed, source.contact)
        transfer.addCallback(partial(self._transfer_ended, transfer))

    def passed_over(self, stalled: int) -> list[ValueSource]:
        """Return the holders that were asked before the one that has sent the value; none if that is one of
        the first `stalled`: then it takes all of them long."""
        if self._sender is None or (position := self.asked.index(self._sender)) < stalled:
            return []
        return self.asked[:position]

    def _received(self, source: ValueSource, value: bytes) -> None:
        record = self._advertised.with_value(value)
        if record is not None:
            self._sender = source
            self._end(record)
        else:
            self.log.warn(
                "The node at {host} port {port} sent a value that differs from the one it had advertised.",
                event="fetch.other_value",
                host=source.contact.address[0],
                port=source.contact.address[1],
            )

    def _failed(self, failure: Failure, holder: Contact) -> None:
        if failure.check(Withdrawn):
            self.withdrawn.add(holder.node_id)
        elif not failure.check(CallFailed, CancelledError):
            self.log.failure("A value was not fetched; this is a bug.", failure, event="fetch.bug")

    def _transfer_ended(self, transfer: "Deferred[bytes]", _: None) -> None:
        """Ask the next holder, unless this transfer has brought the value."""
        if self._done.called:
            return
        self._transfers.remove(transfer)
        self._ask_next()
        if not self._transfers and not self._done.called:
            self._end(None)

    def _end(self, record: Record | None) -> None:
        if not self._done.called:
            self._done.callback(record)

    def _ended(self, result: T, deadline: IDelayedCall) -> T:
        """Stop all timers and transfers, however the fetch ended (a cancellation included)."""
        cancel_timer(deadline)
        cancel_timer(self._hedge)
        for transfer in self._transfers:
            transfer.cancel()
        return result


def _gives_way(best: Record | None) -> bool:
    """Nothing is known to be agreed: what does not come is given up."""
    return False


@define(eq=False)
class FetchRace:
    """Fetches several advertised records of one key at once, and takes the greatest that arrives in time.

    What one or two holders advertise and do not send is given up after a while, if something else is there.
    What most of the group have is not: then the race stalls, its caller finds more holders, and it goes on
    until its time is over.
    """

    _advertised: Claims
    _bulk: Bulk
    _clock: IReactorTime
    best: Record | None
    """The greatest record with its value; at first, the one that the replies of the get contained, if any."""
    _insists: Callable[[Record | None], bool] = _gives_way
    """Whether a record greater than this one must not be given up."""
    failed: list[ValueSource] = field(factory=list, init=False)
    """Holders that did not send in time what they advertise."""
    withdrawn: set[tuple[Rank, int]] = field(factory=set, init=False)
    """Records that a holder answered not to have (any more), with the id of that holder."""
    _claims: "list[tuple[AdvertisedRecord, list[ValueSource]]]" = field(factory=list, init=False)
    """What is fetched, and from whom."""
    _fetches: dict[int, Fetch] = field(factory=dict, init=False)
    """The fetches that are running, by index in `_claims`."""
    _running: "dict[int, Deferred[Record | None]]" = field(factory=dict, init=False)
    """The same."""
    _stalled: dict[int, int] = field(factory=dict, init=False)
    """How many holders had been asked, by index, when the race stalled."""
    _overdue: set[int] = field(factory=set, init=False)
    """What had stalled and has no more holders, by index: nothing waits for it unless the caller insists."""
    _ends_at: float = field(default=0.0, init=False)
    _done: "Deferred[None]" = field(factory=Deferred, init=False)
    _timer: IDelayedCall | None = field(default=None, init=False)
    _stall_timer: IDelayedCall | None = field(default=None, init=False)
    _is_late: bool = field(default=False, init=False)
    """Whether only records that several holders advertise are waited for."""
    _is_beginning: bool = field(default=False, init=False)
    """Whether transfers are being begun. Some fail at once; the others must have begun before that counts."""
    is_stalled: bool = field(default=False, init=False)
    """Whether it waits for more holders, by `go_on`: its transfers go on."""

    def run(self, timeout: float) -> "Deferred[None]":
        """Begin. Fires when no greater record can arrive, when it stalls, or after `timeout` seconds."""
        self._ends_at = self._clock.seconds() + timeout
        self._stall_timer = self._clock.callLater(VOUCHED_TIMEOUT, self._stall)
        return self._race(self._advertised)

    def go_on(
        self, advertised: Claims, insists: Callable[[Record | None], bool] = _gives_way
    ) -> "Deferred[None]":
        """More is advertised, which decides what must not be given up. Fires as `run` does, within the same
        time; it stalls no more."""
        self._cancel_timers()
        self._insists = insists
        self.is_stalled, self._is_late, self._timer = False, False, None
        self._overdue.update(self._stalled)
        self._done = Deferred()
        return self._race(advertised)

    def stop(self) -> None:
        """End all that is under way."""
        self._cancel_timers()
        for running in list(self._running.values()):
            running.cancel()

    def _cancel_timers(self) -> None:
        cancel_timer(self._timer)
        cancel_timer(self._stall_timer)

    def _race(self, advertised: Claims) -> "Deferred[None]":
        left = max(self._ends_at - self._clock.seconds(), 0.0)
        deadline = self._clock.callLater(left, self._end)
        self._done.addBoth(self._ended, deadline)
        self._is_beginning = True
        for claim in advertised[:MAX_FETCHES]:
            self._begin(*claim, left)
        self._is_beginning = False
        self._wait_or_settle()
        return self._done

    def _begin(self, advertised: AdvertisedRecord, sources: Sequence[ValueSource], timeout: float) -> None:
        """Begin to fetch a record, or ask more holders for it; each holder once."""
        index = next((i for i, (one, _) in enumerate(self._claims) if one.rank == advertised.rank), None)
        if index is None:
            index = len(self._claims)
            self._claims.append((advertised, []))
        known = self._claims[index][1]
        asked = {source.contact.node_id for source in known}
        more = [source for source in sources if source.contact.node_id not in asked]
        known += more
        if more:
            self._overdue.discard(index)
        if index in self._fetches:
            self._fetches[index].heard_of(more)
        elif more:
            fetch = self._fetches[index] = Fetch(advertised, more, self._bulk, self._clock)
            running = self._running[index] = fetch.run(timeout)
            running.addErrback(_cancelled).addCallback(self._fetched, index)

    def _wait_or_settle(self) -> None:
        if not self._awaited():
            self._settle()
        elif self._is_late:
            self._waited()
        elif self.best is not None:
            self._limit_wait()

    def _limit_wait(self) -> None:
        if self._timer is None and not self._done.called:
            self._timer = self._clock.callLater(UNVOUCHED_TIMEOUT, self._waited)

    def _waited(self) -> None:
        """Give up what a single holder advertises."""
        self._is_late = True
        if not any(len(self._claims[index][1]) >= VOUCHING_HOLDERS for index in self._awaited()):
            self._settle()
        elif self._timer is None or not self._timer.active():
            self._timer = self._clock.callLater(VOUCHED_TIMEOUT - UNVOUCHED_TIMEOUT, self._settle)

    def _above_best(self) -> list[int]:
        """Return the running fetches of records greater than the best, by index."""
        best = self.best
        return [i for i in self._fetches if best is None or self._claims[i][0].rank > best.rank]

    def _awaited(self) -> list[int]:
        """Return those of them that had not stalled."""
        return [index for index in self._above_best() if index not in self._overdue]

    def _fetched(self, record: Record | None, index: int) -> None:
        fetch = self._fetches.pop(index)
        del self._running[index]
        if self._done.called and not self.is_stalled:
            return
        advertised, sources = self._claims[index]
        self.withdrawn.update((advertised.rank, node_id) for node_id in fetch.withdrawn)
        if record is None:
            self.failed += sources
        else:
            if index in self._stalled:
                self.failed += fetch.passed_over(self._stalled[index])
            if self.best is None or record.rank > self.best.rank:
                self.best = record
        if not self.is_stalled and not self._is_beginning:
            self._wait_or_settle()

    def _stall(self) -> None:
        """Nothing that must not be given up has come for a long time: more holders are needed."""
        if self._done.called or not self._insists(self.best):
            return
        self.is_stalled = True
        self._stalled = {index: len(fetch.asked) for index, fetch in self._fetches.items()}
        self._done.callback(None)

    def _settle(self) -> None:
        """Take what is there, unless something must still come and can."""
        if not self._above_best() or not self._insists(self.best):
            self._end()

    def _end(self) -> None:
        if not self._done.called:
            for index in self._above_best():
                self.failed += self._claims[index][1]
            self._done.callback(None)

    def _ended(self, result: T, deadline: IDelayedCall) -> T:
        cancel_timer(deadline)
        if not self.is_stalled:
            self.stop()
        return result


def _cancelled(failure: Failure) -> None:
    failure.trap(CancelledError)
