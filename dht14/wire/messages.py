"""THE schema of the RPCs: every message, its code, and the bounds of each of its fields.

A message is a CBOR array `[rpc id, code, field …]`; requests have codes below 64, replies from 64 on.
`wire.datagram` encodes and decodes them by the table at the foot of this page. DESIGN 4.3.
"""

from collections.abc import Callable, Iterable
from typing import Any

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
"""In place of a ticket where the value travels in a STORE."""
MAX_CONTACTS_BYTES = 1_100
"""Room for 20 contacts with IPv4 addresses, or 16 with IPv6, in a datagram of any session layer."""


MAX_VALUE_AND_CONTACTS = MAX_CONTACTS_BYTES - 20
"""Room for a value and contacts together: of the same datagram the other fields of VALUE take so much more than
those of NODES."""


@frozen
class Ping:
    """Are you there?"""


@frozen
class FindNode:
    """Which contacts do you know nearest to `target`?"""

    target: int


@frozen
class FindValue:
    """Which value has this key; or else, which contacts do you know nearest to it?"""

    key: int
    view: bytes = b""
    """Which nodes the asker believes nearest to the key, `view_of` them: a holder that has the record names the
    nearer ones that are missing."""


@frozen
class Store:
    """Hold this record. The answer comes when it is held as safely as it will be."""

    key: int
    version: int
    ttl_ms: int
    """Milliseconds the value still has to live. Whole seconds would lose up to one at every hop."""
    replication: int
    """0: a cached copy, beside those that the writer asked for."""
    neighbours: int
    """Fingerprint of the nodes that the writer believes nearest to the key: `fingerprint`."""
    value: bytes = field(repr=False)
    copy: bool = False
    """Whether others hold it already, so that only the order of records decides. An owner's record that is
    new must also not conflict with what is held."""


@frozen
class Offer:
    """Do you have this record? If not, shall I send it?

    The record without its value: for values too large for a STORE, and for copies of what is probably held.
    """

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
    """I am to be called at this address, which is not the one that this comes from."""

    address: Address


@frozen
class Pong:
    """I am here."""

    time_ms: int = 0
    """What my clock says: milliseconds since 1970. 0: I do not tell."""


@frozen
class Nodes:
    """The contacts that I know nearest to what you asked for."""

    contacts: tuple[Contact, ...]
    holds_values: bool = True
    """Whether I am a node that could have a value: bootstrap nodes are not."""


@frozen
class Lapsed:
    """I hold nothing under the key you asked for, since what I held has expired. So has all that it replaced,
    wherever a copy of that comes back from. These are the contacts that I know nearest to it."""

    contacts: tuple[Contact, ...]
    kind: int
    version: int
    """Of what I held."""


@frozen
class Value:
    """The record that I hold under the key you asked for."""

    version: int
    ttl_ms: int
    replication: int
    """0: it is a cached copy."""
    current: bool
    """Whether the holder has missed no write, as far as it knows. One that has been away says no until the
    others have brought it what it missed."""
    value: bytes = field(repr=False)
    nearer: tuple[Contact, ...] = ()
    """Of the nodes nearest to the key, those that were missing in the view of the asker."""


@frozen
class LargeValue:
    """I hold a record under the key you asked for; its value does not fit a datagram."""

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
    """With which the value can be fetched over the bulk channel."""
    nearer: tuple[Contact, ...] = ()
    """As in `Value`."""


@frozen
class Stored:
    """A receipt: I hold the record."""

    nearer: tuple[Contact, ...]
    """Where my view of the key's neighbourhood differs from the writer's: the contacts in mine."""
    current: bool = True
    """As in `Value`."""
    replication: int = 0
    """Copies that the key has from now on: those of this record, or more if the one it replaces had more. 0: it
    is only cached here."""


@frozen
class Outranked:
    """I hold another record of that key, and it wins over yours."""

    version: int
    """Of the record I hold."""
    nearer: tuple[Contact, ...]
    """As in `Stored`."""


