"""How the database stores a record: in which slot, and as which bytes. Format 2.

Slot: `distance u16 | keyed hash 14`. The distance is measured from the database's origin, the id of its node,
to one part in 128: a full store finds the farthest records at the end, and the files reveal only the first
bits of a key.

Entry: `version u64 | expires_at f64 | 3 tags of 8 | nonce 12 | sealed body`. The seal binds the body to the
slot and to the header before it. Body: `format u8 | replication u8 | key 32 | writer 32 | length of the
subnet u8 | subnet 16 | value`. The tags are keyed hashes of the parties whose shares the record uses
(`record.parties`), zero if there are fewer: the writer thread counts the bytes of each party without opening
an entry. The highest bit of the replication marks a brief record.

Times are those of the node's own clock. It starts at the time of day when the process starts, and is never
set. So the times of one run are consistent; the next run reads them with the time of day at its own start.

A floor, the version of an expired record, has an entry of the same form in a table of its own. Its time is
the one at which it is forgotten. Its body has the kind where a record has its replication, and ends after the
writer and a subnet of zeros.
"""

from struct import Struct
from typing import NamedTuple

from attrs import field, frozen

from dht14.database.vault import Vault
from dht14.errors import Malformed
from dht14.kademlia.keyspace import ID_BYTES, id_from_bytes, id_to_bytes
from dht14.records.record import SUBNET_BYTES, Record, party_names
from dht14.records.version_floors import NO_FLOOR, Floor

SLOT_BYTES = 16

PARTY_TAG_BYTES, TAG_COUNT = 8, 3
NO_TAG = bytes(PARTY_TAG_BYTES)
"""The tag of an unknown party."""

KNOWN_TAGS_LIMIT = 4_096

_FORMAT = 2
_HASH_BYTES = 14
_BRIEF = 0x80
_CLASS = Struct(">H")
_HEADER = Struct(f">Qd{TAG_COUNT * PARTY_TAG_BYTES}s")
ENTRY_HEADER_BYTES = _HEADER.size
_TIME = Struct(">d")
_BODY = Struct(f">BB{ID_BYTES}s{ID_BYTES}sB{SUBNET_BYTES}s")


class EntryHeader(NamedTuple):
    """What can be read of an entry without opening it; only opening authenticates it."""

    version: int
    until: float


class EntryBody(NamedTuple):
    """The sealed content of an entry."""

    key: int
    replication: int
    value: bytes
    writer: int = 0
    writer_subnet: bytes = b""
    is_brief: bool = False


def distance_class(distance: int) -> int:
    """Return a distance without its lower bits, as an exponent and the next 7 bits: it sorts as the
    distance does."""
    bits = distance.bit_length()
    return bits << 7 | ((distance << 8) >> bits) & 127


def pack_expiry(until: float, slot: bytes) -> bytes:
    """Return the entry of a time index. Positive floats sort as their bytes do."""
    return _TIME.pack(until) + slot


def unpack_expiry(entry: bytes) -> tuple[float, bytes]:
    """Return the time and the slot of an entry of a time index."""
    return _TIME.unpack_from(entry)[0], entry[_TIME.size :]


def read_header(entry: bytes) -> EntryHeader:
    """Return the version and the time of an entry. Raises `Malformed`."""
    if len(entry) < _HEADER.size:
        raise Malformed("an entry is cut short")
    version, until, _ = _HEADER.unpack_from(entry)
    return EntryHeader(version, until)


def read_writer_tag(entry: bytes) -> bytes:
    """Return the first tag of an entry, that of the writer; `NO_TAG` if it is unknown. Raises `Malformed`."""
    if len(entry) < _HEADER.size:
        raise Malformed("an entry is cut short")
    at = _HEADER.size - TAG_COUNT * PARTY_TAG_BYTES
    return entry[at : at + PARTY_TAG_BYTES]


def read_tags(entry: bytes) -> tuple[bytes, ...]:
    """Return the tags of the parties whose shares an entry uses. Raises `Malformed`."""
    if len(entry) < _HEADER.size:
        raise Malformed("an entry is cut short")
    tags = (
        entry[at : at + PARTY_TAG_BYTES]
        for at in range(_HEADER.size - TAG_COUNT * PARTY_TAG_BYTES, _HEADER.size, PARTY_TAG_BYTES)
    )
    return tuple([tag for tag in tags if tag != NO_TAG])


