import random

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from dht14.database.entry_format import (
    SLOT_BYTES,
    EntryBody,
    EntryFormat,
    EntryHeader,
    distance_class,
    pack_expiry,
    read_header,
    read_tags,
    unpack_expiry,
)
from dht14.errors import Malformed
from dht14.kademlia.keyspace import id_to_bytes
from dht14.records.record import SUBNET_BYTES, Record
from tests.database.disk import record, vault

IDS = st.integers(0, 2**256 - 1)


class EntryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.format = EntryFormat(vault(), 0)

    @settings(derandomize=True, deadline=None)
    @given(
        IDS,
        st.binary(min_size=1, max_size=1000),
        st.integers(0, 2**64 - 1),
        st.floats(1e9, 1e11),
        st.integers(1, 20),
        IDS,
        st.binary(max_size=SUBNET_BYTES),
    )
    def test_round_trip(
        self, key: int, value: bytes, version: int, expires_at: float, copies: int, writer: int, subnet: bytes
    ) -> None:
        """A record comes back unchanged, with the exact expiry, its writer and its subnet."""
        entry_format = EntryFormat(vault(), 77)
        one = Record(
            key=key,
            value=value,
            version=version,
            expires_at=expires_at,
            replication=copies,
            writer=writer,
            writer_subnet=subnet,
        )
        slot = entry_format.slot(key)
        entry = entry_format.write(slot, one)
        read = entry_format.read(slot, entry)
        self.assertEqual((read, read.writer, read.writer_subnet), (one, writer, subnet))
        self.assertEqual(read_tags(entry), tuple(map(entry_format.tag, one.parties)))
        self.assertEqual(read_header(entry), EntryHeader(version, expires_at))

    def test_bound(self) -> None:
        """No entry opens in another slot or with another header, and no bit of it can be changed."""
        slot, other = self.format.slot(5), self.format.slot(6)
        entry = self.format.write(slot, record(5))
        self.assertRaises(Malformed, self.format.read, other, entry)
        for n in range(len(entry)):
            self.assertRaises(Malformed, self.format.read, slot, entry[:n])
            changed = entry[:n] + bytes([entry[n] ^ 1]) + entry[n + 1 :]
            self.assertRaises(Malformed, self.format.read, slot, changed)

    def test_floor_is_no_record(self) -> None:
        """A floor that was moved among the records is not read as a record."""
        slot = self.format.slot(5)
        floor = self.format.seal(slot, EntryHeader(1, 2.0), EntryBody(5, 0, b""))
        self.assertEqual(self.format.open(slot, floor), (EntryHeader(1, 2.0), EntryBody(5, 0, b"")))
        self.assertRaises(Malformed, self.format.read, slot, floor)

    def test_other_format(self) -> None:
        """An entry of a later format is refused, not misread."""
        slot = self.format.slot(5)
        head = self.format.write(slot, record(5))[:40]
        sealed = self.format.vault.seal(b"\x03" + bytes(90), slot + head)
        self.assertRaises(Malformed, self.format.read, slot, head + sealed)

    def test_nothing_in_clear(self) -> None:
        """Neither key, value nor writer can be seen, in the slot or in the entry."""
        key, writer = (random.Random(seed).getrandbits(256) for seed in (1, 2))
        slot = self.format.slot(key)
        seen = slot + self.format.write(slot, record(key, b"plain" * 20, writer=writer))
        self.assertNotIn(b"plain", seen)
        for hidden in (key, writer):
            self.assertFalse(any(id_to_bytes(hidden)[n : n + 3] in seen for n in range(29)))

    def test_tag(self) -> None:
        """All entries of a party have one tag in one database, and another one elsewhere; an unknown party
        has none."""
        entries = [
            self.format.write(self.format.slot(key), evolve(record(key, writer=7), writer_subnet=b"abc"))
            for key in (1, 2)
        ]
        self.assertEqual({read_tags(entry) for entry in entries}, {self.format.tags(7, b"abc")})
        elsewhere = EntryFormat(vault(salt=b"t" * 32), 0)
        tags = [self.format.tags(7, b"abc"), self.format.tags(8, b"abcdef"), elsewhere.tags(7, b"abc")]
        self.assertEqual([len(each) for each in tags], [2, 3, 2])
        self.assertEqual(len({tag for each in tags for tag in each}), 7)
        self.assertEqual(read_tags(self.format.write(self.format.slot(1), record(1))), ())


class PlaceTests(SynchronousTestCase):
    def test_size(self) -> None:
        """A slot has its size, at both ends of the key space, too."""
        self.assertEqual({len(EntryFormat(vault(), 0).slot(key)) for key in (0, 1, 2**256 - 1)}, {SLOT_BYTES})

    @settings(derandomize=True, deadline=None)
    @given(IDS, IDS)
    def test_distance_class(self, one: int, other: int) -> None:
        """A distance that is smaller by more than one part in 128 has a lower class; the order is never
        reversed."""
        near, far = sorted((one, other))
        self.assertLessEqual(distance_class(near), distance_class(far))
        if far > near + near // 64:
            self.assertLess(distance_class(near), distance_class(far))

    def test_farthest_last(self) -> None:
        """Slots sort by the distance from the origin."""
        entry_format = EntryFormat(vault(), 0xFF << 248)
        keys = [0xFF << 248, 0xFE << 248, 0xF0 << 248, 0]
        slots = [entry_format.slot(key) for key in keys]
        self.assertEqual(slots, sorted(slots))


class TimeTests(SynchronousTestCase):
    @settings(derandomize=True, deadline=None)
    @given(st.floats(0, 1e12), st.floats(0, 1e12))
    def test_order(self, one: float, other: float) -> None:
        """Entries of a time index sort as their times do, and contain them exactly."""
        entries = [pack_expiry(time, b"p" * SLOT_BYTES) for time in sorted((one, other))]
        self.assertEqual(entries, sorted(entries))
        self.assertEqual(
            [unpack_expiry(entry) for entry in entries], [(t, b"p" * 16) for t in sorted((one, other))]
        )