@frozen
class Refused:
    """I do not hold the record, and will not."""

    nearer: tuple[Contact, ...]
    """As in `Stored`."""
    reason: Refusal = Refusal.NOT_NEAR
    holds_older: bool = False
    """Whether I keep an older record of the key, which readers will hear of."""


@frozen
class Wanted:
    """I do not have the record that was offered: send it."""

    nearer: tuple[Contact, ...]
    """As in `Stored`."""
    ticket: bytes
    """With which it is sent over the bulk channel; `NO_TICKET` where it fits a STORE."""


@frozen
class Resync:
    """I may have missed writes: offer me all records that I should hold. Answered with PONG; by a node that
    holds no values with REFUSED."""


@frozen
class Resynced:
    """I have offered you all that I hold and you should hold. Answered with PONG."""


Request = Ping | FindNode | FindValue | Store | Offer | Announce | Resync | Resynced
Reply = Pong | Nodes | Lapsed | Value | LargeValue | Stored | Outranked | Refused | Wanted
Message = Request | Reply
REPLIES = (Pong, Nodes, Lapsed, Value, LargeValue, Stored, Outranked, Refused, Wanted)
"""For `isinstance`, which takes three times as long with a union."""


def fingerprint(node_ids: Iterable[int]) -> int:
    """Tells whether two nodes mean the same set of ids: the low 64 bits of the XOR of them all."""
    total = 0
    for node_id in node_ids:
        total ^= node_id
    return total & ((1 << FINGERPRINT_BITS) - 1)


VIEW_PART_BYTES = 4


def view_of(node_ids: Iterable[int]) -> bytes:
    """The last four bytes of each id: enough to tell a few nodes near to one key apart."""
    return b"".join([(node_id & 0xFFFFFFFF).to_bytes(VIEW_PART_BYTES, "big") for node_id in node_ids])


# How a field stands in the array: as an unsigned integer or as a byte string, nothing else.


@frozen
class FieldShape:
    """One field's way to and from its CBOR item; `decode` raises Malformed for anything but a valid one."""

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
    return unpack_contacts(item, verify_proof, at_most=K)


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
"""Of what expires and leaves a floor: content leaves none."""

SCHEMA: dict[int, tuple[type[Message], tuple[FieldShape, ...]]] = {
    1: (Ping, ()),
    2: (FindNode, (_ID,)),
    3: (FindValue, (_ID, _VIEW)),
    4: (Store, (_ID, _VERSION, _TTL_MS, _REPLICATION_OR_CACHED, _FINGERPRINT, _VALUE, _FLAG)),
    5: (Offer, (_ID, _VERSION, _TTL_MS, _REPLICATION, _FINGERPRINT, _FLAG, _LENGTH, _DIGEST, _FLAG)),
    6: (Announce, (_ADDRESS,)),
    7: (Resync, ()),
    8: (Resynced, ()),
    64: (Pong, (_TIME_MS,)),
    65: (Nodes, (_CONTACTS, _FLAG)),
    66: (Value, (_VERSION, _TTL_MS, _REPLICATION_OR_CACHED, _FLAG, _VALUE, _CONTACTS)),
    67: (Stored, (_CONTACTS, _FLAG, _REPLICATION_OR_CACHED)),
    68: (Outranked, (_VERSION, _CONTACTS)),
    69: (Refused, (_CONTACTS, _REFUSAL, _FLAG)),
    70: (Wanted, (_CONTACTS, _TICKET)),
    71: (
        LargeValue,
        (_VERSION, _TTL_MS, _REPLICATION, _FLAG, _FLAG, _LARGE_LENGTH, _DIGEST, _TICKET, _CONTACTS),
    ),
    72: (Lapsed, (_CONTACTS, _MUTABLE_KIND, _VERSION)),
}
