"""The messages of the RPCs as values. `schema` says how each travels, and which replies a request has."""

import hashlib
from collections.abc import Iterable

from attrs import field, frozen

from dht14.kademlia.contact import Address, Contact
from dht14.records.store import Refusal
from dht14.security.tickets import TICKET_BYTES

MAX_TTL_MS = 7 * 86_400_000
MAX_VERSION = (1 << 63) - 1
MAX_TIME_MS = (1 << 48) - 1
FINGERPRINT_BITS = 64
DIGEST_BYTES = 32
MARK_BYTES = 8
NOTHING_HELD = bytes(MARK_BYTES)
"""The mark of a key without a record."""
MAX_LEASE_MS = 600_000
VIEW_PART_BYTES = 4
MAX_SOFTWARE_BYTES = 32
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


@frozen
class InventoryEntry:
    """A record that the sender of an INVENTORY holds."""

    key: int
    mark: bytes
    """By `mark_of`."""
    ttl_seconds: int
    """Whole seconds that it still has to live; 0: less than one."""
    replication: int


@frozen
class Inventory:
    """Lists records that the node should hold, many in one datagram: asks which of them it lacks."""

    entries: tuple[InventoryEntry, ...]


@frozen
class Lacking:
    """Answers an INVENTORY: says which of the records the sender wants to be offered."""

    entries: int
    """Bit i (the lowest is 0) is 1 unless the record of entry i is held, for as long and with as many
    copies."""

    def wants(self, entry: int) -> bool:
        """Return whether the record of the entry with this index is wanted."""
        return bool(self.entries >> entry & 1)


@frozen
class Watch:
    """Asks the node to tell the sender, for the time of a lease, when the record of a key changes."""

    key: int
    view: bytes = b""
    """As in `FindValue`."""
    begins: bool = True
    """False ends the lease of the sender."""


@frozen
class Notify:
    """Tells a node that has a lease that the record of the key has changed."""

    key: int
    mark: bytes
    """The `mark_of` the record that the sender holds now."""


@frozen
class Watching:
    """Answers a WATCH: says how long the sender will report changes, and what it holds now."""

    lease_ms: int
    """0: the lease has ended."""
    mark: bytes
    """As in `Notify`; `NOTHING_HELD` where the sender holds no record of the key."""
    nearer: tuple[Contact, ...] = ()
    """As in `Value`."""


@frozen
class Describe:
    """Asks which software the node runs, for an operator who walks the network."""


@frozen
class Described:
    """Answers DESCRIBE. It is what the sender claims."""

    software: bytes
    """Name and version, of printable ASCII: `dht14/0.1.0`."""


Request = (
    Ping
    | FindNode
    | FindValue
    | Store
    | Offer
    | Announce
    | Resync
    | Resynced
    | Watch
    | Notify
    | Describe
    | Inventory
)
Reply = (
    Pong
    | Nodes
    | Lapsed
    | Value
    | LargeValue
    | Stored
    | Outranked
    | Refused
    | Wanted
    | Watching
    | Described
    | Lacking
)
Message = Request | Reply


def fingerprint(node_ids: Iterable[int]) -> int:
    """Return the low 64 bits of the XOR of these ids: equal where two nodes mean the same set."""
    total = 0
    for node_id in node_ids:
        total ^= node_id
    return total & ((1 << FINGERPRINT_BITS) - 1)


def view_of(node_ids: Iterable[int]) -> bytes:
    """Return the last four bytes of each id: enough to distinguish a few nodes near one key."""
    return b"".join([(node_id & 0xFFFFFFFF).to_bytes(VIEW_PART_BYTES, "big") for node_id in node_ids])


def mark_of(version: int, digest: bytes) -> bytes:
    """Return the mark of a record: enough to see that two nodes hold different records under one key.

    `digest` is the SHA-256 of its value. A mark proves nothing.
    """
    return hashlib.sha256(version.to_bytes(8, "big") + digest).digest()[:MARK_BYTES]
