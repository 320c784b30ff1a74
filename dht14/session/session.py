"""One established session: two keys and two counters, which seal and open ACCEPT and DATA."""

from collections.abc import Callable
from struct import Struct

from attrs import define, field
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from dht14.errors import Malformed
from dht14.kademlia.contact import Contact
from dht14.kademlia.parameters import MAX_DATAGRAM
from dht14.security.rate_limiter import Bucket
from dht14.session.handshake import (
    ACCEPT,
    ACCEPT_PREFIX_BYTES,
    AEAD_TAG_BYTES,
    CID_BYTES,
    COUNTER_BYTES,
    DATA,
    HEAD_BYTES,
    SessionKeys,
    address_bytes,
)
from dht14.session.ready_ciphers import READY_CIPHERS
from dht14.session.replay_window import ReplayWindow

REKEY_AFTER, REKEY_PACKETS = 3_600.0, 1 << 24
"""Seconds and packets after which the sender makes a new handshake; the session stays in use meanwhile."""
MAX_AGE, MAX_PACKETS = 7_200.0, 1 << 32
"""Seconds and packets after which a session is over."""
INITIATOR_IDLE, RESPONDER_IDLE = 600.0, 900.0
"""Seconds without a packet after which a session is over. It ends first for the initiator: otherwise the
initiator could send in a session that the responder has forgotten."""

ACCEPT_REPEAT_TIME, MAX_ACCEPT_REPEATS = 30.0, 3
"""For how many seconds, and how often, the responder repeats an ACCEPT when its FINISH comes again."""

MIN_DATA_BYTES = HEAD_BYTES + AEAD_TAG_BYTES
"""The size of a DATA with an empty payload."""
_NONCE_HEAD = bytes(4)
_counter_in = Struct(">9xQ").unpack

PACKETS_TO_KEEP = 16
"""Each time this many packets have passed in both directions, a session keeps its ciphers. To make one for
one packet costs 1 µs; to keep a pair, and to free that of another session, 5 µs. Where more sessions are busy
than may keep theirs, to keep them with each packet costs more than it saves."""

Cipher = Callable[[bytes, bytes, bytes], bytes]
"""From nonce, text and associated data to the sealed or opened text."""


@define(eq=False, repr=False)
class Accepting:
    """The responder's state until the first DATA of the initiator: until then it sends ACCEPTs only."""

    prefix: bytes
    """The responder's connection id, and the initiator's address as the responder sees it."""
    last: bytes = b""
    """The latest ACCEPT."""
    sent_at: float = 0.0
    repeats: int = 0


