"""How a record lies in the database: where, and as which bytes. Format 2.

Where: `distance u16 | keyed hash 14`. The first is the distance from the database's origin, the id of its
node, to one part in 128: so a full store finds what is farthest at the end, and the files tell of a key no
more than its first bits. The bytes: `version u64 | expires_at f64 | 3 tags of 8 | nonce 12 | sealed
body`, where head and place are bound to the body by its seal. The body: `format u8 | replication u8 | key 32 |
writer 32 | length of the subnet u8 | subnet 16 | value`. The tags are keyed hashes of those whose shares the record
counts for (`record.parties`), zero where there are fewer: whoever writes the tables can count what each of them
holds without opening anything. The highest bit of the replication tells of a brief record.

Times are those of the node's own clock, which begins as the time of day with each run and is never set: what one run
has written is consistent, and the next one reads it by the time of day at its own beginning.

A floor, what is remembered of a record that has expired, lies in its own table in the same form: its time
is the one until which it is remembered, and its body has the kind where a record has its replication, and
ends behind the writer and a subnet of zeros.
"""

from struct import Struct
from typing import NamedTuple

from attrs import field, frozen

from dht14.database.vault import Vault
from dht14.errors import Malformed
from dht14.kademlia.keyspace import ID_BYTES, id_from_bytes, id_to_bytes
from dht14.records.record import SUBNET_BYTES, Record, party_names
from dht14.records.version_floors import NO_FLOOR, Floor

PLACE_BYTES = 16

TAG_BYTES, TAGS = 8, 3
NOBODY = bytes(TAG_BYTES)
"""The tag where a party is not known."""

KNOWN_TAGS = 4_096

_FORMAT = 2
_HASH_BYTES = 14
_BRIEF = 0x80
_CLASS = Struct(">H")
_HEAD = Struct(f">Qd{TAGS * TAG_BYTES}s")
HEAD_BYTES = _HEAD.size
_TIME = Struct(">d")
_BODY = Struct(f">BB{ID_BYTES}s{ID_BYTES}sB{SUBNET_BYTES}s")


class Head(NamedTuple):
    """What can be read of an entry without opening it; only opening shows that it is true."""

    version: int
    until: float


class Body(NamedTuple):
    """What is sealed in an entry."""

    key: int
    replication: int
    value: bytes
    writer: int = 0
    writer_subnet: bytes = b""
    is_brief: bool = False


def distance_class(distance: int) -> int:
    """Orders distances as they are, but for their lower bits: an exponent and the 7 bits behind it."""
    bits = distance.bit_length()
    return bits << 7 | ((distance << 8) >> bits) & 127


def due_entry(until: float, place: bytes) -> bytes:
    """The entry of a time index. Positive floats sort as their bytes do."""
    return _TIME.pack(until) + place


def read_due(entry: bytes) -> tuple[float, bytes]:
    """Time and place of an entry of a time index."""
    return _TIME.unpack_from(entry)[0], entry[_TIME.size :]


def read_head(entry: bytes) -> Head:
    """Version and time of an entry. Raises `Malformed`."""
    if len(entry) < _HEAD.size:
        raise Malformed("an entry is cut short")
    version, until, _ = _HEAD.unpack_from(entry)
    return Head(version, until)


def read_tag(entry: bytes) -> bytes:
    """The first tag of an entry, the writer's; `NOBODY` where it is not known. Raises `Malformed`."""
    if len(entry) < _HEAD.size:
        raise Malformed("an entry is cut short")
    at = _HEAD.size - TAGS * TAG_BYTES
    return entry[at : at + TAG_BYTES]


def read_tags(entry: bytes) -> tuple[bytes, ...]:
    """The tags of those whose shares an entry counts for. Raises `Malformed`."""
    if len(entry) < _HEAD.size:
        raise Malformed("an entry is cut short")
    tags = (entry[at : at + TAG_BYTES] for at in range(_HEAD.size - TAGS * TAG_BYTES, _HEAD.size, TAG_BYTES))
    return tuple([tag for tag in tags if tag != NOBODY])


@frozen
class EntryFormat:
    """Writes and reads the entries of one database."""

    vault: Vault
    origin: int
    """Distances are measured from here. That it is the node's own id matters for eviction alone."""
    _known_tags: dict[tuple[int, bytes], tuple[bytes, ...]] = field(
        factory=dict, init=False, repr=False, eq=False
    )
    """Of the latest writers and their subnets: a tag takes as long as all the rest of an entry's head."""

    def place(self, key: int) -> bytes:
        """Where the record of a key lies."""
        hidden = self.vault.hide(id_to_bytes(key), _HASH_BYTES)
        return _CLASS.pack(distance_class(key ^ self.origin)) + hidden

    def tag(self, party: bytes) -> bytes:
        """What marks the entries of the party of this name."""
        return self.vault.hide(party, TAG_BYTES)

    def tags(self, writer: int, subnet: bytes) -> tuple[bytes, ...]:
        """What marks the entries of a writer in a subnet."""
        tags = self._known_tags.get((writer, subnet))
        if tags is None:
            tags = tuple([self.tag(party) for party in party_names(writer, subnet)])
            if len(self._known_tags) >= KNOWN_TAGS:
                self._known_tags.clear()
            self._known_tags[writer, subnet] = tags
        return tags

    def write(self, place: bytes, record: Record) -> bytes:
        """The entry of a record."""
        body = Body(
            record.key,
            record.replication,
            record.value,
            record.writer,
            record.writer_subnet,
            record.is_brief,
        )
        return self.seal(place, Head(record.version, record.expires_at), body)

    def read(self, place: bytes, entry: bytes) -> Record:
        """The record of an entry. Raises `Malformed` where it is damaged or lies in the wrong place."""
        (version, until), (key, replication, value, writer, subnet, is_brief) = self.open(place, entry)
        if not value:
            raise Malformed("a floor stands in the place of a record")
        return Record(
            key=key,
            value=value,
            version=version,
            expires_at=until,
            replication=replication,
            writer=writer,
            writer_subnet=subnet,
            is_brief=is_brief,
        )

    def read_floor(self, place: bytes, entry: bytes, now: float) -> Floor:
        """The floor of an entry; none where it is damaged, or forgotten by now."""
        try:
            head, body = self.open(place, entry)
        except Malformed:
            return NO_FLOOR
        return Floor(body.replication, head.version) if head.until > now else NO_FLOOR

    def seal(self, place: bytes, head: Head, body: Body) -> bytes:
        """An entry of these parts."""
        subnet = body.writer_subnet
        packed = _HEAD.pack(*head, b"".join(self.tags(body.writer, subnet)))
        key, writer = id_to_bytes(body.key), id_to_bytes(body.writer)
        replication = body.replication | _BRIEF * body.is_brief
        plain = _BODY.pack(_FORMAT, replication, key, writer, len(subnet), subnet) + body.value
        return packed + self.vault.seal(plain, place + packed)

    def open(self, place: bytes, entry: bytes) -> tuple[Head, Body]:
        """The parts of an entry. Raises `Malformed`."""
        head = read_head(entry)
        plain = self.vault.open(entry[_HEAD.size :], place + entry[: _HEAD.size])
        if len(plain) < _BODY.size or plain[0] != _FORMAT:
            raise Malformed("an entry is of another format")
        _, replication, key, writer, length, subnet = _BODY.unpack_from(plain)
        is_brief, replication = divmod(replication, _BRIEF)
        value = plain[_BODY.size :]
        body = Body(
            id_from_bytes(key), replication, value, id_from_bytes(writer), subnet[:length], bool(is_brief)
        )
        return head, body
