import os
import random
from pathlib import Path

import lmdb
from twisted.trial.unittest import SynchronousTestCase

from dht14.database.file_check import DAMAGED, SOUND, UNREADABLE, verify_file


class CheckTests(SynchronousTestCase):
    """A file of a few hundred pages, written in many transactions."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        rng = random.Random(1)
        env = lmdb.open(str(self.path), subdir=False, map_size=64 << 20)
        for _ in range(50):
            with env.begin(write=True) as txn:
                for _ in range(9):
                    txn.put(rng.randbytes(16), rng.randbytes(rng.choice([100, 5000])))
        env.close()

    def test_sound(self) -> None:
        """A file that LMDB has written is sound, closed or not."""
        self.assertEqual(verify_file(str(self.path)), SOUND)

    def test_cut_off(self) -> None:
        """A file without its end is damaged, and so is one that is no database."""
        whole = self.path.read_bytes()
        for size in (0, 1, 4096, 8192, len(whole) // 2, len(whole) - 4096):
            self.path.write_bytes(whole[:size])
            self.assertEqual(verify_file(str(self.path)), DAMAGED, size)
        self.path.write_bytes(os.urandom(len(whole)))
        self.assertEqual(verify_file(str(self.path)), DAMAGED)

    def test_unreadable(self) -> None:
        """A file that cannot be read has an exit code of its own: that does not show damage."""
        self.assertEqual(verify_file(str(self.path) + "-not"), UNREADABLE)
        self.assertEqual(verify_file("/"), UNREADABLE)

    def test_never_raises(self) -> None:
        """Whatever is changed in the file, the check ends with one of its exit codes."""
        whole = bytearray(self.path.read_bytes())
        rng = random.Random(2)
        for _ in range(100):
            damaged = bytearray(whole)
            for _ in range(rng.randint(1, 20)):
                damaged[rng.randrange(len(damaged))] = rng.randrange(256)
            self.path.write_bytes(damaged)
            self.assertIn(verify_file(str(self.path)), (SOUND, DAMAGED))
