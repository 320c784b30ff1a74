from twisted.trial.unittest import SynchronousTestCase

from dht14.records.kept import KeptEntry, KeptState, page_of
from dht14.records.record import Record
from dht14.sim.memory_kept import MemoryKept

NOW = 1_700_000_000.0


class MemoryKeptTests(SynchronousTestCase):
    def test_list(self) -> None:
        """It keeps, lists and forgets as the list of the database does."""
        kept, results = MemoryKept(), list[bool]()
        for key in (3, 1, 2):
            record = Record(key=key, value=b"v", version=1, expires_at=NOW + 60, replication=8)
            kept.put(KeptEntry.of(record, 60, 8, NOW, 0.5), b"v", results.append)
        first = page_of(kept, b"", 2)
        assert first.mark is not None
        self.assertEqual([entry.key for entry in first.entries], [1, 2])
        self.assertEqual([entry.key for entry in page_of(kept, first.mark, 2).entries], [3])
        one = first.entries[0]
        kept.put(one.stopped(KeptState.DELETED, NOW), None, results.append)
        self.assertIsNone(kept.value(one))
        self.assertEqual(kept.value(first.entries[1]), b"v")
        kept.remove(1, results.append)
        kept.remove(1, results.append)
        self.assertIsNone(kept.get(1))
        self.assertEqual((kept.usage().entries, results), (2, [True] * 6))
