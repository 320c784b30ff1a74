"""The initiator's side of a handshake: from a HELLO to the ACCEPT that ends it."""

from attrs import define, field
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from dht14.security.identity import Identity
from dht14.session import handshake as hs
from dht14.session.layer import Target
from dht14.session.session import Session

HANDSHAKE_TIMEOUT = 3.0
"""Seconds after which an unfinished handshake is given up; no call waits longer for its answer."""

MAX_WAITING_REQUESTS = 64
"""Requests that wait for one handshake; further ones are lost."""


@define(eq=False, repr=False)
class Initiator:
    """One handshake that this node began."""

    target: Target
    cid: bytes
    _began_at: float
    datagram: bytes
    """The latest datagram, which a resend repeats unchanged: the HELLO, then the FINISH."""
    sent_at: float
    _private: X25519PrivateKey
    _ephemeral: bytes
    session: Session | None = field(default=None, init=False)
    """The future session, once a CHALLENGE gave its keys. From then on the handshake waits for an ACCEPT."""
    peer_time: float = field(default=0.0, init=False)
    """The time of day of the responder, once its CHALLENGE came."""
    _waiting: list[bytes] = field(factory=list, init=False)
    """Requests to send when the session is there."""
    _carried: bytes = field(default=b"", init=False)
    """The request in the FINISH."""

    @classmethod
    def begin(cls, target: Target, cid: bytes, secret: bytes, now: float) -> "Initiator":
        """Begin a handshake. `secret` are 32 fresh random bytes."""
        private = X25519PrivateKey.from_private_bytes(secret)
        ephemeral = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        hello = hs.hello(cid, ephemeral, target.node_id)
        return cls(target, cid, now, hello, now, private, ephemeral)

    def is_over(self, now: float) -> bool:
        """Return whether the handshake has taken too long."""
        return not 0 <= now - self._began_at < HANDSHAKE_TIMEOUT

    def enqueue(self, request: bytes) -> None:
        """Let a request wait for the session, unless it waits already: a resend is the same bytes."""
        if request and request != self._carried and request not in self._waiting:
            self._waiting.append(request)
            del self._waiting[MAX_WAITING_REQUESTS:]

    def finish(self, challenge: hs.Challenge, identity: Identity, node_id: int, now: float) -> hs.SessionKeys:
        """Make the FINISH to a valid CHALLENGE of the node of this id, and return the keys of the session.

        Call it once: the key of a FINISH must not seal a second message.
        """
        head = self.datagram[: hs.HELLO_HEAD_BYTES]
        transcript = hs.transcript_of(head, challenge.raw)
        keys = hs.KeySchedule.of(transcript, hs.shared_secret(self._private, challenge.prekey))
        self._carried = self._take_what_fits()
        self.datagram = hs.finish(challenge, self._ephemeral, keys, identity, self._carried)
        self.sent_at = now
        self.peer_time = challenge.made_at
        return keys.session_keys(identity.node_id, node_id)

    def _take_what_fits(self) -> bytes:
        """Take the first request that fits a FINISH. Nobody relies on the order of requests."""
        for number, request in enumerate(self._waiting):
            if len(request) <= hs.MAX_FINISH_REQUEST_BYTES:
                return self._waiting.pop(number)
        return b""

    def take_waiting(self) -> list[bytes]:
        """Take the requests that were not in the FINISH."""
        waiting, self._waiting = self._waiting, []
        return waiting