@define(eq=False, repr=False)
class Session:
    """One end of a session with one node at one address."""

    contact: Contact
    """The node at the other end."""
    bucket: Bucket
    """The limit of its requests."""
    is_initiator: bool
    """Whether this side sent the HELLO."""
    own_cid: bytes
    """The connection id in datagrams to this side."""
    made_at: float
    used_at: float
    _header: bytes
    """Kind and connection id of what this side sends; empty until an initiator knows the connection id."""
    _own_key: bytes
    _peer_key: bytes
    _encrypt: Cipher | None = field(default=None, init=False)
    _decrypt: Cipher | None = field(default=None, init=False)
    """Made of the keys, both at once, where PACKETS_TO_KEEP packets have passed: most sessions are quiet."""
    sent: int = field(default=0, init=False)
    """How many packets were sealed: the counter of the next one."""
    older: "Session | None" = field(default=None, init=False)
    """The session with the same address before this one, for packets that are still on the way."""
    recovery_cid: bytes = field(default=b"", init=False)
    """Connection id of the handshake that began because the peer seemed to have lost its keys."""
    _window: ReplayWindow = field(factory=ReplayWindow, init=False)
    accepting: Accepting | None = field(default=None, init=False)
    """Set at a responder while the initiator may not know the session yet."""

    @classmethod
    def of_initiator(
        cls, contact: Contact, bucket: Bucket, cid: bytes, keys: SessionKeys, now: float
    ) -> "Session":
        """Return the initiator's end. It can open ACCEPTs at once, and seal after `accepted`."""
        return cls(contact, bucket, True, cid, now, now, b"", keys.to_responder, keys.to_initiator)

    @classmethod
    def of_responder(
        cls,
        contact: Contact,
        bucket: Bucket,
        keys: SessionKeys,
        now: float,
        *,
        initiator_cid: bytes,
        own_cid: bytes,
    ) -> "Session":
        """Return the responder's end."""
        header = ACCEPT + initiator_cid
        own_key, peer_key = keys.to_initiator, keys.to_responder
        session = cls(contact, bucket, False, own_cid, now, now, header, own_key, peer_key)
        session.accepting = Accepting(own_cid + address_bytes(contact.address))
        return session

    def needs_rekey(self, now: float) -> bool:
        """Return whether it is time for a new handshake."""
        return now - self.made_at >= REKEY_AFTER or self.sent >= REKEY_PACKETS

    def is_over(self, now: float) -> bool:
        """Return whether the session is over."""
        idle = INITIATOR_IDLE if self.is_initiator else RESPONDER_IDLE
        is_old = now - self.made_at >= MAX_AGE or self.sent >= MAX_PACKETS
        return is_old or now - self.used_at >= idle

    def _cipher(self, key: bytes) -> AESGCM:
        """Return a cipher for one packet; keep those of both keys from time to time."""
        if (self.sent + self._window.latest) % PACKETS_TO_KEEP == PACKETS_TO_KEEP - 1:
            self._encrypt = AESGCM(self._own_key).encrypt
            self._decrypt = AESGCM(self._peer_key).decrypt
            READY_CIPHERS.made(self)
        return AESGCM(key)

    def release_ciphers(self) -> None:
        """Free the memory of the ciphers; one of the next packets makes them again."""
        self._encrypt = self._decrypt = None

    def seal(self, payload: bytes, now: float) -> bytes:
        """Return the datagram that carries `payload` to the other side."""
        counter = self.sent
        self.sent = counter + 1
        self.used_at = now
        count = counter.to_bytes(COUNTER_BYTES, "big")
        head = self._header + count
        encrypt = self._encrypt
        if encrypt is None:
            encrypt = self._cipher(self._own_key).encrypt
        accepting = self.accepting
        if accepting is None:
            return head + encrypt(_NONCE_HEAD + count, payload, head)
        sealed = encrypt(_NONCE_HEAD + count, accepting.prefix + payload, head)
        accepting.last, accepting.sent_at = head + sealed, now
        return accepting.last

    def repeat_accept(self, now: float) -> bytes:
        """Return the latest ACCEPT because its FINISH came again; empty beyond the limits of repetition."""
        accepting = self.accepting
        if (
            accepting is None
            or accepting.repeats >= MAX_ACCEPT_REPEATS
            or now - accepting.sent_at >= ACCEPT_REPEAT_TIME
        ):
            return b""
        accepting.repeats += 1
        return accepting.last

    def open(self, datagram: bytes, now: float) -> bytes | None:
        """Return what is sealed in an ACCEPT or DATA; None when it is forged, repeated, late or too long."""
        if not MIN_DATA_BYTES <= len(datagram) <= MAX_DATAGRAM or now - self.made_at >= MAX_AGE:
            return None
        head = datagram[:HEAD_BYTES]
        (counter,) = _counter_in(head)
        window = self._window
        in_order = counter == window.latest + 1
        if not in_order and not window.is_new(counter):
            return None
        decrypt = self._decrypt
        if decrypt is None:
            decrypt = self._cipher(self._peer_key).decrypt
        try:
            opened = decrypt(_NONCE_HEAD + head[9:], datagram[HEAD_BYTES:], head)
        except InvalidTag:
            return None
        if in_order:
            window.latest = counter
        else:
            window.authenticated(counter)
        self.used_at = now
        return opened

    def accepted(self, opened: bytes) -> bytes:
        """Learn the responder's connection id from the text of an ACCEPT, and return the response in it."""
        if len(opened) < ACCEPT_PREFIX_BYTES:
            raise Malformed("an ACCEPT that is too short")
        if not self._header:
            self._header = DATA + opened[:CID_BYTES]
        return opened[ACCEPT_PREFIX_BYTES:]

    def confirmed(self) -> None:
        """DATA came from the initiator: from now on send DATA."""
        self._header = DATA + self._header[1:]
        self.accepting = None