@frozen
class EntryFormat:
    """Encodes and decodes the entries of one database."""

    vault: Vault
    origin: int
    """Distances are measured from this id. Only eviction needs it to be the node's own."""
    _known_tags: dict[tuple[int, bytes], tuple[bytes, ...]] = field(
        factory=dict, init=False, repr=False, eq=False
    )
    """By writer and subnet. A cache: to hash a tag takes as long as the rest of an entry's header. It is
    cleared when full, which costs less on this hot path than to drop the oldest item."""

    def slot(self, key: int) -> bytes:
        """Return the slot of a key."""
        hidden = self.vault.hide(id_to_bytes(key), _HASH_BYTES)
        return _CLASS.pack(distance_class(key ^ self.origin)) + hidden

    def tag(self, party: bytes) -> bytes:
        """Return the tag of the party of this name."""
        return self.vault.hide(party, PARTY_TAG_BYTES)

    def tags(self, writer: int, subnet: bytes) -> tuple[bytes, ...]:
        """Return the tags of a writer in a subnet."""
        tags = self._known_tags.get((writer, subnet))
        if tags is None:
            tags = tuple([self.tag(party) for party in party_names(writer, subnet)])
            if len(self._known_tags) >= KNOWN_TAGS_LIMIT:
                self._known_tags.clear()
            self._known_tags[writer, subnet] = tags
        return tags

    def write(self, slot: bytes, record: Record) -> bytes:
        """Return the entry of a record."""
        body = EntryBody(
            record.key,
            record.replication,
            record.value,
            record.writer,
            record.writer_subnet,
            record.is_brief,
        )
        return self.seal(slot, EntryHeader(record.version, record.expires_at), body)

    def read(self, slot: bytes, entry: bytes) -> Record:
        """Return the record of an entry. Raises `Malformed` if it is damaged or in the wrong slot."""
        version, until, plain = self._opened(slot, entry)
        # Not by `open`: the hot path of every read of the store makes no parts.
        _, replication, key, writer, length, subnet = _BODY.unpack_from(plain)
        if len(plain) == _BODY.size:
            raise Malformed("a floor is in the slot of a record")
        return Record(
            key=id_from_bytes(key),
            value=plain[_BODY.size :],
            version=version,
            expires_at=until,
            replication=replication & ~_BRIEF,
            writer=id_from_bytes(writer),
            writer_subnet=subnet[:length],
            is_brief=replication >= _BRIEF,
        )

    def read_floor(self, slot: bytes, entry: bytes, now: float) -> Floor:
        """Return the floor of an entry; `NO_FLOOR` if it is damaged, or to be forgotten by now."""
        try:
            header, body = self.open(slot, entry)
        except Malformed:
            return NO_FLOOR
        return Floor(body.replication, header.version) if header.until > now else NO_FLOOR

    def seal(self, slot: bytes, header: EntryHeader, body: EntryBody) -> bytes:
        """Return a sealed entry of these parts."""
        subnet = body.writer_subnet
        packed = _HEADER.pack(*header, b"".join(self.tags(body.writer, subnet)))
        key, writer = id_to_bytes(body.key), id_to_bytes(body.writer)
        replication = body.replication | _BRIEF * body.is_brief
        plain = _BODY.pack(_FORMAT, replication, key, writer, len(subnet), subnet) + body.value
        return packed + self.vault.seal(plain, slot + packed)

    def open(self, slot: bytes, entry: bytes) -> tuple[EntryHeader, EntryBody]:
        """Return the parts of an entry. Raises `Malformed`."""
        version, until, plain = self._opened(slot, entry)
        _, replication, key, writer, length, subnet = _BODY.unpack_from(plain)
        is_brief, replication = divmod(replication, _BRIEF)
        value = plain[_BODY.size :]
        body = EntryBody(
            id_from_bytes(key), replication, value, id_from_bytes(writer), subnet[:length], bool(is_brief)
        )
        return EntryHeader(version, until), body

    def _opened(self, slot: bytes, entry: bytes) -> tuple[int, float, bytes]:
        """Return the version, the time and the packed body of an entry. Raises `Malformed`."""
        if len(entry) < _HEADER.size:
            raise Malformed("an entry is cut short")
        version, until, _ = _HEADER.unpack_from(entry)
        plain = self.vault.open(entry[_HEADER.size :], slot + entry[: _HEADER.size])
        if len(plain) < _BODY.size or plain[0] != _FORMAT:
            raise Malformed("an entry is of another format")
        return version, until, plain
