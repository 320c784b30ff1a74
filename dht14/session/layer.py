"""The port of a session layer: who sent a datagram, and whether to believe it.

A session layer has no socket, no timer and no clock. Datagrams go in, and the datagrams to send come out.
`encrypted.EncryptedLayer` is for the internet; `plaintext.PlaintextLayer` is for trusted networks and for
simulations of thousands of nodes.
"""

from collections.abc import Sequence
from typing import Protocol

from attrs import field, frozen

from dht14.kademlia.contact import Address, Contact
from dht14.security.rate_limiter import Bucket

Datagrams = Sequence[bytes]
"""Datagrams to send one after the other, all to the same address."""


@frozen
class Target:
    """Whom a datagram is to reach. Targets with the same address and the same id are equal."""

    address: Address
    node_id: int | None
    """The node to reach; None: any node at the address."""
    by_address: bool = field(eq=False)
    """Whether this node was given the address, by its operator or an earlier run, not told of it by a peer. A
    peer may name a victim: an address from a peer gets fewer HELLOs."""

    def is_met_by(self, node_id: int) -> bool:
        """Whether the node of this id is the one to reach."""
        return self.node_id is None or self.node_id == node_id


class Peer(Protocol):
    """The authenticated sender of a datagram, and the way back to it."""

    @property
    def contact(self) -> Contact:
        """Its id, address and proof."""

    @property
    def bucket(self) -> Bucket:
        """The limit of its requests."""

    def seal(self, payload: bytes, now: float) -> bytes:
        """Return the datagram that carries `payload` to it."""


Received = tuple[Peer | None, bytes, Datagrams]
"""The sender of a payload, the payload, and the datagrams to send back at once. Each may be missing. A tuple,
because to make an object of a class costs more than everything that is done with it."""

NOTHING: Received = (None, b"", ())
"""The result of a datagram that changes nothing."""


class SessionLayer(Protocol):
    """Turns messages into datagrams and back. `now` is in seconds, by a monotonic clock."""

    def seal(self, contact: Contact, payload: bytes, now: float) -> bytes | None:
        """Return the datagram that carries `payload` to the contact; None without a session: `reach`."""

    def reach(self, target: Target, payload: bytes, now: float) -> Datagrams:
        """Return what to send so that `payload` reaches the target. The result is empty where no HELLO is
        allowed; then `payload` is lost."""

    def resend(self, target: Target, payload: bytes, now: float) -> Datagrams:
        """Return what to send because nothing answered `seal` or `reach` with the same arguments."""

    def received(self, datagram: bytes, address: Address, now: float) -> Received:
        """Take a datagram. Raises `Malformed` if no node of this network would send it."""

    def tidy(self, now: float) -> None:
        """Forget sessions and handshakes that are over; call it every minute."""


class ReachabilityProbe(Protocol):
    """The datagrams that find out whether others can call a node.

    They are sent from a port that nobody knows, and they ask for what every node answers to an unknown peer.
    A nonce of 8 bytes joins question and answer.
    """

    def nonce(self) -> bytes:
        """Return a fresh nonce."""

    def ask(self, contact: Contact, nonce: bytes) -> bytes:
        """Return the datagram that asks."""

    def nonce_in(self, datagram: bytes) -> bytes:
        """Return the nonce in an answer. Raises Malformed for anything else. Cheap: anybody may send one."""

    def answerer(self, datagram: bytes, now: float) -> int:
        """Return the id of the node that gave this answer. Raises Malformed where that is not proven."""
