"""The bytes of a handshake (docs/protocol.md, section 2.0.2), and the keys that result from it.

HELLO and CHALLENGE are in clear: they carry no secret, and nothing about the initiator. FINISH is sealed with
a key that only the owner of the pre-key can derive, so nobody else sees the initiator's proof and signature.
"""

import socket
from functools import lru_cache
from hashlib import sha256
from hmac import digest as hmac_digest
from struct import Struct
from typing import NamedTuple

# X25519 imports it with the first key: in the middle of a handshake, where it fails if no descriptor is left.
import cryptography.hazmat.backends.openssl.backend  # noqa: F401
from attrs import frozen
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from dht14.errors import Malformed
from dht14.kademlia.contact import Address
from dht14.kademlia.keyspace import id_to_bytes
from dht14.kademlia.parameters import MAX_DATAGRAM
from dht14.security.identity import PROOF_BYTES, SIGNATURE_BYTES, Identity, public_key_in

HELLO, CHALLENGE, FINISH, ACCEPT, DATA = b"\x41", b"\x42", b"\x43", b"\x44", b"\x45"

CID_BYTES = 8
COUNTER_BYTES = 8
KEY_BYTES = 32
HINT_BYTES = 8
NO_HINT = bytes(HINT_BYTES)
COOKIE_BYTES = 24
PREKEY_NAME_BYTES = 4
EXPIRY_BYTES = 4
AEAD_TAG_BYTES = 16

HELLO_BYTES = 256
HELLO_HEAD_BYTES = 1 + CID_BYTES + KEY_BYTES + HINT_BYTES
CHALLENGE_HEAD_BYTES = 1 + CID_BYTES + COOKIE_BYTES
_CHALLENGE = Struct(
    f">x{CID_BYTES}s{COOKIE_BYTES}s{PROOF_BYTES}s{KEY_BYTES}s{EXPIRY_BYTES}s{SIGNATURE_BYTES}s"
)
CHALLENGE_BYTES = _CHALLENGE.size
CID = slice(1, 1 + CID_BYTES)
"""Where a datagram has a connection id: in a handshake the initiator's, in DATA that of the receiver."""
COOKIE = slice(CID.stop, CHALLENGE_HEAD_BYTES)
"""Where a CHALLENGE and a FINISH have the cookie."""
FINISH_HEAD_BYTES = 1 + CID_BYTES + COOKIE_BYTES + KEY_BYTES + PREKEY_NAME_BYTES
FINISH_BYTES = FINISH_HEAD_BYTES + PROOF_BYTES + SIGNATURE_BYTES + AEAD_TAG_BYTES
"""The size of a FINISH without a request."""
MAX_FINISH_REQUEST_BYTES = MAX_DATAGRAM - FINISH_BYTES
HEAD_BYTES = 1 + CID_BYTES + COUNTER_BYTES
"""The clear part of ACCEPT and DATA."""
ACCEPT_PREFIX_BYTES = CID_BYTES + 18

PREKEY_LIFETIME = 1_200.0
"""Seconds from the making of a pre-key to the expiry that it names."""
EXPIRY_SLACK = 86_400.0
"""Seconds after its expiry for which an initiator takes a pre-key: clocks that are wrong by a day must work.

A thief of a pre-key from a node's memory can impersonate that node to callers for as long. The node's own key
lies in the same memory and is worth more: less slack would cost nodes with wrong clocks all their sessions,
and would cost thieves nothing.
"""

KNOWN_PREKEYS = 1_024
"""Pre-keys whose signature this process remembers to be right: 0.4 KiB each. It verifies a further one
again."""

_ZERO_NONCE = bytes(12)


class SessionKeys(NamedTuple):
    """The AES-256 keys of one session, 32 bytes each."""

    to_responder: bytes
    to_initiator: bytes


def hint_for(node_id: int, ephemeral: bytes) -> bytes:
    """Return what names the sought node in a HELLO; only somebody who knows its id can tell."""
    return sha256(id_to_bytes(node_id) + ephemeral).digest()[:HINT_BYTES]


def hello_head(cid: bytes, ephemeral: bytes, hint: bytes) -> bytes:
    """Return the first 49 bytes of a HELLO: all but its padding."""
    return HELLO + cid + ephemeral + hint


def hello(cid: bytes, ephemeral: bytes, node_id: int | None) -> bytes:
    """Return a HELLO to the node of this id (None: to any). Padding makes it longer than its answer."""
    hint = NO_HINT if node_id is None else hint_for(node_id, ephemeral)
    return hello_head(cid, ephemeral, hint).ljust(HELLO_BYTES, b"\0")


def address_bytes(address: Address) -> bytes:
    """Return `IPv6 address 16 | port 2`; an IPv4 address is mapped into IPv6."""
    host, port = address
    if ":" in host:
        packed = socket.inet_pton(socket.AF_INET6, host)
    else:
        packed = bytes(10) + b"\xff\xff" + socket.inet_pton(socket.AF_INET, host)
    return packed + port.to_bytes(2, "big")


def prekey_to_sign(prekey: bytes, expires: bytes) -> bytes:
    """Return what the responder signs, once for each pre-key. `expires` is u32, minutes since 1970."""
    return b"dht14/prekey" + prekey + expires


