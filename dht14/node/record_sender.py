"""Sends records of every size to their holders: small ones in a STORE, large ones offered and then pushed."""

from collections.abc import Callable
from enum import IntEnum
from functools import lru_cache, partial
from hashlib import sha256
from typing import TypeVar

from attrs import define, evolve, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from dht14.bounded import BoundedDict
from dht14.errors import CallFailed, Interrupted
from dht14.kademlia.contact import Address, Contact
from dht14.kademlia.parameters import MAX_INLINE_VALUE, OPERATION_TIMEOUT, PUSH_SILENT, PUSH_SLOW
from dht14.node.concurrency import ConcurrencyLimit
from dht14.node.ports import Bulk, CallObserver, CallResult, Rpc
from dht14.node.timers import cancel_timer
from dht14.records.envelope import is_envelope
from dht14.records.record import Record
from dht14.security.tickets import MAX_TICKETS_PER_PEER
from dht14.wire.messages import MAX_TTL_MS, Offer, Reply, Request, Store, Wanted

T = TypeVar("T")

LARGE_AT_ONCE = MAX_TICKETS_PER_PEER // 2
"""Large values that are on their way to one contact. It remembers twice as many tickets, and an OFFER that is
sent twice gets two; with more the oldest one is invalid, and ends the connection of all."""

MAX_CONTACTS = 1024
"""Contacts whose large values are counted; the oldest is forgotten first."""


_Which = tuple[int, int, bytes]
"""The id of a contact, a key, and the SHA-256 of a value."""

_Pushes = dict[_Which, list[Callable[[], None]]]
"""The values that are being sent, each with the later deliveries of the same value to the same contact. These
go on when the first has ended."""


@define(eq=False)
class RecordSender:
    """An `Rpc` whose STOREs may contain values of any size."""

    _rpc: Rpc
    _bulk: Bulk
    _clock: IReactorTime
    _turns: BoundedDict[int, ConcurrencyLimit] = field(factory=lambda: BoundedDict(MAX_CONTACTS), init=False)
    """Of the large values to each contact, by its id."""
    _pushes: _Pushes = field(factory=dict, init=False)

    def call(self, contact: Contact, request: Request, observer: CallObserver) -> None:
        """As `Rpc.call`, but a STORE that does not fit a datagram becomes an OFFER and a push.

        The observer sees one call: the final reply, and how slow the parts were together.
        """
        if isinstance(request, Store) and len(request.value) > MAX_INLINE_VALUE:
            self._offer(contact, request, observer)
        else:
            self._rpc.call(contact, request, observer)

    def ask(self, contact: Contact, request: Request) -> "Deferred[Reply]":
        """As `Rpc.ask`."""
        result = CallResult()
        self.call(contact, request, result)
        return result.reply

    def ask_address(
        self, address: Address, request: Request, node_id: int | None = None
    ) -> "Deferred[tuple[Contact, Reply]]":
        """As `Rpc.ask_address`."""
        return self._rpc.ask_address(address, request, node_id)

    def send_copy(self, contact: Contact, record: Record, neighbours: int) -> "Deferred[Reply]":
        """Offer the contact a copy of the record, and send the value only if the contact wants it.

        `neighbours` as in `Store`. Fires with `Stored`, `Outranked` or `Refused`, or fails with `CallFailed`.
        """
        result = CallResult()
        self._offer(contact, copy_of(record, neighbours, self._clock.seconds()), result)
        return result.reply

    def _offer(self, contact: Contact, store: Store, observer: CallObserver) -> None:
        turns: ConcurrencyLimit | None = None
        if len(store.value) > MAX_INLINE_VALUE:
            turns = self._turns.get(contact.node_id) or ConcurrencyLimit(self._clock, LARGE_AT_ONCE)
            self._turns.renew(contact.node_id, turns)
        _Delivery(store, observer, self._rpc, self._bulk, self._clock, turns, self._pushes).begin(contact)


def copy_of(record: Record, neighbours: int, now: float) -> Store:
    """Return the STORE of a copy of the record; `neighbours` as in `Store`."""
    remaining = min(max(record.remaining_ms(now), 1), MAX_TTL_MS)
    return Store(
        record.key, record.version, remaining, record.replication, neighbours, record.value, copy=True
    )


@lru_cache(maxsize=8)
def offer_of(store: Store) -> Offer:
    """Return the record without its value. Cached: a record is hashed once for all its holders."""
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


class _Reported(IntEnum):
    """What the observer knows about the speed of a delivery."""

    NOTHING = 0
    SLOW = 1
    SILENT = 2


