"""The records in the replies of holders; fetches the values that are too large for a reply."""

from collections import deque
from collections.abc import Iterable
from functools import partial
from typing import TypeVar

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from dht14.errors import CallFailed, Withdrawn
from dht14.kademlia.contact import Contact
from dht14.kademlia.parameters import HEDGE_DELAY
from dht14.node.ports import Bulk
from dht14.node.timers import cancel_timer
from dht14.records.advertised import AdvertisedRecord
from dht14.records.record import Record
from dht14.wire.messages import LargeValue, Value

T = TypeVar("T")


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

    def stop(self) -> None:
        """End it: what `run` returned fails with `CancelledError`."""
        self._done.cancel()

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
