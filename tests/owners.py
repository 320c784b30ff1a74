"""Owners with fixed keys, for the tests."""

from attrs import frozen
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dht14.records.envelope import key_of_owner
from dht14.records.record import Record
from dht14.records.signing import public_key_of, sign_envelope


@frozen
class Owner:
    """One of them, by number."""

    number: int = 1
    salt: bytes = b""

    @property
    def private_key(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(bytes([self.number]) * 32)

    @property
    def key(self) -> int:
        """Where its records are."""
        return key_of_owner(public_key_of(self.private_key), self.salt)

    def says(self, payload: bytes, seq: int, cas: int | None = None) -> bytes:
        """An envelope of its own; without a payload, a tombstone."""
        return sign_envelope(self.private_key, seq, payload, salt=self.salt, cas=cas).encode()

    def record(
        self, payload: bytes, seq: int, expires_at: float, cas: int | None = None, copies: int = 8
    ) -> Record:
        """The same as a record."""
        return Record(
            key=self.key,
            value=self.says(payload, seq, cas),
            version=seq,
            expires_at=expires_at,
            replication=copies,
        )
