"""One established session: two keys, two counters. Seals and opens ACCEPT and DATA. DESIGN 4.2."""

from collections.abc import Callable
from struct import Struct

from attrs import define, field
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from dht14.errors import Malformed
from dht14.kademlia.contact import Contact
from dht14.security.rate_limiter import Bucket
from dht14.session.handshake import (
    ACCEPT,
    ACCEPT_PREFIX_BYTES,
    AEAD_TAG_BYTES,
    CID_BYTES,
    COUNTER_BYTES,
    DATA,
    HEAD_BYTES,
    address_bytes,
)
from dht14.session.replay_window import ReplayWindow

REKEY_AFTER, REKEY_PACKETS = 3_600.0, 1 << 24
"""Seconds and packets after which a new handshake is made; the session serves on meanwhile."""
MAX_AGE, MAX_PACKETS = 7_200.0, 1 << 32
"""Seconds and packets after which it serves no more."""
INITIATOR_IDLE, RESPONDER_IDLE = 600.0, 900.0
"""Seconds without a packet after which a session is forgotten. The initiator forgets first: it is the one
who would send into a session that is forgotten on the other side."""

ACCEPT_REPEAT_TIME, MAX_ACCEPT_REPEATS = 30.0, 3
"""For how many seconds, and how often, an ACCEPT is repeated when its FINISH is."""

MIN_DATA_BYTES = HEAD_BYTES + AEAD_TAG_BYTES
"""Of a DATA with an empty payload."""
_NONCE_HEAD = bytes(4)
_counter_in = Struct(">9xQ").unpack

Cipher = Callable[[bytes, bytes, bytes], bytes]
"""From nonce, text and associated data to the text sealed or opened."""


@define(eq=False, repr=False)
class Accepting:
    """What the responder knows until the initiator has sent DATA: until then all it sends are ACCEPTs."""

    prefix: bytes
    """The responder's connection id and the initiator's address as seen from here."""
    last: bytes = b""
    """The latest ACCEPT."""
    sent_at: float = 0.0
    repeats: int = 0


@define(eq=False, repr=False)
class Session:
    """A session with one node at one address, as one of the two sees it."""

    contact: Contact
    """Who is at the other end, with its proof."""
    bucket: Bucket
    """What it may ask for."""
    is_initiator: bool
    """Whether it was this side that sent the HELLO."""
    own_cid: bytes
    """The connection id by which datagrams to this side are known."""
    made_at: float
    used_at: float
    _header: bytes
    _keys: tuple[bytes, bytes]
    """To the other side, and from there."""
    _encrypt: Cipher | None = field(default=None, init=False)
    _decrypt: Cipher | None = field(default=None, init=False)
    """Made of the keys when they are needed, and again when they are needed again: they take forty times the
    memory of the keys, and most of a node's sessions are quiet."""
    rekey_at: float = field(init=False)
    """When a new handshake shall be made."""
    ends_at: float = field(init=False)
    """When the session serves no more, however busy it is."""
    sent: int = field(default=0, init=False)
    """Packets sealed: the counter of the next one."""
    older: "Session | None" = field(default=None, init=False)
    """The session with the same address before this one: what is still under way in it is taken."""
    recovery_cid: bytes = field(default=b"", init=False)
    """The connection id of the handshake begun because the other side seemed to have forgotten this link."""
    _window: ReplayWindow = field(factory=ReplayWindow, init=False)
    accepting: Accepting | None = field(default=None, init=False)
    """Of a responder whose session the initiator may not know yet."""

    @classmethod
    def of_initiator(
        cls, contact: Contact, bucket: Bucket, cid: bytes, keys: tuple[bytes, bytes], now: float
    ) -> "Session":
        """The initiator's end; it can open ACCEPTs at once and seal when it has been `accepted`."""
        return cls(contact, bucket, True, cid, now, now, b"", keys)

    @classmethod
    def of_responder(
        cls,
        contact: Contact,
        bucket: Bucket,
        cids: tuple[bytes, bytes],
        keys: tuple[bytes, bytes],
        now: float,
    ) -> "Session":
        """The responder's end. `cids` are those of the initiator and its own."""
        initiator_cid, own_cid = cids
        back, out = keys
        header = ACCEPT + initiator_cid
        session = cls(contact, bucket, False, own_cid, now, now, header, (out, back))
        session.accepting = Accepting(own_cid + address_bytes(contact.address))
        return session

    def __attrs_post_init__(self) -> None:
        self.rekey_at = self.made_at + REKEY_AFTER
        self.ends_at = self.made_at + MAX_AGE

    def needs_rekey(self, now: float) -> bool:
        """Whether a new handshake shall be made."""
        return now >= self.rekey_at or self.sent >= REKEY_PACKETS

    def is_over(self, now: float) -> bool:
        """Whether the session serves no more."""
        idle = INITIATOR_IDLE if self.is_initiator else RESPONDER_IDLE
        return now >= self.ends_at or self.sent >= MAX_PACKETS or now - self.used_at >= idle

    def release_ciphers(self) -> None:
        """Give back what can be made again: nothing has passed for a while."""
        self._encrypt = self._decrypt = None

    def answer(self, payload: bytes, now: float) -> bytes:
        """The datagram that carries `payload` to the other side."""
        counter = self.sent
        self.sent = counter + 1
        self.used_at = now
        count = counter.to_bytes(COUNTER_BYTES, "big")
        head = self._header + count
        encrypt = self._encrypt
        if encrypt is None:
            encrypt = self._encrypt = AESGCM(self._keys[0]).encrypt
        accepting = self.accepting
        if accepting is None:
            return head + encrypt(_NONCE_HEAD + count, payload, head)
        sealed = encrypt(_NONCE_HEAD + count, accepting.prefix + payload, head)
        accepting.last, accepting.sent_at = head + sealed, now
        return accepting.last

    def repeat_accept(self, now: float) -> bytes:
        """The latest ACCEPT once more, because its FINISH came once more; empty when that has to end."""
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
        """What is sealed in an ACCEPT or DATA; None when it is forged, repeated or too late."""
        if len(datagram) < MIN_DATA_BYTES or now >= self.ends_at:
            return None
        head = datagram[:HEAD_BYTES]
        (counter,) = _counter_in(head)
        window = self._window
        in_order = counter == window.latest + 1
        if not in_order and not window.is_new(counter):
            return None
        decrypt = self._decrypt
        if decrypt is None:
            decrypt = self._decrypt = AESGCM(self._keys[1]).decrypt
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
        """An ACCEPT was opened: learn where DATA has to go, and return the response in it."""
        if len(opened) < ACCEPT_PREFIX_BYTES:
            raise Malformed("an ACCEPT that is too short")
        if not self._header:
            self._header = DATA + opened[:CID_BYTES]
        return opened[ACCEPT_PREFIX_BYTES:]

    def confirmed(self) -> None:
        """DATA came from the initiator."""
        self._header = DATA + self._header[1:]
        self.accepting = None
