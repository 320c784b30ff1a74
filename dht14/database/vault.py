"""Sealing of what lies on disk. DESIGN 4.6.

AES-256-GCM-SIV (RFC 8452), not plain GCM: whoever restores a snapshot of the disk, or runs a copy of it,
may make the same nonce twice, and there GCM would give away both values and the key of its tags, where
GCM-SIV gives away no more than whether two values are equal.

The keys in use are derived from the operator's key and a salt that each database draws for itself: two
databases under one key have nothing in common, and what is in one is of no use in the other.
"""

import hashlib
import hmac
from collections.abc import Callable

from attrs import field, frozen
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from dht14.errors import Malformed

SALT_BYTES = 32
DATABASE_ID_BYTES = 16
CHECK_BYTES = 32
NONCE_BYTES = 12

_KEY_BYTES = 32
_INFO = b"dht14/storage/"


@frozen
class Vault:
    """Seals and opens the values of one database, and hides their keys. Shows no key in its repr."""

    database_id: bytes
    check: bytes = field(repr=False)
    """Tells the right key from a wrong one without giving either away."""
    _values: AESGCMSIV = field(repr=False, eq=False)
    _index_key: bytes = field(repr=False, eq=False)
    _random_bytes: Callable[[int], bytes] = field(repr=False, eq=False)

    @classmethod
    def unlock(
        cls, key: bytes, salt: bytes, database_id: bytes, random_bytes: Callable[[int], bytes]
    ) -> "Vault":
        """The vault of a database under a key of 32 bytes."""
        values, index, check = (
            HKDF(SHA256(), _KEY_BYTES, salt, _INFO + use + database_id).derive(key)
            for use in (b"values", b"index", b"check")
        )
        return cls(database_id, check, AESGCMSIV(values), index, random_bytes)

    def fits(self, check: bytes) -> bool:
        """Whether a database with this check value was sealed with this vault's key."""
        return hmac.compare_digest(self.check, check)

    def hide(self, plain: bytes, size: int) -> bytes:
        """A keyed hash: the same bytes have the same one, and without the key it tells nothing of them."""
        return hashlib.blake2b(plain, digest_size=size, key=self._index_key).digest()

    def seal(self, plain: bytes, place: bytes) -> bytes:
        """A nonce and the sealed bytes, which can be opened at this `place` of this database alone."""
        nonce = self._random_bytes(NONCE_BYTES)
        return nonce + self._values.encrypt(nonce, plain, self.database_id + place)

    def open(self, sealed: bytes, place: bytes) -> bytes:
        """What was sealed for `place`. Raises `Malformed` where so much as a bit of it has changed."""
        try:
            return self._values.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], self.database_id + place)
        except (InvalidTag, ValueError):
            raise Malformed("sealed bytes are damaged") from None