def transcript_to_sign(transcript: bytes, proof: bytes) -> bytes:
    """Return what the initiator signs."""
    return b"dht14/hs" + transcript + proof


def transcript_of(head: bytes, challenge: bytes) -> bytes:
    """Return h, the digest of everything sent in clear. `head` is the first 49 bytes of the HELLO."""
    return sha256(head + challenge).digest()


@frozen
class Challenge:
    """The parts of a CHALLENGE."""

    raw: bytes
    cid: bytes
    cookie: bytes
    proof: bytes
    prekey: bytes
    expires: bytes
    signature: bytes

    @classmethod
    def parse(cls, datagram: bytes) -> "Challenge":
        """Take a CHALLENGE apart. Raises Malformed when it has another size."""
        if len(datagram) != CHALLENGE_BYTES:
            raise Malformed("a CHALLENGE of another size")
        return cls(datagram, *_CHALLENGE.unpack(datagram))

    @property
    def made_at(self) -> float:
        """When the responder made the pre-key, by its own clock: seconds since 1970, to a minute."""
        return int.from_bytes(self.expires, "big") * 60 - PREKEY_LIFETIME

    def verify(self, time: float) -> None:
        """Raise Malformed when the pre-key expired more than `EXPIRY_SLACK` before `time` (seconds since
        1970), or when the key in the proof did not sign it."""
        if time > self.made_at + PREKEY_LIFETIME + EXPIRY_SLACK:
            raise Malformed("a pre-key that expired long ago")
        verify_prekey(self.raw[CHALLENGE_HEAD_BYTES:])


@lru_cache(maxsize=KNOWN_PREKEYS)
def verify_prekey(signed: bytes) -> None:
    """Raise Malformed unless the signature in `proof 48 | pre-key 32 | exp u32 | signature 64` is right.

    A right one is remembered: a node proves the same pre-key in the answer to a probe and in each CHALLENGE.
    """
    proof, prekey = signed[:PROOF_BYTES], signed[PROOF_BYTES : PROOF_BYTES + KEY_BYTES]
    expires, signature = signed[PROOF_BYTES + KEY_BYTES : -SIGNATURE_BYTES], signed[-SIGNATURE_BYTES:]
    verify_signature(proof, signature, prekey_to_sign(prekey, expires))


def verify_signature(proof: bytes, signature: bytes, signed: bytes) -> None:
    """Raise Malformed unless the key in the proof made this Ed25519 signature."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key_in(proof)).verify(signature, signed)
    except (InvalidSignature, ValueError):
        raise Malformed("a signature that proves nothing") from None


def shared_secret(private_key: X25519PrivateKey, public_key: bytes) -> bytes:
    """Return the X25519 shared secret. Raises Malformed for the few public keys that make it public."""
    try:
        return private_key.exchange(X25519PublicKey.from_public_bytes(public_key))
    except ValueError:
        raise Malformed("no public key") from None


@frozen(repr=False)
class KeySchedule:
    """HKDF-SHA-256 (RFC 5869): the salt is the transcript, the input the shared secret."""

    transcript: bytes
    _prk: bytes

    @classmethod
    def of(cls, transcript: bytes, shared: bytes) -> "KeySchedule":
        """HKDF-Extract."""
        return cls(transcript, hmac_digest(transcript, shared, "sha256"))

    def _expand(self, purpose: bytes, length: int) -> bytes:
        out = block = b""
        while len(out) < length:
            block = hmac_digest(self._prk, block + purpose + bytes([len(out) // 32 + 1]), "sha256")
            out += block
        return out

    def finish_cipher(self) -> AESGCM:
        """Return what seals the one FINISH of a handshake, with a nonce of zeros."""
        return AESGCM(self._expand(b"fin", 32))

    def session_keys(self, initiator: int, responder: int) -> SessionKeys:
        """Return the keys of the session between the nodes of these ids."""
        keys = self._expand(b"keys" + id_to_bytes(initiator) + id_to_bytes(responder), 64)
        return SessionKeys(keys[:32], keys[32:])


def finish(
    challenge: Challenge, ephemeral: bytes, keys: KeySchedule, identity: Identity, request: bytes
) -> bytes:
    """Return the FINISH. Call it once for each CHALLENGE: its key must not seal a second message."""
    head = FINISH + challenge.cid + challenge.cookie + ephemeral + challenge.prekey[:PREKEY_NAME_BYTES]
    signature = identity.sign(transcript_to_sign(keys.transcript, identity.proof))
    return head + keys.finish_cipher().encrypt(_ZERO_NONCE, identity.proof + signature + request, head)


def open_finish(datagram: bytes, keys: KeySchedule) -> tuple[bytes, bytes, bytes]:
    """Return proof, signature and request of the initiator. Raises Malformed for another seal."""
    head, sealed = datagram[:FINISH_HEAD_BYTES], datagram[FINISH_HEAD_BYTES:]
    try:
        opened = keys.finish_cipher().decrypt(_ZERO_NONCE, sealed, head)
    except InvalidTag:
        raise Malformed("a FINISH that is not sealed for this handshake") from None
    end = PROOF_BYTES + SIGNATURE_BYTES
    return opened[:PROOF_BYTES], opened[PROOF_BYTES:end], opened[end:]
