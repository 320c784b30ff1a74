"""The messages that most datagrams carry, written and read by their fixed shapes, without a CBOR library.

The bytes are those that `datagram` makes of any message, at a third of the price. What is not exactly of such
a shape is left to it.
"""

from collections.abc import Callable
from struct import Struct
from typing import Any

from dht14.kademlia.keyspace import id_to_bytes
from dht14.kademlia.parameters import GROUP, MAX_DATAGRAM, MAX_INLINE_VALUE, MAX_REPLICATION, K
from dht14.security.identity import VerifyProof
from dht14.wire.contacts import pack_contacts, unpack_contacts
from dht14.wire.messages import (
    MAX_CONTACTS_BYTES,
    MAX_TIME_MS,
    MAX_TTL_MS,
    MAX_VERSION,
    SCHEMA,
    VIEW_PART_BYTES,
    FindNode,
    FindValue,
    Message,
    Nodes,
    Ping,
    Pong,
    Stored,
    Value,
)

WriteShort = Callable[[bytes, Any], bytes | None]
"""From RPC id and message to bytes; None where the message is of another shape."""
ReadShort = Callable[[bytes, VerifyProof], Message | None]
"""From bytes to the message; None where they are of another shape."""

# An array of so many, the first of which is a byte string of 8; a byte string of 32, or of 256 and more.
_TWO, _THREE, _FOUR, _FIVE, _EIGHT = (bytes((0x80 + count, 0x48)) for count in (2, 3, 4, 5, 8))
_ID_HEAD, _LONG_HEAD, _U64_HEAD = b"\x58\x20", b"\x59", b"\x1b"
_U32, _SHORT_BYTES = 0x1A, 0x40
_NO_CONTACTS = b"\x42\0\0"
_VIEWS = range(0, GROUP * VIEW_PART_BYTES + 1, VIEW_PART_BYTES)
_AFTER_CODE = 13
_WITH_ID_BYTES = _AFTER_CODE + 32
_CONTACTS_AT = _AFTER_CODE + 2
_REMEMBERED = 256


def _code_of(message: type[Message]) -> bytes:
    (code,) = (code for code, (one, _) in SCHEMA.items() if one is message)
    return bytes([code]) if code < 24 else bytes([0x18, code])


def _ping() -> tuple[bytes, WriteShort, ReadShort]:
    code, ping = _code_of(Ping), Ping()

    def write(rpc_id: bytes, message: Ping) -> bytes:
        return _TWO + rpc_id + code

    def read(data: bytes, verify_proof: VerifyProof) -> Message | None:
        return ping if data.startswith(_TWO) else None

    return code, write, read


def _pong() -> tuple[bytes, WriteShort, ReadShort]:
    head = _code_of(Pong) + _U64_HEAD

    def write(rpc_id: bytes, message: Pong) -> bytes | None:
        if message.time_ms < 1 << 32:
            return None
        return _THREE + rpc_id + head + message.time_ms.to_bytes(8, "big")

    def read(data: bytes, verify_proof: VerifyProof) -> Message | None:
        time_ms = int.from_bytes(data[_AFTER_CODE:], "big")
        if len(data) != _AFTER_CODE + 8 or not data.startswith(_THREE):
            return None
        return Pong(time_ms) if 1 << 32 <= time_ms <= MAX_TIME_MS else None

    return head, write, read


def _find_node() -> tuple[bytes, WriteShort, ReadShort]:
    head = _code_of(FindNode) + _ID_HEAD

    def write(rpc_id: bytes, message: FindNode) -> bytes:
        return _THREE + rpc_id + head + id_to_bytes(message.target)

    def read(data: bytes, verify_proof: VerifyProof) -> Message | None:
        if len(data) != _WITH_ID_BYTES or not data.startswith(_THREE):
            return None
        return FindNode(int.from_bytes(data[_AFTER_CODE:], "big"))

    return head, write, read


def _find_value() -> tuple[bytes, WriteShort, ReadShort]:
    head = _code_of(FindValue) + _ID_HEAD

    def write(rpc_id: bytes, message: FindValue) -> bytes:
        view = message.view
        return _FOUR + rpc_id + head + id_to_bytes(message.key) + bytes((_SHORT_BYTES + len(view),)) + view

    def read(data: bytes, verify_proof: VerifyProof) -> Message | None:
        view = data[_WITH_ID_BYTES + 1 :]
        if len(data) <= _WITH_ID_BYTES or data[_WITH_ID_BYTES] != _SHORT_BYTES + len(view):
            return None
        if len(view) not in _VIEWS or not data.startswith(_FOUR):
            return None
        return FindValue(int.from_bytes(data[_AFTER_CODE:_WITH_ID_BYTES], "big"), view)

    return head, write, read


