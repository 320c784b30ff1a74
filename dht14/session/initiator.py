"""The initiator's side of a handshake: from a HELLO to the ACCEPT that ends it. DESIGN 4.2."""

from attrs import define, field
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from dht14.kademlia.contact import Address
from dht14.security.identity import Identity
from dht14.session import handshake as hs
from dht14.session.session import Session

MAX_WAITING_REQUESTS = 64
"""Requests that wait for one handshake; what comes on top is lost."""


@define(eq=False, repr=False)
class Initiator:
    """One handshake that was begun here."""

    address: Address
    node_id: int | None
    """Who is sought; None for whoever is there."""
    cid: bytes
    began_at: float
    datagram: bytes
    """What was sent last, and is sent again as it is: the HELLO, then the FINISH."""
    sent_at: float
    _private: X25519PrivateKey
    _ephemeral: bytes
    session: Session | None = field(default=None, init=False)
    """The session to be, once its keys are known: from then on an ACCEPT is waited for."""
    peer_time: float = field(default=0.0, init=False)
    """What time it is for the other side, once its CHALLENGE is there."""
    _waiting: list[bytes] = field(factory=list, init=False)
    """Requests to be sent when there is a session."""
    _carried: bytes = field(default=b"", init=False)
    """The request in the FINISH."""

    @classmethod
    def begin(
        cls, address: Address, node_id: int | None, cid: bytes, secret: bytes, now: float
    ) -> "Initiator":
        """`secret` are 32 fresh random bytes."""
        private = X25519PrivateKey.from_private_bytes(secret)
        ephemeral = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return cls(address, node_id, cid, now, hs.hello(cid, ephemeral, node_id), now, private, ephemeral)

    def enqueue(self, request: bytes) -> None:
        """Let a request wait for the session, unless it does already: a resend is the same bytes."""
        if request and request != self._carried and request not in self._waiting:
            self._waiting.append(request)
            del self._waiting[MAX_WAITING_REQUESTS:]

    def seeks(self, node_id: int) -> bool:
        """Whether this is the node that is sought."""
        return self.node_id is None or self.node_id == node_id

    def finish(
        self, challenge: hs.Challenge, identity: Identity, node_id: int, now: float
    ) -> tuple[bytes, bytes]:
        """Make the FINISH to a CHALLENGE that was found good; the keys to the other side and back.

        To be called once: the key that seals a FINISH serves for one message.
        """
        head = self.datagram[: hs.HELLO_HEAD_BYTES]
        transcript = hs.transcript_of(head, challenge.raw)
        keys = hs.KeySchedule.of(transcript, hs.shared_secret(self._private, challenge.prekey))
        self._carried = self._take_what_fits()
        self.datagram = hs.finish(challenge, self._ephemeral, keys, identity, self._carried)
        self.sent_at = now
        self.peer_time = challenge.made_at
        return keys.directions(identity.node_id, node_id)

    def _take_what_fits(self) -> bytes:
        """The first request that a FINISH has room for: nobody counts on the order of requests."""
        for number, request in enumerate(self._waiting):
            if len(request) <= hs.MAX_FINISH_REQUEST_BYTES:
                return self._waiting.pop(number)
        return b""

    def take_waiting(self) -> list[bytes]:
        """The requests that were not in the FINISH."""
        waiting, self._waiting = self._waiting, []
        return waiting
