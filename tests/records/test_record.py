import hashlib
from itertools import permutations

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from dht14.errors import Malformed
from dht14.kademlia.keyspace import hash_id
from dht14.records.envelope import MAX_SEQ
from dht14.records.record import Kind, Record, proven, version_at
from tests.owners import Owner

NOW = 1_700_000_000.0
VALUES = [b"a", b"b", b"c"]
KEY = hash_id(VALUES[0])
records = st.builds(
    Record,
    key=st.just(KEY),
    value=st.sampled_from(VALUES),
    version=st.integers(0, 3),
    expires_at=st.just(NOW + 60),
    replication=st.just(8),
)


class RecordTests(SynchronousTestCase):
    record = Record(key=5, value=b"value", version=7, expires_at=NOW + 60, replication=8)

    def test_writer(self) -> None:
        """The writer is no part of a record: copies are equal, and none outranks the other."""
        copy = evolve(self.record, writer=77)
        self.assertEqual((copy, copy.rank), (self.record, self.record.rank))

    def test_kind(self) -> None:
        """A record whose key is the hash of its value is content; any other is open."""
        self.assertIs(self.record.kind, Kind.OPEN)
        self.assertIs(evolve(self.record, key=hash_id(b"value")).kind, Kind.CONTENT)
        self.assertIs(evolve(self.record, key=hash_id(b"value") ^ 1).kind, Kind.OPEN)

    def test_rank(self) -> None:
        """Content is above all; of two others the later wins, and of the same version the greater hash."""
        content = Record(key=KEY, value=VALUES[0], version=0, expires_at=NOW, replication=8)
        late, later = (
            Record(key=KEY, value=b"b", version=8, expires_at=NOW, replication=8),
            Record(key=KEY, value=b"b", version=9, expires_at=NOW, replication=8),
        )
        self.assertLess(late.rank, later.rank)
        self.assertLess(later.rank, content.rank)
        twin = Record(key=KEY, value=b"c", version=8, expires_at=NOW, replication=8)
        self.assertEqual(late.rank < twin.rank, hashlib.sha256(b"b").digest() < hashlib.sha256(b"c").digest())

    def test_content_has_no_versions(self) -> None:
        """Nobody can outrank content with itself by claiming a later version."""
        content = Record(key=KEY, value=VALUES[0], version=0, expires_at=NOW, replication=8)
        self.assertEqual(content.rank, evolve(content, version=1 << 62).rank)

    @settings(derandomize=True, deadline=None)
    @given(st.lists(records, min_size=3, max_size=3))
    def test_total_order(self, three: list[Record]) -> None:
        """All records of a key are ordered, and only equal values have the same rank: every order of
        merging ends with the same record."""
        winners = {max(order, key=lambda record: record.rank).value for order in permutations(three)}
        self.assertEqual(len(winners), 1)
        for a, b in permutations(three, 2):
            if a.rank == b.rank:
                self.assertEqual(a.value, b.value)

    def test_remaining(self) -> None:
        """The remaining time is in whole milliseconds, rounded down: a copy never lives longer because it
        was sent."""
        self.assertEqual(self.record.remaining_ms(NOW), 60_000)
        self.assertEqual(self.record.remaining_ms(NOW + 59.9996), 0)
        self.assertLessEqual(self.record.remaining_ms(NOW + 60), 0)
        self.assertLess(self.record.remaining_ms(NOW + 70), 0)

    def test_value_is_not_shown(self) -> None:
        """The text of a record, which may be logged, does not contain the value."""
        self.assertNotIn("value", repr(self.record).replace("value=", ""))


class ContentTests(SynchronousTestCase):
    """The version of content."""

    def test_authentic(self) -> None:
        """Content is authentic only with version 0; a value that may hash to an owner's key is no content."""
        name = b"dht14/own" + bytes(32)
        for value, version, authentic in (
            (b"v", 0, True),
            (b"v", 1, False),
            (name, 1, True),
            (name, 0, True),
        ):
            record = Record(
                key=hash_id(value), value=value, version=version, expires_at=NOW + 60, replication=8
            )
            self.assertEqual(record.is_authentic, authentic)


