"""A session layer without encryption: each datagram names its sender, and is believed.

For trusted networks and for simulations. Nodes of this layer and of `encrypted` do not understand each other.
"""

import random
from functools import lru_cache

from attrs import define, field, frozen

from dht14.bounded import BoundedDict
from dht14.errors import Malformed
from dht14.kademlia.contact import Address, Contact
from dht14.security.identity import PROOF_BYTES, VerifyProof
from dht14.security.rate_limiter import Bucket, RateLimiter
from dht14.security.subnets import host_of
from dht14.session.layer import Datagrams, Received, Target

PLAIN, PROBE, PROBE_REPLY = b"\x50", b"\x51", b"\x52"
"""The first byte of a datagram: `0x50 | proof of the sender 48 | payload`, `0x51 | proof of the prober 48 |
nonce 8`, and the answer to that, `0x52 | own proof 48 | nonce 8`."""

PROBE_NONCE_BYTES = 8
MAX_PEERS = 4_096
_HEAD_BYTES = 1 + PROOF_BYTES
_KNOWN_SENDERS = 16_384


@frozen(eq=False)
class PlaintextPeer:
    """A node that said who it is."""

    contact: Contact
    bucket: Bucket
    _head: bytes

    def seal(self, payload: bytes, now: float) -> bytes:
        """As `Peer.seal`."""
        return self._head + payload


@lru_cache(maxsize=_KNOWN_SENDERS)
def _sender_of(
    head: bytes, address: Address, verify_proof: VerifyProof
) -> tuple[tuple[bytes, Address], Contact]:
    """Return the sender as the key of the peers, and as a contact. All nodes of a process share them: in a
    simulation each of thousands of nodes hears from hundreds. Raises Malformed."""
    return (head, address), Contact(verify_proof(head[1:]), address, head[1:])


@define(eq=False)
class PlaintextLayer:
    """No secrecy and no proof of who sent a datagram."""

    _own_proof: bytes
    _verify_proof: VerifyProof
    _limiter: RateLimiter
    _own_head: bytes = field(init=False)
    _peers: BoundedDict[tuple[bytes, Address], PlaintextPeer] = field(
        factory=lambda: BoundedDict(MAX_PEERS), init=False
    )
    """The latest senders, by the head of their datagrams and their address."""

    def __attrs_post_init__(self) -> None:
        self._own_head = PLAIN + self._own_proof

    @classmethod
    def of(
        cls, own_proof: bytes, verify_proof: VerifyProof, rate: float = 0, burst: float = 1
    ) -> "PlaintextLayer":
        """Return the session layer of the node with this proof.

        `rate` (a second) and `burst` limit the requests of each host, since nothing else of a sender is
        known; 0: no limit.
        """
        return cls(own_proof, verify_proof, RateLimiter(rate, burst))

    def seal(self, contact: Contact, payload: bytes, now: float) -> bytes | None:
        """As `SessionLayer.seal`."""
        return self._own_head + payload

    def reach(self, target: Target, payload: bytes, now: float) -> Datagrams:
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
        sender, contact = _sender_of(head, address, self._verify_proof)
        peer = PlaintextPeer(contact, self._limiter.bucket(host_of(address[0]), now), self._own_head)
        self._peers[sender] = peer
        return peer

    def tidy(self, now: float) -> None:
        """As `SessionLayer.tidy`."""


@frozen
class PlaintextProbe:
    """A `ReachabilityProbe` of the plaintext layer."""

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
