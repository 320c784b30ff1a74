"""THE schema of the RPCs: every message, its code, the bounds of its fields, and the replies to it.

A message is a CBOR array `[rpc id, code, field …]`. Requests have codes below 64, replies from 64 on.
`SCHEMA`, at the end of this module, is the only list of them: encoder, decoder and `reply_filter` derive
from it. DESIGN 4.3.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from attrs import field, frozen

from dht14.errors import Malformed
from dht14.kademlia.contact import Address, Contact
from dht14.kademlia.keyspace import ID_BYTES, id_from_bytes, id_to_bytes
from dht14.kademlia.parameters import GROUP, MAX_INLINE_VALUE, MAX_REPLICATION, MAX_VALUE, K
from dht14.records.record import Kind
from dht14.records.store import Refusal
from dht14.security.identity import VerifyProof
from dht14.security.tickets import TICKET_BYTES
from dht14.wire.contacts import pack_address, pack_contacts, unpack_address, unpack_contacts

MAX_TTL_MS = 7 * 86_400_000
MAX_VERSION = (1 << 63) - 1
MAX_TIME_MS = (1 << 48) - 1
FINGERPRINT_BITS = 64
DIGEST_BYTES = 32
NO_TICKET = bytes(TICKET_BYTES)
"""Stands for a ticket where the value fits a STORE."""
MAX_CONTACTS_BYTES = 1_100
"""Room for 20 contacts with IPv4 addresses, or 16 with IPv6, in a datagram of any session layer."""
MAX_VALUE_AND_CONTACTS = MAX_CONTACTS_BYTES - 20
"""Room for value and contacts together: VALUE has 20 bytes of other fields more than NODES."""


@frozen
class Ping:
    """Asks whether the node is there."""


@frozen
class FindNode:
    """Asks for the contacts nearest to `target` that the node knows."""

    target: int


@frozen
class FindValue:
    """Asks for the record of a key; without one, for the contacts nearest to the key."""

    key: int
    view: bytes = b""
    """The nodes that the asker believes nearest to the key, by `view_of`. A holder of the record names those
    that are missing."""


@frozen
class Store:
    """Asks the node to hold this record. The reply comes when the record is on its disk."""

    key: int
    version: int
    ttl_ms: int
    """Milliseconds that the value still has to live. In whole seconds each hop would lose up to one."""
    replication: int
    """0: a cached copy, not one of those that the writer asked for."""
    neighbours: int
    """The `fingerprint` of the nodes that the writer believes nearest to the key."""
    value: bytes = field(repr=False)
    copy: bool = False
    """Whether others hold the record already. Then only the order of records counts; otherwise an owner
    record must also not conflict with the one that is held."""


@frozen
class Offer:
    """Offers a record without its value: for large values, and for copies that the node probably holds."""

    key: int
    version: int
    ttl_ms: int
    replication: int
    neighbours: int
    """As in `Store`."""
    owned: bool
    """Whether the value is an owner's envelope."""
    length: int
    """Bytes of the value."""
    digest: bytes
    """SHA-256 of the value."""
    copy: bool = False
    """As in `Store`."""


@frozen
class Announce:
    """Says that others must call the sender at this address, not at the one that the datagram comes from."""

    address: Address


@frozen
class Pong:
    """Answers PING, ANNOUNCE, RESYNC and RESYNCED."""

    time_ms: int = 0
    """The time of day of the sender, milliseconds since 1970; 0: not given."""


@frozen
class Nodes:
    """The contacts nearest to the target or key that the sender knows."""

    contacts: tuple[Contact, ...]
    holds_values: bool = True
    """Whether the sender holds values; a bootstrap node does not."""


@frozen
class Lapsed:
    """Says that the sender's record of the key has expired, and gives the contacts nearest to the key.

    Every record that it replaced is over too, wherever a copy of one comes back from.
    """

    contacts: tuple[Contact, ...]
    kind: int
    version: int
    """Kind and version of the record that expired."""


@frozen
class Value:
    """The record that the sender holds under the key."""

    version: int
    ttl_ms: int
    replication: int
    """0: a cached copy."""
    current: bool
    """Whether the holder has missed no write, as far as it knows. False after an absence, until the others
    have brought what it missed."""
    value: bytes = field(repr=False)
    nearer: tuple[Contact, ...] = ()
    """The nodes nearest to the key that are missing in the view of the asker."""


@frozen
class LargeValue:
    """Describes the record that the sender holds under the key, whose value does not fit a datagram."""

    version: int
    ttl_ms: int
    replication: int
    current: bool
    """As in `Value`."""
    owned: bool
    length: int
    digest: bytes
    """As in `Offer`."""
    ticket: bytes
    """Permits to fetch the value over the bulk channel."""
    nearer: tuple[Contact, ...] = ()
    """As in `Value`."""


@frozen
class Stored:
    """A receipt: the sender holds the record."""

    nearer: tuple[Contact, ...]
    """The sender's neighbourhood of the key, where it differs from the writer's; else empty."""
    current: bool = True
    """As in `Value`."""
    replication: int = 0
    """How many copies the key must have now: those of this record, or of the one it replaces if that had
    more. 0: only a cached copy."""


@frozen
class Outranked:
    """Says that the sender holds another record of the key, which wins."""

    version: int
    """The version of the record that wins."""
    nearer: tuple[Contact, ...]
    """As in `Stored`."""


@frozen
class Refused:
    """Says that the sender does not and will not hold the record."""

    nearer: tuple[Contact, ...]
    """As in `Stored`."""
    reason: Refusal = Refusal.NOT_NEAR
    holds_older: bool = False
    """Whether the sender keeps an older record of the key, which readers may get."""


@frozen
class Wanted:
    """Asks for the record that was offered."""

    nearer: tuple[Contact, ...]
    """As in `Stored`."""
    ticket: bytes
    """Permits to send the value over the bulk channel; `NO_TICKET` where it fits a STORE."""


@frozen
class Resync:
    """Says that the sender may have missed writes, and asks for OFFERs of all records it should hold."""


@frozen
class Resynced:
    """Says that the sender has offered all of its records that the node should hold."""


Request = Ping | FindNode | FindValue | Store | Offer | Announce | Resync | Resynced
Reply = Pong | Nodes | Lapsed | Value | LargeValue | Stored | Outranked | Refused | Wanted
Message = Request | Reply


def fingerprint(node_ids: Iterable[int]) -> int:
    """Return the low 64 bits of the XOR of these ids: equal where two nodes mean the same set."""
    total = 0
    for node_id in node_ids:
        total ^= node_id
    return total & ((1 << FINGERPRINT_BITS) - 1)


VIEW_PART_BYTES = 4


def view_of(node_ids: Iterable[int]) -> bytes:
    """Return the last four bytes of each id: enough to distinguish a few nodes near one key."""
    return b"".join([(node_id & 0xFFFFFFFF).to_bytes(VIEW_PART_BYTES, "big") for node_id in node_ids])


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
    if type(item) is not bytes:
        raise Malformed("not contacts")
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


_ID = FieldShape(id_to_bytes, _decode_id)
_CONTACTS = FieldShape(_encode_contacts, _decode_contacts)
_ADDRESS = FieldShape(pack_address, _decode_address)
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
_TICKET = _bytes(TICKET_BYTES, TICKET_BYTES)
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
