"""What the node's operations ask of the world, as structural types.

`net/` provides them over sockets, `sim/` over a virtual network, tests with recorders.
"""

from collections.abc import Callable
from typing import Protocol

from attrs import define, field
from twisted.internet.defer import Deferred

from dht14.errors import CallFailed
from dht14.kademlia.contact import Address, Contact
from dht14.wire.messages import Reply, Request


class CallObserver(Protocol):
    """Who made a call hears of its fate through these facts; a slow call may still be answered."""

    def call_answered(self, contact: Contact, reply: Reply) -> None:
        """The reply came; it matched the RPC id, the peer and the address. Last word on the call."""

    def call_slow(self, contact: Contact) -> None:
        """The soft timeout passed: count on somebody else; a reply still counts. Comes once."""

    def call_silent(self, contact: Contact) -> None:
        """After the resend too nothing came for long enough to take the contact for dead."""

    def call_failed(self, contact: Contact) -> None:
        """The hard timeout passed, or the call could not be sent. Last word on the call."""


class Rpc(Protocol):
    """Calls to contacts."""

    def call(self, contact: Contact, request: Request, observer: CallObserver) -> None:
        """Send one request. Facts may come before this returns."""

    def ask(self, contact: Contact, request: Request) -> "Deferred[Reply]":
        """One call as a Deferred: its reply, or `CallFailed` after the hard timeout."""

    def ask_address(
        self, address: Address, request: Request, node_id: int | None = None
    ) -> "Deferred[tuple[Contact, Reply]]":
        """The same at an address that the operator or an earlier run named; who answered, and what.

        Without `node_id` it is whoever is there.
        """


class Bulk(Protocol):
    """The channel for values that fit no datagram. What fails, fails with `CallFailed`."""

    def push(self, contact: Contact, ticket: bytes, value: bytes) -> "Deferred[Reply]":
        """Send a value for which the contact gave this ticket (`Wanted`): its answer, as to a STORE."""

    def fetch(self, contact: Contact, ticket: bytes, length: int) -> "Deferred[bytes]":
        """Ask for the value of which the contact told (`LargeValue`), of this length; it is not looked at."""


Resolver = Callable[[str, int], "Deferred[list[Address]]"]
"""From a host name and a port to every address it has; an empty list when it has none."""


@define(eq=False)
class CallResult:
    """A `CallObserver`. Its outcome is who answered and what, or `CallFailed`."""

    outcome: "Deferred[tuple[Contact, Reply]]" = field(factory=Deferred, init=False)

    @property
    def reply(self) -> "Deferred[Reply]":
        """The outcome for who knows whom was asked. To be taken once."""
        return self.outcome.addCallback(lambda answer: answer[1])

    def call_answered(self, contact: Contact, reply: Reply) -> None:
        """As `CallObserver`."""
        self.outcome.callback((contact, reply))

    def call_slow(self, contact: Contact) -> None:
        """A slow answer is an answer."""

    def call_silent(self, contact: Contact) -> None:
        """A late answer is an answer."""

    def call_failed(self, contact: Contact) -> None:
        """As `CallObserver`."""
        self.outcome.errback(CallFailed())
