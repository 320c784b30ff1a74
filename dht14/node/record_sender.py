"""Brings records of every size to those who shall hold them: in a STORE, or offered and pushed."""

from enum import IntEnum
from functools import lru_cache, partial
from hashlib import sha256

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from dht14.errors import CallFailed
from dht14.kademlia.contact import Address, Contact
from dht14.kademlia.parameters import MAX_INLINE_VALUE
from dht14.node.ports import Bulk, CallObserver, CallResult, Rpc
from dht14.records.envelope import is_envelope
from dht14.records.record import Record
from dht14.wire.messages import Offer, Reply, Request, Store, Wanted

PUSH_SLOW, PUSH_SILENT = 0.5, 2.0
"""Seconds after which a push is slow, and after which its contact is taken for dead: it said a moment ago
that it wants the value."""


@define(eq=False)
class RecordSender:
    """An `Rpc` for which a STORE may be as large as a value can be."""

    _rpc: Rpc
    _bulk: Bulk
    _clock: IReactorTime

    def call(self, contact: Contact, request: Request, observer: CallObserver) -> None:
        """As `Rpc.call`. A STORE that fits no datagram becomes an OFFER; what is answered in the end, and how
        slowly, reaches the observer as if it had been one call."""
        if isinstance(request, Store) and len(request.value) > MAX_INLINE_VALUE:
            self._offer(contact, request, observer)
        else:
            self._rpc.call(contact, request, observer)

    def ask(self, contact: Contact, request: Request) -> "Deferred[Reply]":
        """As `Rpc.ask`."""
        asked = CallResult()
        self.call(contact, request, asked)
        return asked.reply

    def ask_address(
        self, address: Address, request: Request, node_id: int | None = None
    ) -> "Deferred[tuple[Contact, Reply]]":
        """As `Rpc.ask_address`."""
        return self._rpc.ask_address(address, request, node_id)

    def send_copy(self, contact: Contact, record: Record, neighbours: int) -> "Deferred[Reply]":
        """See to it that the contact has a copy of the record, and send the value only if it has not.

        `neighbours` as in `Store`. Fires with its answer (`Stored`, `Outranked`, `Refused`) or `CallFailed`.
        """
        remaining = max(record.remaining_ms(self._clock.seconds()), 1)
        store = Store(
            record.key, record.version, remaining, record.replication, neighbours, record.value, copy=True
        )
        asked = CallResult()
        self._offer(contact, store, asked)
        return asked.reply

    def _offer(self, contact: Contact, store: Store, observer: CallObserver) -> None:
        delivery = _Delivery(store, observer, self._rpc, self._bulk, self._clock)
        self._rpc.call(contact, _offer_of(store), delivery)


@lru_cache(maxsize=8)
def _offer_of(store: Store) -> Offer:
    """The record without its value. One record is offered to all of its holders, and hashed once for them."""
    return Offer(
        store.key,
        store.version,
        store.ttl_ms,
        store.replication,
        store.neighbours,
        is_envelope(store.value),
        len(store.value),
        sha256(store.value).digest(),
        store.copy,
    )


class _Pace(IntEnum):
    """How long whoever made the call has been told that it takes."""

    FRESH = 0
    SLOW = 1
    SILENT = 2


@define(eq=False)
class _Delivery:
    """One record on its way to one contact; the `CallObserver` of its OFFER.

    It tells of slow and of silent once, whichever part of it was.
    """

    log = Logger()

    _store: Store
    _observer: CallObserver
    _rpc: Rpc
    _bulk: Bulk
    _clock: IReactorTime
    _pace: _Pace = field(default=_Pace.FRESH, init=False)
    _timer: IDelayedCall | None = field(default=None, init=False)

    def call_answered(self, contact: Contact, reply: Reply) -> None:
        """As `CallObserver`. Where the record is wanted, the answer is still to come."""
        if not isinstance(reply, Wanted):
            self._observer.call_answered(contact, reply)
        elif len(self._store.value) <= MAX_INLINE_VALUE:
            self._rpc.call(contact, self._store, self._observer)
        else:
            self._timer = self._clock.callLater(PUSH_SLOW, self._grow_slow, contact)
            pushed = self._bulk.push(contact, reply.ticket, self._store.value)
            pushed.addCallbacks(partial(self._pushed, contact), partial(self._not_pushed, contact))

    def call_slow(self, contact: Contact) -> None:
        """As `CallObserver`."""
        if self._pace < _Pace.SLOW:
            self._pace = _Pace.SLOW
            self._observer.call_slow(contact)

    def call_silent(self, contact: Contact) -> None:
        """As `CallObserver`."""
        if self._pace < _Pace.SILENT:
            self._pace = _Pace.SILENT
            self._observer.call_silent(contact)

    def call_failed(self, contact: Contact) -> None:
        """As `CallObserver`."""
        self._observer.call_failed(contact)

    def _grow_slow(self, contact: Contact) -> None:
        self._timer = self._clock.callLater(PUSH_SILENT - PUSH_SLOW, self.call_silent, contact)
        self.call_slow(contact)

    def _pushed(self, contact: Contact, reply: Reply) -> None:
        self._disarm()
        self._observer.call_answered(contact, reply)

    def _not_pushed(self, contact: Contact, failure: Failure) -> None:
        self._disarm()
        if not failure.check(CallFailed):
            self.log.failure("A value was not sent; this is a bug.", failure)
        self._observer.call_failed(contact)

    def _disarm(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
