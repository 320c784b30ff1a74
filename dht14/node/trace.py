"""Traces of lookups: every call of an operation, with who named whom, and when it was answered.

`TracingRpc` stands between an operation and the `Rpc` it uses, `TracingBulk` between it and the bulk channel.
They change nothing. They cost one object for each call, so they are used only while an operator looks.
"""

from collections.abc import Callable
from enum import Enum
from functools import partial

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from dht14.kademlia.contact import Address, Contact
from dht14.node.ports import Bulk, CallObserver, Rpc
from dht14.wire.messages import LargeValue, Outranked, Refused, Reply, Request, Stored, Value


class CallOutcome(Enum):
    """How a traced call ended."""

    PENDING = "pending"
    """It had no answer when the operation ended."""
    SLOW = "slow"
    """The soft timeout has passed; an answer still counts."""
    HOLDS = "holds"
    """The contact has a record, and said so or sent it."""
    STORED = "stored"
    NOTHING = "nothing"
    """The contact has no record, or had one that has expired; it named contacts."""
    OUTRANKED = "outranked"
    """The contact has a greater record than the one it was sent."""
    REFUSED = "refused"
    ROUTES = "stores no values"
    """The contact is a bootstrap node."""
    FAILED = "failed"
    """No answer before the hard timeout, or it was not sent."""


@define(eq=False)
class TracedCall:
    """One call to one contact."""

    contact: Contact
    request: str
    """The kind of the message; `Fetch` for a value over the bulk channel."""
    sent_at: float
    named_by: Contact | None
    """Whose answer named the contact first; None for one that was known before."""
    hop: int
    """0 for a contact that was known before; else one more than the contact that named it."""
    ended_at: float | None = None
    outcome: CallOutcome = CallOutcome.PENDING
    contacts_named: int = 0


OnEnd = Callable[[TracedCall], None]


def _ignore(call: TracedCall) -> None:
    """The trace is read when the operation has ended."""


@define(eq=False)
class TracingRpc:
    """An `Rpc` that writes down the calls of one operation."""

    _rpc: Rpc
    _seconds: Callable[[], float]
    _on_end: OnEnd = _ignore
    """Called when a call has its last outcome."""
    calls: list[TracedCall] = field(factory=list, init=False)
    """In the order in which they were made."""
    _namers: dict[int, TracedCall] = field(factory=dict, init=False)
    """By node id: the call whose answer named it first."""

    def call(self, contact: Contact, request: Request, observer: CallObserver) -> None:
        """As `Rpc.call`."""
        call = self.began(contact, type(request).__name__)
        self._rpc.call(contact, request, _TracedObserver(self, call, observer))

    def over_bulk(self, bulk: Bulk) -> "TracingBulk":
        """Return a bulk channel whose fetches are written down here."""
        return TracingBulk(self, bulk)

    def began(self, contact: Contact, request: str) -> TracedCall:
        """A call begins."""
        namer = self._namers.get(contact.node_id)
        call = TracedCall(
            contact,
            request,
            self._seconds(),
            namer.contact if namer is not None else None,
            namer.hop + 1 if namer is not None else 0,
        )
        self.calls.append(call)
        return call

    def ask(self, contact: Contact, request: Request) -> "Deferred[Reply]":
        """As `Rpc.ask`; lookups do not use it, and it is not traced."""
        return self._rpc.ask(contact, request)

    def ask_address(
        self, address: Address, request: Request, node_id: int | None = None
    ) -> "Deferred[tuple[Contact, Reply]]":
        """As `Rpc.ask_address`; not traced."""
        return self._rpc.ask_address(address, request, node_id)

    def answered(self, call: TracedCall, reply: Reply) -> None:
        """A call was answered."""
        named = _contacts_of(reply)
        call.contacts_named = len(named)
        for contact in named:
            self._namers.setdefault(contact.node_id, call)
        self.ended(call, _outcome_of(reply))

    def ended(self, call: TracedCall, outcome: CallOutcome) -> None:
        """A call has an outcome, which is the last one unless it is SLOW."""
        call.outcome = outcome
        if outcome is not CallOutcome.SLOW:
            call.ended_at = self._seconds()
            self._on_end(call)


@define(eq=False)
class TracingBulk:
    """A `Bulk` whose fetches are steps of a trace."""

    _trace: TracingRpc
    _bulk: Bulk

    def push(self, contact: Contact, ticket: bytes, value: bytes) -> "Deferred[Reply]":
        """As `Bulk.push`; a get pushes nothing, and it is not traced."""
        return self._bulk.push(contact, ticket, value)

    def fetch(self, contact: Contact, ticket: bytes, length: int) -> "Deferred[bytes]":
        """As `Bulk.fetch`."""
        call = self._trace.began(contact, "Fetch")
        fetched = self._bulk.fetch(contact, ticket, length)
        return fetched.addCallbacks(partial(self._came, call), partial(self._failed, call))

    def _came(self, call: TracedCall, value: bytes) -> bytes:
        self._trace.ended(call, CallOutcome.HOLDS)
        return value

    def _failed(self, call: TracedCall, failure: Failure) -> Failure:
        # A transfer is cancelled when another one has brought the value: it stays without an outcome.
        if not failure.check(CancelledError):
            self._trace.ended(call, CallOutcome.FAILED)
        return failure


@define(eq=False)
class _TracedObserver:
    """Writes an outcome down, and passes it on."""

    _trace: TracingRpc
    _call: TracedCall
    _observer: CallObserver

    def call_answered(self, contact: Contact, reply: Reply) -> None:
        """As `CallObserver`."""
        self._trace.answered(self._call, reply)
        self._observer.call_answered(contact, reply)

    def call_slow(self, contact: Contact) -> None:
        """As `CallObserver`."""
        self._trace.ended(self._call, CallOutcome.SLOW)
        self._observer.call_slow(contact)

    def call_silent(self, contact: Contact) -> None:
        """As `CallObserver`."""
        self._observer.call_silent(contact)

    def call_failed(self, contact: Contact) -> None:
        """As `CallObserver`."""
        self._trace.ended(self._call, CallOutcome.FAILED)
        self._observer.call_failed(contact)


def _contacts_of(reply: Reply) -> tuple[Contact, ...]:
    named: tuple[Contact, ...] = getattr(reply, "contacts", None) or getattr(reply, "nearer", None) or ()
    return named


_OUTCOMES = {
    Value: CallOutcome.HOLDS,
    LargeValue: CallOutcome.HOLDS,
    Stored: CallOutcome.STORED,
    Outranked: CallOutcome.OUTRANKED,
    Refused: CallOutcome.REFUSED,
}


def _outcome_of(reply: Reply) -> CallOutcome:
    return _OUTCOMES.get(type(reply), CallOutcome.NOTHING)
