"""Gets one large value from any of those who say that they have it."""

from collections.abc import Iterator
from functools import partial
from typing import TypeVar

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from dht14.errors import CallFailed
from dht14.kademlia.contact import Contact
from dht14.node.finding import Claimer
from dht14.node.ports import Bulk
from dht14.storage.claim import Claim
from dht14.storage.record import Record

T = TypeVar("T")

HEDGE = 0.3
"""Seconds after which another claimer is asked as well: the first may have died since it answered."""


@define(eq=False)
class Fetch:
    """One value, until somebody has sent it or nobody can."""

    log = Logger()

    _claim: Claim
    _claimers: Iterator[Claimer]
    """Those not yet asked."""
    _bulk: Bulk
    _clock: IReactorTime
    _done: "Deferred[Record | None]" = field(factory=Deferred, init=False)
    _transfers: "list[Deferred[bytes]]" = field(factory=list, init=False)
    """Those under way."""
    _hedge: IDelayedCall | None = field(default=None, init=False)

    def run(self, timeout: float) -> "Deferred[Record | None]":
        """Begin. Fires with the record; with None when no claimer has sent it, or after `timeout` seconds."""
        deadline = self._clock.callLater(max(timeout, 0.0), self._end, None)
        self._done.addBoth(self._ended, deadline)
        self._ask_next()
        return self._done

    def _ask_next(self) -> None:
        _disarm(self._hedge)
        claimer = next(self._claimers, None)
        if claimer is None:
            return
        self._hedge = self._clock.callLater(HEDGE, self._ask_next)
        claim = self._claim
        transfer = self._bulk.fetch(claimer.contact, claimer.ticket, claim.length)
        self._transfers.append(transfer)
        transfer.addCallback(partial(self._came, claimer.contact))
        transfer.addErrback(self._failed)
        transfer.addCallback(partial(self._missed, transfer))

    def _came(self, holder: Contact, value: bytes) -> None:
        record = self._claim.fulfilled(value)
        if record is not None:
            self._end(record)
        else:
            self.log.warn(
                "The node at {host} port {port} sent another value than it had told of.",
                host=holder.address[0],
                port=holder.address[1],
            )

    def _failed(self, failure: Failure) -> None:
        if not failure.check(CallFailed, CancelledError):
            self.log.failure("A value was not fetched; this is a bug.", failure)

    def _missed(self, transfer: "Deferred[bytes]", _: None) -> None:
        """One transfer has ended. If the value has not come with it, somebody else may have it."""
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
        """However it ended, by a cancellation too, nothing stays on the clock or under way."""
        _disarm(deadline)
        _disarm(self._hedge)
        for transfer in self._transfers:
            transfer.cancel()
        return result


def _disarm(timer: IDelayedCall | None) -> None:
    if timer is not None and timer.active():
        timer.cancel()