class OwnerRecordTests(SynchronousTestCase):
    """Records of owners."""

    owner = Owner(1)
    record = owner.record(b"payload", 7, NOW + 60)

    def test_kind(self) -> None:
        """An envelope is an owner's record under any key; its rank is between open and content."""
        self.assertIs(self.record.kind, Kind.OWNER)
        self.assertIs(evolve(self.record, key=hash_id(self.record.value)).kind, Kind.OWNER)
        open_one = Record(
            key=self.record.key, value=b"squatter", version=version_at(NOW), expires_at=NOW, replication=8
        )
        self.assertLess(open_one.rank, self.owner.record(b"first", 1, NOW).rank)
        self.assertLess(
            self.owner.record(b"last", MAX_SEQ, NOW).rank,
            Record(key=KEY, value=VALUES[0], version=0, expires_at=NOW, replication=8).rank,
        )

    def test_order(self) -> None:
        """The greater sequence number wins, also of tombstones, and of the same number the greater hash."""
        older, newer = self.owner.record(b"older", 7, NOW), self.owner.record(b"", 8, NOW)
        self.assertLess(older.rank, newer.rank)
        twin = self.owner.record(b"twin", 7, NOW)
        digests = [hashlib.sha256(one.value).digest() for one in (older, twin)]
        self.assertEqual(older.rank < twin.rank, digests[0] < digests[1])

    def test_authentic(self) -> None:
        """A record is authentic only under its own key, signed, and with the signed number."""
        self.assertTrue(self.record.is_authentic)
        self.assertTrue(Record(key=5, value=b"open", version=7, expires_at=NOW, replication=8).is_authentic)
        value = self.record.value
        for flawed in (
            evolve(self.record, version=8),
            evolve(self.record, version=0),
            evolve(self.record, key=5),
            evolve(self.record, key=hash_id(value)),
            evolve(self.record, key=Owner(1, b"other salt").key),
            evolve(self.record, value=value[:-1] + b"?"),
            evolve(self.record, value=value[:40]),
            evolve(self.record, value=b"DHT14OWN"),
        ):
            self.assertFalse(flawed.is_authentic, flawed)

    def test_proven(self) -> None:
        """A client's envelope gets its sequence number as version; one that is not authentic is Malformed."""
        self.assertEqual(proven(evolve(self.record, version=0)), self.record)
        self.assertRaises(Malformed, proven, evolve(self.record, key=5))
        self.assertRaises(Malformed, proven, evolve(self.record, value=self.record.value + b"?"))

    def test_tombstone(self) -> None:
        """A record without payload is a tombstone."""
        self.assertTrue(self.owner.record(b"", 8, NOW).is_tombstone)
        self.assertFalse(self.record.is_tombstone)
        self.assertFalse(Record(key=5, value=b"open", version=7, expires_at=NOW, replication=8).is_tombstone)

    def test_name_of_owner(self) -> None:
        """Putting the value whose hash is an owner's key does not displace the owner's records."""
        name = b"dht14/own" + self.owner.private_key.public_key().public_bytes_raw()
        self.assertEqual(hash_id(name), self.owner.key)
        squatter = Record(
            key=self.owner.key, value=name, version=version_at(NOW), expires_at=NOW + 60, replication=8
        )
        self.assertIs(squatter.kind, Kind.OPEN)
        self.assertLess(squatter.rank, self.record.rank)

    def test_conflicts(self) -> None:
        """A new record conflicts with one that is newer, or newer than the one that it must replace."""
        held = self.owner.record(b"held", 7, NOW)
        for seq, cas, conflict in (
            (6, None, True),
            (7, None, True),
            (8, None, False),
            (8, 7, False),
            (9, 8, False),  # the holder has missed 8
            (8, 6, True),
            (9, 0, True),
        ):
            new = self.owner.record(b"new", seq, NOW, cas)
            self.assertEqual(new.conflicts_with(held), conflict, (seq, cas))
        self.assertFalse(held.conflicts_with(held), "the same once more")
        squatter = Record(
            key=held.key, value=b"squatter", version=version_at(NOW), expires_at=NOW, replication=8
        )
        self.assertFalse(held.conflicts_with(squatter))
        self.assertFalse(squatter.conflicts_with(held), "the order is enough for those")


class VersionsTests(SynchronousTestCase):
    def test_time(self) -> None:
        """A version is the time in milliseconds, with a counter within one."""
        self.assertEqual(version_at(NOW), 1_700_000_000_000 << 16)
        self.assertLess(version_at(NOW), version_at(NOW + 0.001))
