"""How a record lies in the database: where, and as which bytes. Format 1.

Where: `distance u16 | keyed hash 14`. The first is the distance from the database's origin, the id of its
node, to one part in 128: so a full store finds what is farthest at the end, and the files tell of a key no
more than its first bits. The bytes: `version u64 | expires_at f64 | tag 8 | nonce 12 | sealed body`, where
head and place are bound to the body by its seal. The body: `format u8 | replication u8 | key 32 | writer 32 |
value`. The tag is a keyed hash of the writer, zero where none is known: whoever writes the tables can count
what each writer holds without opening anything. The highest bit of the replication tells of a brief record.

A floor, what is remembered of a record that has expired, lies in its own table in the same form: its time
is the one until which it is remembered, and its body has the kind where a record has its replication, and
ends behind the writer.
"""

from struct import Struct
from typing import NamedTuple

from attrs import frozen

from dht14.errors import Malformed
from dht14.kademlia.keyspace import ID_BYTES, id_from_bytes, id_to_bytes
from dht14.storage.record import Record
from dht14.storage.vault import Vault

PLACE_BYTES = 16

TAG_BYTES = 8
NOBODY = bytes(TAG_BYTES)
"""The tag where no writer is known."""

_FORMAT = 1
_HASH_BYTES = 14
_BRIEF = 0x80
_CLASS = Struct(">H")
_HEAD = Struct(f">Qd{TAG_BYTES}s")
_TIME = Struct(">d")
_BODY = Struct(f">BB{ID_BYTES}s{ID_BYTES}s")


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
    """The tag of the writer of an entry. Raises `Malformed`."""
    if len(entry) < _HEAD.size:
        raise Malformed("an entry is cut short")
    return entry[_HEAD.size - TAG_BYTES : _HEAD.size]


@frozen
class DiskFormat:
    """Writes and reads the entries of one database."""

    vault: Vault
    origin: int
    """Distances are measured from here. That it is the node's own id matters for eviction alone."""

    def place(self, key: int) -> bytes:
        """Where the record of a key lies."""
        hidden = self.vault.hide(id_to_bytes(key), _HASH_BYTES)
        return _CLASS.pack(distance_class(key ^ self.origin)) + hidden

    def tag(self, writer: int) -> bytes:
        """What marks the entries of a writer."""
        return self.vault.hide(id_to_bytes(writer), TAG_BYTES) if writer else NOBODY

    def write(self, place: bytes, record: Record) -> bytes:
        """The entry of a record."""
        body = Body(record.key, record.replication, record.value, record.writer, record.is_brief)
        return self.seal(place, Head(record.version, record.expires_at), body)

    def read(self, place: bytes, entry: bytes) -> Record:
        """The record of an entry. Raises `Malformed` where it is damaged or lies in the wrong place."""
        (version, until), (key, replication, value, writer, is_brief) = self.open(place, entry)
        if not value:
            raise Malformed("a floor stands in the place of a record")
        return Record(key, value, version, until, replication, writer, is_brief)

    def seal(self, place: bytes, head: Head, body: Body) -> bytes:
        """An entry of these parts."""
        packed = _HEAD.pack(*head, self.tag(body.writer))
        key, writer = id_to_bytes(body.key), id_to_bytes(body.writer)
        plain = _BODY.pack(_FORMAT, body.replication | _BRIEF * body.is_brief, key, writer) + body.value
        return packed + self.vault.seal(plain, place + packed)

    def open(self, place: bytes, entry: bytes) -> tuple[Head, Body]:
        """The parts of an entry. Raises `Malformed`."""
        head = read_head(entry)
        plain = self.vault.open(entry[_HEAD.size :], place + entry[: _HEAD.size])
        if len(plain) < _BODY.size or plain[0] != _FORMAT:
            raise Malformed("an entry is of another format")
        _, replication, key, writer = _BODY.unpack_from(plain)
        is_brief, replication = divmod(replication, _BRIEF)
        value = plain[_BODY.size :]
        return head, Body(id_from_bytes(key), replication, value, id_from_bytes(writer), bool(is_brief))