@define(eq=False)
class _Delivery:
    """One record on its way to one contact; the `CallObserver` of its OFFER.

    It reports slow and silent once each, whichever part of the delivery was.
    """

    log = Logger()

    _store: Store
    _observer: CallObserver
    _rpc: Rpc
    _bulk: Bulk
    _clock: IReactorTime
    _turns: ConcurrencyLimit | None
    """Of the large values to this contact; None: the value is small."""
    _pushes: _Pushes
    _began: float = field(init=False)
    _was_interrupted: bool = field(default=False, init=False)
    """Whether the value is on its way for the second time."""
    _reported: _Reported = field(default=_Reported.NOTHING, init=False)
    _timer: IDelayedCall | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._began = self._clock.seconds()

    def begin(self, contact: Contact) -> None:
        """Send the OFFER; that of a large value in its turn. Until then others stand in, as for a slow
        contact."""
        if self._turns is None:
            self._offer(contact)
            return
        turn = self._turns.acquire()
        if not turn.called:
            self._timer = self._clock.callLater(PUSH_SLOW, self._push_slow, contact)
        turn.addCallback(lambda _: self._go_on(contact))

    def _go_on(self, contact: Contact) -> None:
        cancel_timer(self._timer)
        if self._is_awaited():
            self._offer(contact)
        else:
            self.call_failed(contact)

    def _is_awaited(self) -> bool:
        """Whether anybody may still wait for its end."""
        return self._clock.seconds() - self._began < OPERATION_TIMEOUT

    def _offer(self, contact: Contact) -> None:
        elapsed_ms = round((self._clock.seconds() - self._began) * 1000)
        store = self._store
        if elapsed_ms:
            store = evolve(store, ttl_ms=max(store.ttl_ms - elapsed_ms, 1))
        self._rpc.call(contact, offer_of(store), self)

    def _ended(self) -> None:
        cancel_timer(self._timer)
        if self._turns is not None:
            self._turns.release()

    def call_answered(self, contact: Contact, reply: Reply) -> None:
        """As `CallObserver`. If the contact wants the value, its final reply is still to come."""
        if not isinstance(reply, Wanted):
            self._ended()
            self._observer.call_answered(contact, reply)
        elif len(self._store.value) <= MAX_INLINE_VALUE:
            self._rpc.call(contact, self._store, self._observer)
        else:
            self._push(contact, reply.ticket)

    def _push(self, contact: Contact, ticket: bytes) -> None:
        self._timer = self._clock.callLater(PUSH_SLOW, self._push_slow, contact)
        which = contact.node_id, self._store.key, offer_of(self._store).digest
        if which in self._pushes:
            # The attempt before this one is still sending it. Sent twice it would only come later.
            self._pushes[which].append(partial(self._go_on, contact))
            return
        self._pushes[which] = []
        pushed = self._bulk.push(contact, ticket, self._store.value)
        pushed.addBoth(self._push_ended, which)
        pushed.addCallbacks(partial(self._pushed, contact), partial(self._push_failed, contact))

    def _push_ended(self, result: T, which: _Which) -> T:
        for go_on in self._pushes.pop(which):
            go_on()
        return result

    def call_slow(self, contact: Contact) -> None:
        """As `CallObserver`."""
        if self._reported < _Reported.SLOW:
            self._reported = _Reported.SLOW
            self._observer.call_slow(contact)

    def call_silent(self, contact: Contact) -> None:
        """As `CallObserver`."""
        if self._reported < _Reported.SILENT:
            self._reported = _Reported.SILENT
            self._observer.call_silent(contact)

    def call_failed(self, contact: Contact) -> None:
        """As `CallObserver`."""
        self._ended()
        self._observer.call_failed(contact)

    def _push_slow(self, contact: Contact) -> None:
        self._timer = self._clock.callLater(PUSH_SILENT - PUSH_SLOW, self.call_silent, contact)
        self.call_slow(contact)

    def _pushed(self, contact: Contact, reply: Reply) -> None:
        self._ended()
        self._observer.call_answered(contact, reply)

    def _push_failed(self, contact: Contact, failure: Failure) -> None:
        if failure.check(Interrupted) and not self._was_interrupted and self._is_awaited():
            # The contact may have started anew, or closed the connection for another one.
            cancel_timer(self._timer)
            self._was_interrupted = True
            self._offer(contact)
            return
        if not failure.check(CallFailed):
            self.log.failure("A value was not sent; this is a bug.", failure, event="send.bug")
        self.call_failed(contact)
