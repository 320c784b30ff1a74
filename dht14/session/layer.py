"""Between datagram and message: who sent it, and whether it may be believed. DESIGN 4.2.

A session layer has no socket, no timer and no clock: datagrams go in, and what is to be sent comes out.
`sealed.EncryptedLayer` is for the internet. `PlaintextLayer` seals nothing: each datagram names its sender and is
believed. It serves trusted networks and simulations of thousands of nodes.
"""

import random
from collections.abc import Sequence
from typing import Protocol

from attrs import define, field, frozen

from dht14.errors import Malformed
from dht14.kademlia.contact import Address, Contact
from dht14.security.identity import PROOF_BYTES, VerifyProof
from dht14.security.rate_limiter import Bucket, RateLimiter
from dht14.security.subnets import host_of

Datagrams = Sequence[bytes]
"""To be sent one after the other, all to the same address."""


class Peer(Protocol):
    """The sender of a datagram that was believed, and the way back to it."""

    @property
    def contact(self) -> Contact:
        """Who it is, with its proof."""

    @property
    def bucket(self) -> Bucket:
        """What it may ask for."""

    def answer(self, payload: bytes, now: float) -> bytes:
        """The datagram that carries a reply to it."""


Received = tuple[Peer | None, bytes, Datagrams]
"""Who sent a payload, the payload, and what is to be sent back at once. Each may be missing. A tuple of its
own class would cost more to make than all that is done with it."""

NOTHING: Received = (None, b"", ())
"""A datagram that changes nothing."""


class SessionLayer(Protocol):
    """Turns messages into datagrams and back. `now` is in seconds, of a clock that nobody sets."""

    def seal(self, contact: Contact, payload: bytes, now: float) -> bytes | None:
        """The datagram that carries `payload` to the contact; None where that has to be prepared: `reach`."""

    def reach(
        self, address: Address, node_id: int | None, payload: bytes, now: float, named: bool
    ) -> Datagrams:
        """What to send so that `payload` gets to the node of this id, or to whoever is at this address.

        `named`: whether the operator or an earlier run named the address; what others name is called less
        often. Nothing at all is sent where it may not be: then `payload` is lost.
        """

    def resend(
        self, address: Address, node_id: int | None, payload: bytes, now: float, named: bool
    ) -> Datagrams:
        """What to send because nothing came back of what `seal` or `reach` gave for the same arguments."""

    def received(self, datagram: bytes, address: Address, now: float) -> Received:
        """What a datagram came to. Malformed when no node of this network would have sent it."""

    def tidy(self, now: float) -> None:
        """Forget what is over; to be called every minute."""


class ReachabilityProbe(Protocol):
    """What is sent, from a port that nobody knows, to find out whether a node can be called: something that
    every node answers to a stranger. A question is known by its nonce, 8 bytes."""

    def nonce(self) -> bytes:
        """A fresh one."""

    def ask(self, contact: Contact, nonce: bytes) -> bytes:
        """The datagram that asks."""

    def nonce_in(self, datagram: bytes) -> bytes:
        """The nonce in an answer; Malformed when it is none. Costs next to nothing: anybody may send one."""

    def answerer(self, datagram: bytes, now: float) -> int:
        """The id of the node that gave this answer; Malformed where that is not proven."""


PLAIN, PROBE, PROBE_REPLY = b"\x50", b"\x51", b"\x52"
"""First byte of a plain datagram, `0x50 | sender's proof 48 | payload`; of the question of a probe,
`0x51 | prober's proof 48 | nonce 8`, and of the answer to it, `0x52 | own proof 48 | nonce 8`."""

PROBE_NONCE_BYTES = 8
_HEAD_BYTES = 1 + PROOF_BYTES
_PEERS = 4_096


@frozen(eq=False)
class PlaintextPeer:
    """A node that said who it is."""

    contact: Contact
    bucket: Bucket
    _head: bytes

    def answer(self, payload: bytes, now: float) -> bytes:
        """As `Peer.answer`."""
        return self._head + payload


@define(eq=False)
class PlaintextLayer:
    """No secrecy and no proof: for trusted networks and for simulations."""

    _own_proof: bytes
    _verify_proof: VerifyProof
    _limiter: RateLimiter
    _own_head: bytes = field(init=False)
    _peers: dict[tuple[bytes, Address], PlaintextPeer] = field(factory=dict, init=False)
    """The latest senders, by the head of their datagrams and their address."""

    def __attrs_post_init__(self) -> None:
        self._own_head = PLAIN + self._own_proof

    @classmethod
    def of(
        cls, own_proof: bytes, verify_proof: VerifyProof, rate: float = 0, burst: float = 1
    ) -> "PlaintextLayer":
        """The session layer of the node with this proof; `verify_proof` tells the id that a proof is of. `rate` and
        `burst` bound the requests of each host, which is all that is known of a sender; 0: not at all."""
        return cls(own_proof, verify_proof, RateLimiter(rate, burst))

    def seal(self, contact: Contact, payload: bytes, now: float) -> bytes | None:
        """As `SessionLayer.seal`."""
        return self._own_head + payload

    def reach(
        self, address: Address, node_id: int | None, payload: bytes, now: float, named: bool
    ) -> Datagrams:
        """As `SessionLayer.reach`."""
        return (self._own_head + payload,)

    resend = reach

    def received(self, datagram: bytes, address: Address, now: float) -> Received:
        """As `SessionLayer.received`."""
        head, payload = datagram[:_HEAD_BYTES], datagram[_HEAD_BYTES:]
        peer = self._peers.get((head, address))
        if peer is None:
            if len(datagram) == _HEAD_BYTES + PROBE_NONCE_BYTES and datagram.startswith(PROBE):
                return None, b"", (PROBE_REPLY + self._own_proof + payload,)
            peer = self._new_peer(head, address, now)
        if not payload:
            raise Malformed("a datagram without a message")
        return peer, payload, ()

    def _new_peer(self, head: bytes, address: Address, now: float) -> PlaintextPeer:
        if not head.startswith(PLAIN):
            raise Malformed("not a plain datagram")
        contact = Contact(self._verify_proof(head[1:]), address, head[1:])
        peer = PlaintextPeer(contact, self._limiter.bucket(host_of(address[0]), now), self._own_head)
        if len(self._peers) >= _PEERS:
            del self._peers[next(iter(self._peers))]
        self._peers[head, address] = peer
        return peer

    def tidy(self, now: float) -> None:
        """As `SessionLayer.tidy`."""


@frozen
class PlaintextProbe:
    """`ReachabilityProbe` where nothing is sealed."""

    _own_proof: bytes
    _verify_proof: VerifyProof
    _rng: random.Random

    def nonce(self) -> bytes:
        """As `ReachabilityProbe.nonce`."""
        return self._rng.randbytes(PROBE_NONCE_BYTES)

    def ask(self, contact: Contact, nonce: bytes) -> bytes:
        """As `ReachabilityProbe.ask`."""
        return PROBE + self._own_proof + nonce

    def nonce_in(self, datagram: bytes) -> bytes:
        """As `ReachabilityProbe.nonce_in`."""
        if not datagram.startswith(PROBE_REPLY):
            raise Malformed("no answer to a probe")
        return datagram[_HEAD_BYTES:]

    def answerer(self, datagram: bytes, now: float) -> int:
        """As `ReachabilityProbe.answerer`."""
        return self._verify_proof(datagram[1:_HEAD_BYTES])
