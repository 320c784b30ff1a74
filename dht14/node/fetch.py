"""Fetches values that fit no datagram from those who say that they have them."""

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
from dht14.node.ports import Bulk
from dht14.node.timers import cancel_timer
from dht14.records.advertised import AdvertisedRecord
from dht14.records.record import Record

T = TypeVar("T")

HEDGE = 0.3
"""Seconds after which another claimer is asked as well: the first may have died since it answered."""


CLAIM_SECONDS = 0.4
"""For which a claim is waited for when a record is here that it would outrank: whoever claims without having
must not hold up a get for longer."""

VOUCHED, VOUCHED_SECONDS = 2, 2.0
"""The same for a claim that so many holders make: they may be far away, and hold what was acknowledged last, where
the record that is here is an old one."""

CLAIMS_AT_ONCE = 4
"""Claims of one key that are fetched side by side, the greatest ones."""


@frozen
class ValueSource:
    """A holder that says that it has a record, and the ticket for it."""

    contact: Contact
    ticket: bytes


@define(eq=False)
class Fetch:
    """One value, until somebody has sent it or nobody can."""

    log = Logger()

    _claim: AdvertisedRecord
    _claimers: Iterator[ValueSource]
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
        cancel_timer(self._hedge)
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
        record = self._claim.with_value(value)
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
        cancel_timer(deadline)
        cancel_timer(self._hedge)
        for transfer in self._transfers:
            transfer.cancel()
        return result


@define(eq=False)
class FetchRace:
    """Fetches several claims of one key side by side, and settles for the greatest that comes in time."""

    _claims: "Sequence[tuple[AdvertisedRecord, Sequence[ValueSource]]]"
    """The greatest claim first, each with those who make it."""
    _bulk: Bulk
    _clock: IReactorTime
    best: Record | None
    """The greatest record that is here; at first the one that the get has heard of, if any."""
    failed: list[ValueSource] = field(factory=list, init=False)
    """Those whose claims did not come true in time."""
    _fetches: "dict[int, Deferred[Record | None]]" = field(factory=dict, init=False)
    """Those under way, by the place of their claims."""
    _done: "Deferred[None]" = field(factory=Deferred, init=False)
    _timer: IDelayedCall | None = field(default=None, init=False)
    _is_late: bool = field(default=False, init=False)
    """Whether only claims that several holders make are waited for."""

    def run(self, timeout: float) -> "Deferred[None]":
        """Begin. Fires when nothing greater is to be had, or after `timeout` seconds."""
        deadline = self._clock.callLater(max(timeout, 0.0), self._end)
        self._done.addBoth(self._ended, deadline)
        chosen = self._claims[:CLAIMS_AT_ONCE]
        for number, (claim, claimers) in enumerate(chosen):
            fetch = Fetch(claim, iter(claimers), self._bulk, self._clock)
            self._fetches[number] = fetch.run(timeout)
        for number, fetched in list(self._fetches.items()):
            fetched.addErrback(_given_up).addCallback(self._fetched, number)
        if self.best is not None:
            self._hurry()
        return self._done

    def _hurry(self) -> None:
        if self._timer is None and not self._done.called:
            self._timer = self._clock.callLater(CLAIM_SECONDS, self._waited)

    def _waited(self) -> None:
        """What one holder alone claims is given up."""
        self._is_late = True
        if not any(len(self._claims[number][1]) >= VOUCHED for number in self._above_best()):
            self._end()
        elif self._timer is None or not self._timer.active():
            self._timer = self._clock.callLater(VOUCHED_SECONDS - CLAIM_SECONDS, self._end)

    def _above_best(self) -> list[int]:
        """The claims under way that are greater than the best record, by their places."""
        best = self.best
        return [n for n in self._fetches if best is None or self._claims[n][0].rank > best.rank]

    def _fetched(self, record: Record | None, number: int) -> None:
        if self._done.called:
            return
        del self._fetches[number]
        if record is None:
            self.failed += self._claims[number][1]
        elif self.best is None or record.rank > self.best.rank:
            self.best = record
        if not self._above_best():
            self._end()
        elif self._is_late:
            self._waited()
        elif self.best is not None:
            self._hurry()

    def _end(self) -> None:
        if not self._done.called:
            for number in self._above_best():
                self.failed += self._claims[number][1]
            self._done.callback(None)

    def _ended(self, result: T, deadline: IDelayedCall) -> T:
        cancel_timer(deadline)
        cancel_timer(self._timer)
        for fetch in list(self._fetches.values()):
            fetch.cancel()
        return result


def _given_up(failure: Failure) -> None:
    failure.trap(CancelledError)
