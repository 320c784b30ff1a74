"""What the node's operations need from the network, as structural types.

`net/` implements them over sockets, `sim/` over a virtual network, tests with recorders.
"""

from collections.abc import Callable
from typing import Protocol

from attrs import define, field
from twisted.internet.defer import Deferred

from dht14.errors import CallFailed
from dht14.kademlia.contact import Address, Contact
from dht14.records.receipt import NoRecord
from dht14.records.record import Record
from dht14.wire.messages import Reply, Request

Respond = Callable[[Reply], None]
"""Sends the reply to one request. Called once, now or later."""


class CallObserver(Protocol):
    """Is notified of the outcome of a call. A slow call may still be answered."""

    def call_answered(self, contact: Contact, reply: Reply) -> None:
        """The reply arrived; it matched the RPC id, the peer and the address. No more facts follow."""

    def call_slow(self, contact: Contact) -> None:
        """The soft timeout passed: rely on another contact; a reply still counts. Comes once."""

    def call_silent(self, contact: Contact) -> None:
        """No reply to the resend either, for long enough to presume that the contact is dead."""

    def call_failed(self, contact: Contact) -> None:
        """The hard timeout passed, or the call could not be sent. No more facts follow."""


class Rpc(Protocol):
    """Calls to contacts."""

    def call(self, contact: Contact, request: Request, observer: CallObserver) -> None:
        """Send one request. The observer may be notified before this returns."""

    def ask(self, contact: Contact, request: Request) -> "Deferred[Reply]":
        """Send one request; fires with the reply, or fails with `CallFailed` after the hard timeout."""

    def ask_address(
        self, address: Address, request: Request, node_id: int | None = None
    ) -> "Deferred[tuple[Contact, Reply]]":
        """Send one request to an address from the configuration or an earlier run; fires with the contact
        that answered, and its reply. Without `node_id` any node may answer."""


class Bulk(Protocol):
    """The channel for values that do not fit a datagram. All failures are `CallFailed`."""

    def push(self, contact: Contact, ticket: bytes, value: bytes) -> "Deferred[Reply]":
        """Send a value that the contact wants, with its ticket (`Wanted`); fires with the reply, as to a
        STORE."""

    def fetch(self, contact: Contact, ticket: bytes, length: int) -> "Deferred[bytes]":
        """Ask for the advertised value of this length (`LargeValue`); the value is not verified."""


class KeyWatch(Protocol):
    """The watch of one key, as those see it who have begun it."""

    def present(self) -> "Deferred[Record | NoRecord]":
        """Fires with the state that a read finds which begins now. It is not reported as a change."""

    def end(self) -> None:
        """Report no more changes. Harmless when done twice."""


Resolver = Callable[[str, int], "Deferred[list[Address]]"]
"""Resolves a host name and a port to all its addresses; an empty list if it has none."""


@define(eq=False)
class CallResult:
    """A `CallObserver` with a Deferred: the contact that answered and its reply, or `CallFailed`."""

    outcome: "Deferred[tuple[Contact, Reply]]" = field(factory=Deferred, init=False)

    @property
    def reply(self) -> "Deferred[Reply]":
        """The outcome without the contact. Use it once, and not together with `outcome`."""
        return self.outcome.addCallback(lambda answer: answer[1])

    def call_answered(self, contact: Contact, reply: Reply) -> None:
        """As `CallObserver`."""
        self.outcome.callback((contact, reply))

    def call_slow(self, contact: Contact) -> None:
        """Nothing: a slow answer counts."""

    def call_silent(self, contact: Contact) -> None:
        """Nothing: a late answer counts."""

    def call_failed(self, contact: Contact) -> None:
        """As `CallObserver`."""
        self.outcome.errback(CallFailed())
