"""The messages of the VoidPhone API, as values and as bytes.

Every message is `size u16 | type u16 | body`, big-endian, where the size is that of the whole message.
Decoders take one whole frame and raise nothing but `Malformed`, whose text is one of a few constants
and can be counted. Encoders raise ValueError: there the fault is ours.
"""

import struct

from attrs import frozen

from dht14.errors import Malformed
from dht14.wire.frames import MAX_FRAME, MIN_FRAME

PUT, GET, SUCCESS, FAILURE = 650, 651, 652, 653

_KEY_BYTES = 32
_HEAD = struct.Struct(">HH")
_PUT_HEAD = struct.Struct(">HHHBB")
_BARE = _HEAD.size + _KEY_BYTES
_PUT_BARE = _PUT_HEAD.size + _KEY_BYTES

MAX_VALUE = MAX_FRAME - _PUT_BARE
"""Bytes of the largest value that a PUT can carry: 65,495."""


@frozen
class Put:
    """Keep a value: `ttl` in seconds and `replication` in nodes are hints, 0 means the default."""

    ttl: int
    replication: int
    key: bytes
    value: bytes


@frozen
class Get:
    """Find the value of a key."""

    key: bytes


@frozen
class Success:
    """The value was found, or is kept."""

    key: bytes
    value: bytes


@frozen
class Failure:
    """The value was not found, or could not be kept."""

    key: bytes


def decode_request(frame: bytes) -> Put | Get:
    """What a client asks for; SUCCESS and FAILURE are unknown types here."""
    kind = _kind(frame)
    if kind == GET:
        if len(frame) != _BARE:
            raise Malformed("wrong size for its type")
        return Get(frame[4:])
    if kind == PUT:
        _check_value(len(frame) - _PUT_BARE)
        # The reserved byte is not looked at, so that it can get a meaning.
        _, _, ttl, replication, _ = _PUT_HEAD.unpack_from(frame)
        return Put(ttl, replication, frame[8:_PUT_BARE], frame[_PUT_BARE:])
    raise Malformed("unknown type")


def decode_reply(frame: bytes) -> Success | Failure:
    """What a node answered."""
    kind = _kind(frame)
    if kind == SUCCESS:
        _check_value(len(frame) - _BARE)
        return Success(frame[4:_BARE], frame[_BARE:])
    if kind == FAILURE:
        if len(frame) != _BARE:
            raise Malformed("wrong size for its type")
        return Failure(frame[4:])
    raise Malformed("unknown type")


def encode_put(ttl: int, replication: int, key: bytes, value: bytes) -> bytes:
    """A PUT; `ttl` is 0 to 65,535, `replication` 0 to 255."""
    _check_ours(key, value)
    if not (0 <= ttl <= 0xFFFF and 0 <= replication <= 0xFF):
        raise ValueError("ttl or replication out of range")
    return _PUT_HEAD.pack(_PUT_BARE + len(value), PUT, ttl, replication, 0) + key + value


def encode_get(key: bytes) -> bytes:
    """A GET."""
    _check_ours(key)
    return _HEAD.pack(_BARE, GET) + key


def encode_success(key: bytes, value: bytes) -> bytes:
    """A SUCCESS."""
    _check_ours(key, value)
    return _HEAD.pack(_BARE + len(value), SUCCESS) + key + value


def encode_failure(key: bytes) -> bytes:
    """A FAILURE."""
    _check_ours(key)
    return _HEAD.pack(_BARE, FAILURE) + key


def _kind(frame: bytes) -> int:
    if len(frame) < MIN_FRAME or frame[0] << 8 | frame[1] != len(frame):
        raise Malformed("wrong size")
    return frame[2] << 8 | frame[3]


def _check_value(size: int) -> None:
    if size < 0:
        raise Malformed("wrong size for its type")
    if size == 0:
        raise Malformed("empty value")
    if size > MAX_VALUE:
        raise Malformed("value too long")


def _check_ours(key: bytes, value: bytes = b"?") -> None:
    if len(key) != _KEY_BYTES or not 0 < len(value) <= MAX_VALUE:
        raise ValueError("a key has 32 bytes, a value 1 to 65,495")
