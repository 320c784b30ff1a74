import hashlib
from itertools import permutations

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.keyspace import hash_id
from dht14.storage.record import CLOCK_TOLERANCE, Kind, Record, next_version, version_at

NOW = 1_700_000_000.0
VALUES = [b"a", b"b", b"c"]
KEY = hash_id(VALUES[0])
records = st.builds(
    Record, st.just(KEY), st.sampled_from(VALUES), st.integers(0, 3), st.just(NOW + 60), st.just(8)
)


class RecordTests(SynchronousTestCase):
    record = Record(5, b"value", 7, NOW + 60, 8)

    def test_kind(self) -> None:
        """A record whose key is the hash of its value is content; any other is open."""
        self.assertIs(self.record.kind, Kind.OPEN)
        self.assertIs(evolve(self.record, key=hash_id(b"value")).kind, Kind.CONTENT)
        self.assertIs(evolve(self.record, key=hash_id(b"value") ^ 1).kind, Kind.OPEN)

    def test_rank(self) -> None:
        """Content is above all; of two others the later wins, and of the same moment the greater hash."""
        content = Record(KEY, VALUES[0], 0, NOW, 8)
        late, later = Record(KEY, b"b", 8, NOW, 8), Record(KEY, b"b", 9, NOW, 8)
        self.assertLess(late.rank, later.rank)
        self.assertLess(later.rank, content.rank)
        twin = Record(KEY, b"c", 8, NOW, 8)
        self.assertEqual(late.rank < twin.rank, hashlib.sha256(b"b").digest() < hashlib.sha256(b"c").digest())

    def test_content_has_no_versions(self) -> None:
        """Nobody can outrank content with itself by claiming a later version."""
        content = Record(KEY, VALUES[0], 0, NOW, 8)
        self.assertEqual(content.rank, evolve(content, version=1 << 62).rank)

    @settings(derandomize=True, deadline=None)
    @given(st.lists(records, min_size=3, max_size=3))
    def test_total_order(self, three: list[Record]) -> None:
        """Any two records of a key are ordered, and only what is the same value ranks the same: all orders of
        merging end at the same one."""
        winners = {max(order, key=lambda record: record.rank).value for order in permutations(three)}
        self.assertEqual(len(winners), 1)
        for a, b in permutations(three, 2):
            if a.rank == b.rank:
                self.assertEqual(a.value, b.value)

    def test_remaining(self) -> None:
        """What remains is in whole milliseconds, rounded down: a copy never lives longer for having travelled."""
        self.assertEqual(self.record.remaining_ms(NOW), 60_000)
        self.assertEqual(self.record.remaining_ms(NOW + 59.9996), 0)
        self.assertLessEqual(self.record.remaining_ms(NOW + 60), 0)
        self.assertLess(self.record.remaining_ms(NOW + 70), 0)

    def test_value_is_not_shown(self) -> None:
        """The value is not in the text of a record, which may end in a log."""
        self.assertNotIn("value", repr(self.record).replace("value=", ""))


class VersionsTests(SynchronousTestCase):
    def test_time(self) -> None:
        """A version is the moment in milliseconds, with room to count within one."""
        self.assertEqual(version_at(NOW), 1_700_000_000_000 << 16)
        self.assertLess(version_at(NOW), version_at(NOW + 0.001))

    def test_next(self) -> None:
        """A new version is of now, but above all that was seen: a slow clock overwrites what it has read."""
        self.assertEqual(next_version(NOW, 0), version_at(NOW))
        ahead = version_at(NOW + CLOCK_TOLERANCE)
        self.assertEqual(next_version(NOW, ahead), ahead + 1)
        self.assertEqual(next_version(NOW, version_at(NOW)), version_at(NOW) + 1)
