"""The messages that most datagrams carry, written and read by their fixed shapes, without a CBOR library.

The bytes are those that `datagram` makes of any message, at a third of the price. What is not exactly of such
a shape is left to it.
"""

from collections.abc import Callable
from typing import Any

from dht14.kademlia.keyspace import id_to_bytes
from dht14.kademlia.parameters import MAX_DATAGRAM, K
from dht14.wire.contacts import Check, pack_contacts, unpack_contacts
from dht14.wire.messages import MAX_CONTACTS_BYTES, SCHEMA, FindNode, FindValue, Message, Nodes, Ping, Pong

Writer = Callable[[bytes, Any], bytes | None]
"""From RPC id and message to bytes; None where the message is of another shape."""
Reader = Callable[[bytes, Check], Message | None]
"""From bytes to the message; None where they are of another shape."""

# An array of two or three, the first of which is a byte string of 8; a byte string of 32, or of 256 and more.
_TWO, _THREE = b"\x82\x48", b"\x83\x48"
_ID_HEAD, _LONG_HEAD = b"\x58\x20", b"\x59"
_AFTER_CODE = 13
_WITH_ID_BYTES = _AFTER_CODE + 32
_CONTACTS_AT = _AFTER_CODE + 2
_REMEMBERED = 256


def _code_of(message: type[Message]) -> bytes:
    (code,) = (code for code, (one, _) in SCHEMA.items() if one is message)
    return bytes([code]) if code < 24 else bytes([0x18, code])


def _bare(message: Message) -> tuple[bytes, Writer, Reader]:
    code = _code_of(type(message))

    def write(rpc_id: bytes, message: Message) -> bytes:
        return _TWO + rpc_id + code

    def read(data: bytes, check: Check) -> Message | None:
        return message if data.startswith(_TWO) else None

    return code, write, read


def _with_id(message: type[FindNode] | type[FindValue], name: str) -> tuple[bytes, Writer, Reader]:
    head = _code_of(message) + _ID_HEAD

    def write(rpc_id: bytes, message: FindNode | FindValue) -> bytes:
        return _THREE + rpc_id + head + id_to_bytes(getattr(message, name))

    def read(data: bytes, check: Check) -> Message | None:
        if len(data) != _WITH_ID_BYTES or not data.startswith(_THREE):
            return None
        return message(int.from_bytes(data[_AFTER_CODE:], "big"))

    return head, write, read


def _nodes() -> tuple[bytes, Writer, Reader]:
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
            known = written[id(message)] = message, head + len(packed).to_bytes(2, "big") + packed
        return _THREE + rpc_id + known[1]

    def read(data: bytes, check: Check) -> Message | None:
        length = int.from_bytes(data[_AFTER_CODE:_CONTACTS_AT], "big")
        if not 256 <= length == len(data) - _CONTACTS_AT <= MAX_DATAGRAM or not data.startswith(_THREE):
            return None
        return Nodes(unpack_contacts(data[_CONTACTS_AT:], check, K))

    return head, write, read


_FORMS = {
    Ping: _bare(Ping()),
    Pong: _bare(Pong()),
    FindNode: _with_id(FindNode, "target"),
    FindValue: _with_id(FindValue, "key"),
    Nodes: _nodes(),
}
WRITERS: dict[type, Writer] = {message: write for message, (_, write, _) in _FORMS.items()}
READERS: dict[bytes, Reader] = {head: read for head, _, read in _FORMS.values()}
"""By bytes 10 to 13: what follows the RPC id."""
