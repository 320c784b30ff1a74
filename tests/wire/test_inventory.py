from twisted.trial.unittest import SynchronousTestCase

from dht14.errors import Malformed
from dht14.wire.inventory import MAX_ENTRIES, MAX_TTL_SECONDS, pack_entries, unpack_entries
from dht14.wire.messages import InventoryEntry

ENTRY = InventoryEntry(7, b"markmark", MAX_TTL_SECONDS, 20)


class InventoryEntriesTests(SynchronousTestCase):
    def test_numbers(self) -> None:
        """One entry to MAX_ENTRIES of them come back as they were."""
        for count in (1, 2, MAX_ENTRIES):
            entries = (*(count - 1) * (InventoryEntry(8, bytes(8), 0, 1),), ENTRY)
            self.assertEqual(unpack_entries(pack_entries(entries)), entries)

    def test_malformed(self) -> None:
        """No entries, too many, half a one, and fields out of their range are refused."""
        good = pack_entries((ENTRY,))
        for bad in (
            b"",
            good[:-1],
            good + b"\x00",
            good * (MAX_ENTRIES + 1),
            good[:-1] + b"\x00",
            good[:-1] + b"\x15",
            good[:-5] + b"\x00\x09\x3a\x81\x14",
        ):
            self.assertRaises(Malformed, unpack_entries, bad)
