"""The records in the replies of holders; fetches the values that are too large for a reply."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TypeVar

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from dht14.errors import CallFailed
from dht14.kademlia.contact import Contact
from dht14.kademlia.parameters import HEDGE_DELAY, UNVOUCHED_TIMEOUT, VOUCHED_TIMEOUT, VOUCHING_HOLDERS
from dht14.node.ports import Bulk
from dht14.node.timers import cancel_timer
from dht14.records.advertised import AdvertisedRecord
from dht14.records.record import Record
from dht14.wire.messages import LargeValue, Value

T = TypeVar("T")

MAX_FETCHES = 4
"""Advertised records of one key that are fetched at once: the greatest ones."""


@frozen
class ValueSource:
    """A holder that advertises a record, and the ticket for its value."""

    contact: Contact
    ticket: bytes


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


@define(eq=False)
class Fetch:
    """The fetch of one value, until a holder has sent it or none can."""

    log = Logger()

    _advertised: AdvertisedRecord
    _sources: Iterator[ValueSource]
    """Holders that were not asked yet."""
    _bulk: Bulk
    _clock: IReactorTime
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

    def _ask_next(self) -> None:
        cancel_timer(self._hedge)
        source = next(self._sources, None)
        if source is None:
            return
        self._hedge = self._clock.callLater(HEDGE_DELAY, self._ask_next)
        transfer = self._bulk.fetch(source.contact, source.ticket, self._advertised.length)
        self._transfers.append(transfer)
        transfer.addCallback(partial(self._received, source.contact))
        transfer.addErrback(self._failed)
        transfer.addCallback(partial(self._transfer_ended, transfer))

    def _received(self, holder: Contact, value: bytes) -> None:
        record = self._advertised.with_value(value)
        if record is not None:
            self._end(record)
        else:
            self.log.warn(
                "The node at {host} port {port} sent a value that differs from the one it had advertised.",
                event="fetch.other_value",
                host=holder.address[0],
                port=holder.address[1],
            )

    def _failed(self, failure: Failure) -> None:
        if not failure.check(CallFailed, CancelledError):
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


@define(eq=False)
class FetchRace:
    """Fetches several advertised records of one key at once, and takes the greatest that arrives in time."""

    _advertised: "Sequence[tuple[AdvertisedRecord, Sequence[ValueSource]]]"
    """The greatest record first, each with the holders that advertise it."""
    _bulk: Bulk
    _clock: IReactorTime
    best: Record | None
    """The greatest record with its value; at first, the one that the replies of the get contained, if any."""
    failed: list[ValueSource] = field(factory=list, init=False)
    """Holders that did not send in time what they advertise."""
    _fetches: "dict[int, Deferred[Record | None]]" = field(factory=dict, init=False)
    """The fetches that are running, by index in `_advertised`."""
    _done: "Deferred[None]" = field(factory=Deferred, init=False)
    _timer: IDelayedCall | None = field(default=None, init=False)
    _is_late: bool = field(default=False, init=False)
    """Whether only records that several holders advertise are waited for."""

    def run(self, timeout: float) -> "Deferred[None]":
        """Begin. Fires when no greater record can arrive, or after `timeout` seconds."""
        deadline = self._clock.callLater(max(timeout, 0.0), self._end)
        self._done.addBoth(self._ended, deadline)
        for index, (advertised, sources) in enumerate(self._advertised[:MAX_FETCHES]):
            fetch = Fetch(advertised, iter(sources), self._bulk, self._clock)
            self._fetches[index] = fetch.run(timeout)
        for index, fetched in list(self._fetches.items()):
            fetched.addErrback(_cancelled).addCallback(self._fetched, index)
        if self.best is not None:
            self._limit_wait()
        return self._done

    def _limit_wait(self) -> None:
        if self._timer is None and not self._done.called:
            self._timer = self._clock.callLater(UNVOUCHED_TIMEOUT, self._waited)

    def _waited(self) -> None:
        """Give up what a single holder advertises."""
        self._is_late = True
        if not any(len(self._advertised[index][1]) >= VOUCHING_HOLDERS for index in self._above_best()):
            self._end()
        elif self._timer is None or not self._timer.active():
            self._timer = self._clock.callLater(VOUCHED_TIMEOUT - UNVOUCHED_TIMEOUT, self._end)

    def _above_best(self) -> list[int]:
        """Return the running fetches of records greater than the best, by index."""
        best = self.best
        return [i for i in self._fetches if best is None or self._advertised[i][0].rank > best.rank]

    def _fetched(self, record: Record | None, index: int) -> None:
        if self._done.called:
            return
        del self._fetches[index]
        if record is None:
            self.failed += self._advertised[index][1]
        elif self.best is None or record.rank > self.best.rank:
            self.best = record
        if not self._above_best():
            self._end()
        elif self._is_late:
            self._waited()
        elif self.best is not None:
            self._limit_wait()

    def _end(self) -> None:
        if not self._done.called:
            for index in self._above_best():
                self.failed += self._advertised[index][1]
            self._done.callback(None)

    def _ended(self, result: T, deadline: IDelayedCall) -> T:
        cancel_timer(deadline)
        cancel_timer(self._timer)
        for fetch in list(self._fetches.values()):
            fetch.cancel()
        return result


def _cancelled(failure: Failure) -> None:
    failure.trap(CancelledError)