def _nodes() -> tuple[bytes, WriteShort, ReadShort]:
    head = _code_of(Nodes) + _LONG_HEAD
    # An answer that is given again is the same object: its bytes need not be made again. It is kept here, so
    # that no other object can take its place in memory.
    written: dict[int, tuple[Nodes, bytes]] = {}

    def write(rpc_id: bytes, message: Nodes) -> bytes | None:
        known = written.get(id(message))
        if known is None:
            packed = pack_contacts(message.contacts, MAX_CONTACTS_BYTES)
            if len(packed) < 256:
                return None
            if len(written) >= _REMEMBERED:
                written.clear()
            flag = b"\1" if message.holds_values else b"\0"
            known = written[id(message)] = message, head + len(packed).to_bytes(2, "big") + packed + flag
        return _FOUR + rpc_id + known[1]

    def read(data: bytes, verify_proof: VerifyProof) -> Message | None:
        length = int.from_bytes(data[_AFTER_CODE:_CONTACTS_AT], "big")
        if not 256 <= length == len(data) - _CONTACTS_AT - 1 <= MAX_DATAGRAM:
            return None
        if data[-1] > 1 or not data.startswith(_FOUR):
            return None
        return Nodes(unpack_contacts(data[_CONTACTS_AT:-1], verify_proof, K), data[-1] == 1)

    return head, write, read


def _value() -> tuple[bytes, WriteShort, ReadShort]:
    """Of a value without contacts: the asker mostly knows them all."""
    head = _code_of(Value) + _U64_HEAD
    fixed = Struct(">2s8s3sQBIBB")  # array and RPC id, code, version, head and time to live, copies, flag

    def write(rpc_id: bytes, message: Value) -> bytes | None:
        value, ttl_ms = message.value, message.ttl_ms
        if message.nearer or message.version < 1 << 32 or ttl_ms < 1 << 16:
            return None
        start = fixed.pack(
            _EIGHT, rpc_id, head, message.version, _U32, ttl_ms, message.replication, message.current
        )
        return start + _bytes_head(len(value)) + value + _NO_CONTACTS

    def read(data: bytes, verify_proof: VerifyProof) -> Message | None:
        if len(data) < fixed.size + 4 or not data.endswith(_NO_CONTACTS):
            return None
        array, _, _, version, u32, ttl_ms, replication, flag = fixed.unpack_from(data)
        if array != _EIGHT or u32 != _U32 or not 1 << 32 <= version <= MAX_VERSION:
            return None
        if not 1 << 16 <= ttl_ms <= MAX_TTL_MS or replication > MAX_REPLICATION or flag > 1:
            return None
        rest = data[fixed.size : -len(_NO_CONTACTS)]
        for head_bytes in (1, 2, 3):
            length = len(rest) - head_bytes
            if 0 < length <= MAX_INLINE_VALUE and rest[:head_bytes] == _bytes_head(length):
                return Value(version, ttl_ms, replication, flag == 1, rest[head_bytes:])
        return None

    return head, write, read


def _bytes_head(length: int) -> bytes:
    if length < 24:
        return bytes((_SHORT_BYTES + length,))
    if length < 256:
        return bytes((0x58, length))
    return _LONG_HEAD + length.to_bytes(2, "big")


def _stored() -> tuple[bytes, WriteShort, ReadShort]:
    """Of a receipt that names nobody."""
    head = _code_of(Stored) + _NO_CONTACTS[:1]
    size = _AFTER_CODE + 4

    def write(rpc_id: bytes, message: Stored) -> bytes | None:
        if message.nearer:
            return None
        tail = bytes((message.current, message.replication))
        return _FIVE + rpc_id + head + _NO_CONTACTS[1:] + tail

    def read(data: bytes, verify_proof: VerifyProof) -> Message | None:
        if len(data) != size or not data.startswith(_FIVE) or data[_AFTER_CODE:-2] != _NO_CONTACTS[1:]:
            return None
        current, replication = data[-2:]
        return (
            Stored((), current == 1, replication) if current < 2 and replication <= MAX_REPLICATION else None
        )

    return head, write, read


_FORMS = {
    Ping: _ping(),
    Pong: _pong(),
    FindNode: _find_node(),
    FindValue: _find_value(),
    Nodes: _nodes(),
    Value: _value(),
    Stored: _stored(),
}
WRITERS: dict[type, WriteShort] = {message: write for message, (_, write, _) in _FORMS.items()}
READERS: dict[bytes, ReadShort] = {head: read for head, _, read in _FORMS.values()}
"""By bytes 10 to 13: what follows the RPC id."""
