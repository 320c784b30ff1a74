"""The calls of the clients, apart from any I/O: which requests each one sends, and what their replies mean.

A plan is a generator: it yields a request, is sent the reply to it, and returns the result of the call.
"""

import os
from collections.abc import Generator
from typing import TYPE_CHECKING, TypeVar, Union

from dht14.client.answers import Receipt, Value, receipt_from, value_from
from dht14.client.arguments import check_salt, checked_hints, value_bytes, whole
from dht14.client.errors import DhtError, Incomplete, Refused, TooLarge
from dht14.client.keys import Key, content_key, key_of
from dht14.errors import Malformed
from dht14.kademlia.keyspace import id_to_bytes
from dht14.kademlia.parameters import MAX_VALUE
from dht14.records.envelope import MAX_SEQ, key_of_owner, overhead
from dht14.records.receipt import PutReason
from dht14.wire.api_messages import ApiReply, ApiRequest, GetRecord, PutWithReceipt

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

T = TypeVar("T")

Plan = Generator[ApiRequest, ApiReply, T]

Owner = Union["Ed25519PrivateKey", bytes, str, "os.PathLike[str]"]
"""An owner's private key: itself, its bytes in PEM form, or the path of a file with them (`dht14 keygen`)."""


def put(value: bytes, key: Key, ttl: int, replication: int) -> Plan[Receipt]:
    """Store a value under a key."""
    return receipt_from((yield put_request(key_of(key), value_bytes(value), ttl, replication)))


def put_content(value: bytes, ttl: int, replication: int) -> Plan[Receipt]:
    """Store a value under its SHA-256."""
    value = value_bytes(value)
    return receipt_from((yield put_request(content_key(value), value, ttl, replication)))


def get(key: Key) -> Plan[Value | None]:
    """Find the value of a key."""
    return value_from((yield GetRecord(key_of(key))))


def get_content(key: Key) -> Plan[Value | None]:
    """Find the value whose SHA-256 is the key."""
    key = key_of(key)
    found = value_from((yield GetRecord(key, content=True)))
    # A node of another kind does not know that nothing else counts.
    return found if found is not None and content_key(found.value) == key else None


def put_signed(
    value: bytes,
    owner: Owner,
    salt: bytes,
    seq: int | None,
    cas: int | None,
    ttl: int,
    replication: int,
    now: float,
) -> Plan[Receipt]:
    """Store an owner's value; `now` (Unix time in s) numbers the first version."""
    limit = MAX_VALUE - overhead(check_salt(salt))
    value = value_bytes(value)
    if len(value) > limit:
        raise TooLarge(len(value), limit)
    receipt = yield from _put_envelope(value, owner, salt, seq, cas, ttl, replication, now)
    assert receipt is not None, "only a deletion needs a value that is there"
    return receipt


def delete(
    owner: Owner, salt: bytes, seq: int | None, cas: int | None, replication: int
) -> Plan[Receipt | None]:
    """Delete an owner's value. None where none is found and no number is given."""
    # A node keeps a tombstone as long as it keeps anything.
    return (yield from _put_envelope(b"", owner, check_salt(salt), seq, cas, 0, replication, None))


def _put_envelope(
    payload: bytes,
    owner: Owner,
    salt: bytes,
    seq: int | None,
    cas: int | None,
    ttl: int,
    replication: int,
    now: float | None,
) -> Plan[Receipt | None]:
    # Whatever signs is imported where it is needed: it takes as long as all the rest.
    from dht14.records.signing import public_key_of, sign_envelope

    seq, cas = _number("seq", seq), _number("cas", cas)
    private_key = load_owner(owner)
    key = id_to_bytes(key_of_owner(public_key_of(private_key), salt))
    if seq is None and cas is not None:
        seq = cas + 1
    if seq is None:
        present = value_from((yield GetRecord(key)))
        if present is not None and present.kind == "owner":
            seq, cas = next_version(present.version or 0)
        elif now is None:
            return None
        else:
            seq = first_version(now)
    envelope = sign_envelope(private_key, seq, payload, salt=salt, cas=cas)
    return receipt_from((yield put_request(key, envelope.encode(), ttl, replication)))


def _number(name: str, number: int | None) -> int | None:
    least = 1 if name == "seq" else 0
    if number is not None and not least <= whole(name, number) <= MAX_SEQ:
        raise ValueError(f"{name} is {least} to {MAX_SEQ}, not {number}")
    return number


def next_version(present: int) -> tuple[int, int]:
    """Return `seq` and `cas` of the version after the present one. Raises `Refused` after the greatest
    number."""
    if present >= MAX_SEQ:
        raise Refused(PutReason.CONFLICT)
    return present + 1, present


def first_version(now: float) -> int:
    """Return the number of a first version: milliseconds since 1970. It is also above the number of a
    tombstone, which a node does not report."""
    return int(now * 1_000)


def put_request(key: bytes, value: bytes, ttl: int, replication: int) -> PutWithReceipt:
    """Return the request that stores these bytes. Raises ValueError, TypeError."""
    return PutWithReceipt(*checked_hints(ttl, replication), key, value)


def load_owner(owner: Owner) -> "Ed25519PrivateKey":
    """Return the private key of an owner. Raises ValueError, TypeError, OSError."""
    from dht14.records.signing import load_key

    if isinstance(owner, str | os.PathLike):
        with open(owner, "rb") as file:
            owner = file.read()
    if not isinstance(owner, bytes):
        if not hasattr(owner, "private_bytes_raw"):
            raise TypeError(f"an owner is a private key, PEM bytes or a path, not {type(owner).__name__}")
        return owner
    try:
        return load_key(owner)
    except Malformed as flaw:
        raise ValueError(f"cannot sign with this key: {flaw}") from None


def complete(results: list[T | DhtError]) -> list[T]:
    """Return the results of a batch. Raises `Incomplete` where one is an error."""
    good: list[T] = []
    for result in results:
        if isinstance(result, DhtError):
            raise Incomplete(results) from result
        good.append(result)
    return good
