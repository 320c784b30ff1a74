"""THE schema of the RPCs: the code of every message, the bounds of its fields, and the replies to it.

A message is a CBOR array `[rpc id, code, field …]`. Requests have codes below 64, replies from 64 on.
`SCHEMA` is the only list of them: encoder, decoder and `reply_filter` derive from it.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from attrs import frozen

from dht14.errors import Malformed
from dht14.kademlia.contact import Address, Contact
from dht14.kademlia.keyspace import ID_BYTES, id_from_bytes, id_to_bytes
from dht14.kademlia.parameters import GROUP, MAX_INLINE_VALUE, MAX_REPLICATION, MAX_VALUE, K
from dht14.records.record import Kind
from dht14.records.store import Refusal
from dht14.security.identity import VerifyProof
from dht14.security.tickets import TICKET_BYTES
from dht14.wire.contacts import pack_address, pack_contacts, unpack_address, unpack_contacts
from dht14.wire.inventory import MAX_ENTRIES, pack_entries, unpack_entries
from dht14.wire.messages import (
    DIGEST_BYTES,
    FINGERPRINT_BITS,
    MARK_BYTES,
    MAX_CONTACTS_BYTES,
    MAX_LEASE_MS,
    MAX_SOFTWARE_BYTES,
    MAX_TIME_MS,
    MAX_TTL_MS,
    MAX_VERSION,
    VIEW_PART_BYTES,
    Announce,
    Describe,
    Described,
    FindNode,
    FindValue,
    Inventory,
    InventoryEntry,
    Lacking,
    Lapsed,
    LargeValue,
    Message,
    Nodes,
    Notify,
    Offer,
    Outranked,
    Ping,
    Pong,
    Refused,
    Reply,
    Resync,
    Resynced,
    Store,
    Stored,
    Value,
    Wanted,
    Watch,
    Watching,
)

# The forms of a field in the array: an unsigned integer or a byte string, nothing else.


@frozen
class FieldShape:
    """Encodes and decodes one field. `decode` raises Malformed for anything but a valid item."""

    encode: Callable[[Any], int | bytes]
    decode: Callable[[object, VerifyProof], Any]


def _unsigned(low: int, high: int) -> FieldShape:
    def decode(item: object, verify_proof: VerifyProof) -> int:
        if type(item) is not int or not low <= item <= high:
            raise Malformed(f"not an integer of {low} to {high}")
        return item

    return FieldShape(int, decode)


def _bytes(low: int, high: int) -> FieldShape:
    def decode(item: object, verify_proof: VerifyProof) -> bytes:
        if type(item) is not bytes or not low <= len(item) <= high:
            raise Malformed(f"not a byte string of {low} to {high}")
        return item

    return FieldShape(bytes, decode)


def _decode_flag(item: object, verify_proof: VerifyProof) -> bool:
    if type(item) is not int or not 0 <= item <= 1:
        raise Malformed("not 0 or 1")
    return item == 1


def _decode_id(item: object, verify_proof: VerifyProof) -> int:
    if type(item) is not bytes or len(item) != ID_BYTES:
        raise Malformed("not an id")
    return id_from_bytes(item)


def _encode_contacts(contacts: tuple[Contact, ...]) -> bytes:
    return pack_contacts(contacts, room=MAX_CONTACTS_BYTES)


def _decode_contacts(item: object, verify_proof: VerifyProof) -> tuple[Contact, ...]:
    if type(item) is not bytes or len(item) > MAX_CONTACTS_BYTES:
        raise Malformed(f"not contacts of at most {MAX_CONTACTS_BYTES} bytes")
    return unpack_contacts(item, verify_proof, limit=K)


def _decode_address(item: object, verify_proof: VerifyProof) -> Address:
    if type(item) is not bytes or (address := unpack_address(item)) is None:
        raise Malformed("not an address that a node can have")
    return address


def _decode_view(item: object, verify_proof: VerifyProof) -> bytes:
    if type(item) is not bytes or len(item) > GROUP * VIEW_PART_BYTES or len(item) % VIEW_PART_BYTES:
        raise Malformed("not a view")
    return item


def _decode_refusal(item: object, verify_proof: VerifyProof) -> Refusal:
    if type(item) is not int or not 1 <= item <= len(Refusal):
        raise Malformed("not a reason")
    return Refusal(item)


def _decode_software(item: object, verify_proof: VerifyProof) -> bytes:
    if type(item) is not bytes or not 1 <= len(item) <= MAX_SOFTWARE_BYTES:
        raise Malformed("not a name of software")
    # Printable: it is shown on the terminals of operators.
    if not all(0x20 < byte < 0x7F for byte in item):
        raise Malformed("a name of software with other characters than printable ones")
    return item


def _decode_entries(item: object, verify_proof: VerifyProof) -> tuple[InventoryEntry, ...]:
    if type(item) is not bytes:
        raise Malformed("not the entries of an inventory")
    return unpack_entries(item)


_ID = FieldShape(id_to_bytes, _decode_id)
_CONTACTS = FieldShape(_encode_contacts, _decode_contacts)
_ADDRESS = FieldShape(pack_address, _decode_address)
_SOFTWARE = FieldShape(bytes, _decode_software)
_ENTRIES = FieldShape(pack_entries, _decode_entries)
_FLAG = FieldShape(int, _decode_flag)
_VIEW = FieldShape(bytes, _decode_view)
_REFUSAL = FieldShape(int, _decode_refusal)
_TIME_MS = _unsigned(0, MAX_TIME_MS)
_VERSION = _unsigned(0, MAX_VERSION)
_TTL_MS = _unsigned(1, MAX_TTL_MS)
_REPLICATION = _unsigned(1, MAX_REPLICATION)
_REPLICATION_OR_CACHED = _unsigned(0, MAX_REPLICATION)
_FINGERPRINT = _unsigned(0, (1 << FINGERPRINT_BITS) - 1)
_VALUE = _bytes(1, MAX_INLINE_VALUE)
_LENGTH = _unsigned(1, MAX_VALUE)
_LARGE_LENGTH = _unsigned(MAX_INLINE_VALUE + 1, MAX_VALUE)
_DIGEST = _bytes(DIGEST_BYTES, DIGEST_BYTES)
_MARK = _bytes(MARK_BYTES, MARK_BYTES)
_LEASE_MS = _unsigned(0, MAX_LEASE_MS)
_TICKET = _bytes(TICKET_BYTES, TICKET_BYTES)
_LACKING = _unsigned(0, (1 << MAX_ENTRIES) - 1)
_MUTABLE_KIND = _unsigned(Kind.OPEN, Kind.OWNER)
"""The kinds whose records leave a floor when they expire; content leaves none."""


class MessageSchema(NamedTuple):
    """One row of the schema."""

    message: type[Message]
    shapes: tuple[FieldShape, ...]
    """In the order of the fields of the message, and of the items in the array."""
    replies: tuple[type[Reply], ...] = ()
    """The replies to a request."""


_STORE_REPLIES = (Stored, Outranked, Refused)

SCHEMA: Mapping[int, MessageSchema] = {
    1: MessageSchema(Ping, (), (Pong,)),
    2: MessageSchema(FindNode, (_ID,), (Nodes,)),
    3: MessageSchema(FindValue, (_ID, _VIEW), (Value, LargeValue, Nodes, Lapsed)),
    4: MessageSchema(
        Store,
        (_ID, _VERSION, _TTL_MS, _REPLICATION_OR_CACHED, _FINGERPRINT, _VALUE, _FLAG),
        _STORE_REPLIES,
    ),
    5: MessageSchema(
        Offer,
        (_ID, _VERSION, _TTL_MS, _REPLICATION, _FINGERPRINT, _FLAG, _LENGTH, _DIGEST, _FLAG),
        (*_STORE_REPLIES, Wanted),
    ),
    6: MessageSchema(Announce, (_ADDRESS,), (Pong,)),
    7: MessageSchema(Resync, (), (Pong, Refused)),
    8: MessageSchema(Resynced, (), (Pong, Refused)),
    9: MessageSchema(Watch, (_ID, _VIEW, _FLAG), (Watching, Refused)),
    10: MessageSchema(Notify, (_ID, _MARK), (Pong, Refused)),
    11: MessageSchema(Describe, (), (Described,)),
    12: MessageSchema(Inventory, (_ENTRIES,), (Lacking, Refused)),
    64: MessageSchema(Pong, (_TIME_MS,)),
    65: MessageSchema(Nodes, (_CONTACTS, _FLAG)),
    66: MessageSchema(Value, (_VERSION, _TTL_MS, _REPLICATION_OR_CACHED, _FLAG, _VALUE, _CONTACTS)),
    67: MessageSchema(Stored, (_CONTACTS, _FLAG, _REPLICATION_OR_CACHED)),
    68: MessageSchema(Outranked, (_VERSION, _CONTACTS)),
    69: MessageSchema(Refused, (_CONTACTS, _REFUSAL, _FLAG)),
    70: MessageSchema(Wanted, (_CONTACTS, _TICKET)),
    71: MessageSchema(
        LargeValue,
        (_VERSION, _TTL_MS, _REPLICATION, _FLAG, _FLAG, _LARGE_LENGTH, _DIGEST, _TICKET, _CONTACTS),
    ),
    72: MessageSchema(Lapsed, (_CONTACTS, _MUTABLE_KIND, _VERSION)),
    73: MessageSchema(Watching, (_LEASE_MS, _MARK, _CONTACTS)),
    74: MessageSchema(Described, (_SOFTWARE,)),
    75: MessageSchema(Lacking, (_LACKING,)),
}
"""By code."""

FIRST_REPLY_CODE = 64


def replies_in(schema: Mapping[int, MessageSchema]) -> tuple[type[Reply], ...]:
    """Return the messages of a schema that are replies.

    Raises TypeError where a request names no replies, or a reply of another code does.
    """
    for code, entry in schema.items():
        if bool(entry.replies) != (code < FIRST_REPLY_CODE):
            raise TypeError(f"{entry.message.__name__} has code {code} and the replies {entry.replies}")
    replies: list[Any] = [entry.message for code, entry in schema.items() if code >= FIRST_REPLY_CODE]
    return tuple(replies)


REPLIES = replies_in(SCHEMA)
"""For `isinstance`, which takes three times as long with a union."""

REPLIES_TO: Mapping[type[Message], tuple[type[Reply], ...]] = {
    entry.message: entry.replies for entry in SCHEMA.values() if entry.replies
}
"""By request."""
