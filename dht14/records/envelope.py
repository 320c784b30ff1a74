"""An owner's record as bytes: an envelope that says who wrote it, and the payload in it. DESIGN 2.5.

`magic 8 | format u8 | flags u8 | seq u64 | cas u64 | salt length u8 | salt | public key 32 | signature 64 |
payload`, big-endian. The envelope as a whole is the value that travels and is held. Here it is taken apart
and put together; `storage.owner` signs and verifies.
"""

import hashlib
from struct import Struct

from attrs import field, frozen

from dht14.errors import Malformed
from dht14.kademlia.keyspace import hash_id

MAGIC = b"DHT14OWN"
"""What begins with these bytes is an owner's record, or nothing."""

MAX_SEQ = (1 << 63) - 1
MAX_SALT = 64
PUBLIC_KEY_BYTES = 32
SIGNATURE_BYTES = 64

_KEY_TAG = b"dht14/own"
OWNER_NAMES = range(len(_KEY_TAG) + PUBLIC_KEY_BYTES, len(_KEY_TAG) + PUBLIC_KEY_BYTES + MAX_SALT + 1)
"""Bytes from which an owner's key may have been made: so many."""
_SIGNATURE_TAG = b"dht14/own/record"
_FORMAT = 1
_DELETE, _CAS = 1, 2
_HEAD = Struct(">8sBBQQB")


@frozen
class Envelope:
    """What an owner says about one of its keys. `decode` and `storage.owner.seal` make none that is wrong."""

    seq: int
    """Of two envelopes the one with the greater number wins: 1 to `MAX_SEQ`."""
    cas: int | None
    """The greatest number that the owner has seen, 0 for none: this shall not overwrite anything newer."""
    deleted: bool
    """A tombstone: it stands in the place of older envelopes, and has no payload."""
    salt: bytes
    """Tells apart the keys of one owner: up to 64 bytes."""
    public_key: bytes
    signature: bytes = field(repr=False)
    payload: bytes = field(repr=False)

    @property
    def key(self) -> int:
        """The only key that it may stand under."""
        return key_of_owner(self.public_key, self.salt)

    @property
    def signed(self) -> bytes:
        """What the signature covers."""
        return _SIGNATURE_TAG + self._statement()[len(MAGIC) :] + hashlib.sha256(self.payload).digest()

    def encode(self) -> bytes:
        """The envelope as bytes."""
        return self._statement() + self.signature + self.payload

    def _statement(self) -> bytes:
        flags = _DELETE * self.deleted | _CAS * (self.cas is not None)
        head = _HEAD.pack(MAGIC, _FORMAT, flags, self.seq, self.cas or 0, len(self.salt))
        return head + self.salt + self.public_key

    def flaw(self) -> str:
        """What is wrong with its fields; empty when nothing is."""
        if not 1 <= self.seq <= MAX_SEQ:
            return "a sequence number out of range"
        if self.cas is not None and not 0 <= self.cas < self.seq:
            return "a number to compare with that is not below its own"
        if len(self.salt) > MAX_SALT:
            return "a salt that is too long"
        if self.deleted == bool(self.payload):
            return "a payload in a tombstone, or none elsewhere"
        return ""


def decode(raw: bytes) -> Envelope:
    """The envelope that these bytes are; nobody has looked at its signature yet. Raises `Malformed`."""
    if len(raw) < _HEAD.size:
        raise Malformed("an envelope that is cut short")
    magic, form, flags, seq, cas, salt_bytes = _HEAD.unpack_from(raw)
    if (magic, form) != (MAGIC, _FORMAT):
        raise Malformed("an envelope of another format")
    # Each statement has one form alone: with flags or numbers that say nothing there would be more.
    if flags & ~(_DELETE | _CAS) or (cas and not flags & _CAS):
        raise Malformed("an envelope with a flag or a number that means nothing")
    key_at = _HEAD.size + salt_bytes
    signature_at = key_at + PUBLIC_KEY_BYTES
    payload_at = signature_at + SIGNATURE_BYTES
    if len(raw) < payload_at:
        raise Malformed("an envelope that is cut short")
    envelope = Envelope(
        seq,
        cas if flags & _CAS else None,
        bool(flags & _DELETE),
        raw[_HEAD.size : key_at],
        raw[key_at:signature_at],
        raw[signature_at:payload_at],
        raw[payload_at:],
    )
    if flaw := envelope.flaw():
        raise Malformed(f"an envelope with {flaw}")
    return envelope


def key_of_owner(public_key: bytes, salt: bytes) -> int:
    """The key that the owner of this public key may write, one for each salt."""
    return hash_id(_KEY_TAG + public_key + salt)


def overhead(salt: bytes) -> int:
    """Bytes that an envelope takes besides its payload."""
    return _HEAD.size + len(salt) + PUBLIC_KEY_BYTES + SIGNATURE_BYTES


def may_name_an_owner(value: bytes) -> bool:
    """Whether the SHA-256 of these bytes could be an owner's key.

    Anybody can make them who has seen one envelope of the owner, and as content they would push the
    owner's records aside for ever.
    """
    return value.startswith(_KEY_TAG) and len(value) in OWNER_NAMES
