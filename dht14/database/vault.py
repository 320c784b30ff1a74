"""Encryption of the data on disk. docs/storage.md has the formats.

AES-256-GCM-SIV (RFC 8452), not plain GCM: after a snapshot of the disk is restored, or on a copy of it, a
nonce can repeat. Then GCM would reveal both values and its authentication key; GCM-SIV reveals only whether
two values are equal.

The keys are derived from the operator's key and a random salt of each database: an entry of one database
cannot be opened in another, even under the same operator's key.
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
KEY_CHECK_BYTES = 32
NONCE_BYTES = 12

_KEY_BYTES = 32
_INFO = b"dht14/storage/"


@frozen
class Vault:
    """Encrypts and decrypts the values of one database, and hides their keys. Its repr shows no key."""

    database_id: bytes
    key_check: bytes = field(repr=False)
    """Distinguishes the right key from a wrong one, and reveals neither."""
    _values: AESGCMSIV = field(repr=False, eq=False)
    _index_key: bytes = field(repr=False, eq=False)
    _random_bytes: Callable[[int], bytes] = field(repr=False, eq=False)

    @classmethod
    def unlock(
        cls, key: bytes, salt: bytes, database_id: bytes, random_bytes: Callable[[int], bytes]
    ) -> "Vault":
        """Return the vault of a database under a key of 32 bytes."""
        values, index, key_check = (
            HKDF(SHA256(), _KEY_BYTES, salt, _INFO + use + database_id).derive(key)
            for use in (b"values", b"index", b"check")
        )
        return cls(database_id, key_check, AESGCMSIV(values), index, random_bytes)

    def fits(self, key_check: bytes) -> bool:
        """Whether a database with this key check was sealed with the key of this vault."""
        return hmac.compare_digest(self.key_check, key_check)

    def hide(self, plain: bytes, size: int) -> bytes:
        """Return a keyed hash of `size` bytes: equal bytes have equal hashes, which reveal nothing without
        the key."""
        return hashlib.blake2b(plain, digest_size=size, key=self._index_key).digest()

    def seal(self, plain: bytes, associated: bytes) -> bytes:
        """Return a nonce and the sealed bytes, which can be opened only with the same associated data."""
        nonce = self._random_bytes(NONCE_BYTES)
        return nonce + self._values.encrypt(nonce, plain, self.database_id + associated)

    def open(self, sealed: bytes, associated: bytes) -> bytes:
        """Return the bytes that were sealed. Raises `Malformed` if a bit of them or of `associated` has
        changed."""
        try:
            return self._values.decrypt(
                sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], self.database_id + associated
            )
        except (InvalidTag, ValueError):
            raise Malformed("sealed bytes are damaged") from None
