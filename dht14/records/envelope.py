"""The bytes of an owner's record: an envelope that names and proves its owner, and the payload.

docs/protocol.md, section 3.1:
`magic 8 | format u8 | flags u8 | seq u64 | cas u64 | salt length u8 | salt | public key 32 | signature 64 |
payload`, big-endian. The whole envelope is the value that travels and is stored. This module encodes and
decodes envelopes; `records.signing` signs and verifies them.
"""

import hashlib
from struct import Struct

from attrs import field, frozen

from dht14.errors import Malformed
from dht14.kademlia.keyspace import hash_id

_MAGIC = b"DHT14OWN"

MAX_SEQ = (1 << 63) - 1
MAX_SALT = 64
OWNER_KEY_BYTES = 32
OWNER_SIGNATURE_BYTES = 64

_KEY_TAG = b"dht14/own"
OWNER_KEY_INPUT_BYTES = range(len(_KEY_TAG) + OWNER_KEY_BYTES, len(_KEY_TAG) + OWNER_KEY_BYTES + MAX_SALT + 1)
"""Possible lengths, in bytes, of the input whose hash is an owner's key."""
_SIGNATURE_TAG = b"dht14/own/record"
_FORMAT = 1
_DELETE, _CAS = 1, 2
_HEADER = Struct(">8sBBQQB")


@frozen(kw_only=True)
class Envelope:
    """An owner's statement about one of its keys. `decode` and `signing.sign_envelope` return only valid
    ones."""

    seq: int
    """Sequence number, 1 to `MAX_SEQ`. Of two envelopes of one key the one with the greater number wins."""
    cas: int | None
    """Compare-and-swap: the greatest `seq` that the owner has seen, 0 for none. The envelope must not
    overwrite a newer one. None: the owner does not ask for that."""
    deleted: bool
    """Whether this is a tombstone: it replaces older envelopes, and has no payload."""
    salt: bytes
    """Distinguishes the keys of one owner: up to 64 bytes."""
    public_key: bytes
    signature: bytes = field(repr=False)
    payload: bytes = field(repr=False)

    @property
    def key(self) -> int:
        """The only key under which this envelope is valid."""
        return key_of_owner(self.public_key, self.salt)

    @property
    def signed(self) -> bytes:
        """The bytes that the signature covers."""
        return _SIGNATURE_TAG + self._statement()[len(_MAGIC) :] + hashlib.sha256(self.payload).digest()

    def encode(self) -> bytes:
        """Return the envelope as bytes."""
        return self._statement() + self.signature + self.payload

    def _statement(self) -> bytes:
        flags = _DELETE * self.deleted | _CAS * (self.cas is not None)
        header = _HEADER.pack(_MAGIC, _FORMAT, flags, self.seq, self.cas or 0, len(self.salt))
        return header + self.salt + self.public_key

    def flaw(self) -> str:
        """Return what is wrong with the fields; "" if nothing is."""
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
    """Decode an envelope without verifying its signature. Raises `Malformed`."""
    if len(raw) < _HEADER.size:
        raise Malformed("an envelope that is cut short")
    magic, form, flags, seq, cas, salt_bytes = _HEADER.unpack_from(raw)
    if (magic, form) != (_MAGIC, _FORMAT):
        raise Malformed("an envelope of another format")
    # Each statement must have exactly one encoding: unused flags or numbers would allow others.
    if flags & ~(_DELETE | _CAS) or (cas and not flags & _CAS):
        raise Malformed("an envelope with a flag or a number that means nothing")
    key_at = _HEADER.size + salt_bytes
    signature_at = key_at + OWNER_KEY_BYTES
    payload_at = signature_at + OWNER_SIGNATURE_BYTES
    if len(raw) < payload_at:
        raise Malformed("an envelope that is cut short")
    envelope = Envelope(
        seq=seq,
        cas=cas if flags & _CAS else None,
        deleted=bool(flags & _DELETE),
        salt=raw[_HEADER.size : key_at],
        public_key=raw[key_at:signature_at],
        signature=raw[signature_at:payload_at],
        payload=raw[payload_at:],
    )
    if flaw := envelope.flaw():
        raise Malformed(f"an envelope with {flaw}")
    return envelope


def is_envelope(value: bytes) -> bool:
    """Return whether a value begins as an envelope does: then it is an owner's record, or no record at
    all."""
    return value.startswith(_MAGIC)


def key_of_owner(public_key: bytes, salt: bytes) -> int:
    """Return the key that the owner of this public key may write, one for each salt."""
    return hash_id(_KEY_TAG + public_key + salt)


def overhead(salt: bytes) -> int:
    """Return the bytes that an envelope takes besides its payload."""
    return _HEADER.size + len(salt) + OWNER_KEY_BYTES + OWNER_SIGNATURE_BYTES


def may_hash_to_owner_key(value: bytes) -> bool:
    """Return whether the SHA-256 of this value could be an owner's key.

    Anyone who has seen one envelope of the owner can make this value. If it counted as content, it would
    replace the owner's records for ever.
    """
    return value.startswith(_KEY_TAG) and len(value) in OWNER_KEY_INPUT_BYTES
