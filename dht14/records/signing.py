"""Signing owner's records and verifying them: Ed25519 (RFC 8032). DESIGN 2.5, "Owner envelope"."""

from functools import lru_cache

from attrs import evolve
from cryptography.exceptions import InternalError, InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from dht14.errors import Malformed
from dht14.records.envelope import Envelope, decode


def public_key_of(private_key: Ed25519PrivateKey) -> bytes:
    """Its 32 bytes."""
    return private_key.public_key().public_bytes_raw()


def seal(
    private_key: Ed25519PrivateKey,
    seq: int,
    payload: bytes,
    *,
    salt: bytes = b"",
    cas: int | None = None,
) -> Envelope:
    """The owner's envelope around a payload; around none, a tombstone. ValueError for what cannot be said."""
    unsigned = Envelope(seq, cas, not payload, salt, public_key_of(private_key), b"", payload)
    if flaw := unsigned.flaw():
        raise ValueError(flaw)
    return evolve(unsigned, signature=private_key.sign(unsigned.signed))


def verify(raw: bytes) -> Envelope:
    """The envelope, if its owner has signed it; else `Malformed`."""
    envelope = decode(raw)
    verify_signature(envelope.public_key, envelope.signature, envelope.signed)
    return envelope


# A node meets the same envelope several times: three holders answer a read with it, a STORE is repeated. A
# signature costs 110 µs, looking it up 1 µs. What is remembered is small whatever the payload: the signed
# bytes have only its hash. Failures are not remembered, or they would displace the rest.
@lru_cache(maxsize=1024)
def verify_signature(public_key: bytes, signature: bytes, signed: bytes) -> None:
    """Raise `Malformed` unless the owner of this public key has signed these bytes."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, signed)
    except (InvalidSignature, ValueError):
        raise Malformed("an envelope that its owner has not signed") from None


def new_key() -> bytes:
    """A fresh private key as PKCS8 PEM."""
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def load_key(pem: bytes) -> Ed25519PrivateKey:
    """The private key of an unencrypted PKCS8 PEM. `Malformed` where there is none."""
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm, InternalError):
        raise Malformed("no private key in PEM form without a passphrase") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise Malformed("no Ed25519 key")
    return key
