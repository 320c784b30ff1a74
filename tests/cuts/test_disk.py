"""The model of a disk. It must be at least as unkind as a real one."""

import random

from twisted.trial.unittest import SynchronousTestCase

from tests.cuts.disk import CUTS, SECTOR, Change, Cut, Disk, Op, changes

TOP = "/top"
FILE, FOLDER = 7, 8
NOTHING, EVERYTHING = Cut(0.0, 0.0), Cut(1.0, 1.0)
OLD, NEW = b"o" * 2 * SECTOR, b"n" * 2 * SECTOR


def write(data: bytes, offset: int = 0, flushed: bool = False) -> Change:
    return Change(Op.WRITE, inode=FILE, data=data, offset=offset, is_flushed=flushed)


class DiskTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.disk = Disk(TOP, {".": (1, None), "file": (FILE, OLD)})

    def play(self, *played: Change) -> None:
        for change in played:
            self.disk.play(change)

    def left(self, cut: Cut) -> dict[str, bytes | None]:
        return self.disk.left_by(cut, random.Random(1))

    def any_left(self, cut: Cut, runs: int = 200) -> set[bytes | None]:
        """What a cut may leave of the file."""
        return {self.disk.left_by(cut, random.Random(seed)).get("file") for seed in range(runs)}

    def test_unflushed(self) -> None:
        """What was not flushed may be there or not, by sectors."""
        self.play(write(NEW))
        self.assertEqual(self.left(NOTHING), {"file": OLD})
        self.assertEqual(self.left(EVERYTHING), {"file": NEW})
        half = {first * SECTOR + second * SECTOR for first in (b"o", b"n") for second in (b"o", b"n")}
        self.assertEqual(self.any_left(Cut(0.5, 1.0)), half)
        self.assertEqual(self.any_left(Cut(0.5, 1.0, sector=4096)), {OLD, NEW})

    def test_flushed(self) -> None:
        """What was flushed is there."""
        self.play(write(NEW), Change(Op.FLUSH, inode=FILE))
        for cut in CUTS:
            self.assertEqual(self.left(cut), {"file": NEW})
        self.assertTrue(self.disk.is_certain())

    def test_versions(self) -> None:
        """A sector has any of the contents that it had since the flush."""
        self.play(write(b"1" * SECTOR), write(b"2" * SECTOR))
        found = {content[:1] for content in self.any_left(Cut(0.5, 1.0)) if content}
        self.assertEqual(found, {b"o", b"1", b"2"})

    def test_flushed_write(self) -> None:
        """A write that is flushed by itself is there, with its sector; nothing else is for certain."""
        self.play(write(NEW[:SECTOR], SECTOR), write(b"m", 3, flushed=True))
        self.assertEqual(self.left(NOTHING), {"file": b"ooom" + OLD[4:]})
        self.play(write(b"k", SECTOR, flushed=True))
        self.assertEqual(self.left(NOTHING)["file"], b"ooom" + OLD[4:SECTOR] + b"k" + NEW[1:SECTOR])

    def test_size(self) -> None:
        """A file can be longer than what is written in it: with zeros, or with anything."""
        self.play(write(NEW, 2 * SECTOR))
        self.assertEqual(self.any_left(NOTHING), {OLD, OLD + bytes(2 * SECTOR)})
        self.assertIn(
            len(OLD + NEW), {len(content or b"") for content in self.any_left(Cut(0, 0, stale=True))}
        )
        self.assertGreater(len(self.any_left(Cut(0.0, 0.0, stale=True))), 50)

    def test_truncated(self) -> None:
        """A file that was cut off, as `open` does before it writes, can be empty or as before."""
        self.play(Change(Op.TRUNCATE, inode=FILE))
        self.assertEqual(self.any_left(Cut(0.5, 1.0)), {OLD, b""})

    def test_names(self) -> None:
        """A name is there when its folder was flushed; the flush of a file is not enough."""
        self.play(Change(Op.CREATE, path=f"{TOP}/file.new", inode=9))
        self.play(Change(Op.WRITE, inode=9, data=NEW), Change(Op.FLUSH, inode=9))
        self.play(Change(Op.RENAME, path=f"{TOP}/file.new", other=f"{TOP}/file"))
        self.assertEqual(self.left(NOTHING), {"file": OLD})
        self.assertEqual(self.left(EVERYTHING), {"file": NEW})
        self.assertEqual(self.any_left(Cut(1.0, 0.5)), {OLD, NEW})
        self.play(Change(Op.FLUSH, inode=1))
        self.assertEqual(self.left(NOTHING), {"file": NEW})

    def test_folders(self) -> None:
        """What is in a folder is gone with its name."""
        self.play(Change(Op.MAKE_FOLDER, path=f"{TOP}/folder", inode=FOLDER))
        self.play(Change(Op.CREATE, path=f"{TOP}/folder/in it", inode=9))
        self.play(Change(Op.FLUSH, inode=FOLDER))
        self.assertEqual(self.left(NOTHING), {"file": OLD})
        self.play(Change(Op.FLUSH, inode=1))
        self.assertEqual(self.left(NOTHING), {"file": OLD, "folder": None, "folder/in it": b""})

    def test_mapped(self) -> None:
        """A file that is written through memory holds anything."""
        self.play(Change(Op.MAP, inode=FILE))
        self.assertGreater(len(self.any_left(NOTHING)), 50)

    def test_log(self) -> None:
        """The log is read as it was written; a call that it cannot describe is an error."""
        written = [write(NEW, 5, flushed=True), Change(Op.RENAME, path="/a", other="/bc"), Change(Op.MARK)]
        self.assertEqual(list(changes(b"".join(change.pack() for change in written))), written)
        self.assertRaises(AssertionError, self.disk.play, Change(Op.UNKNOWN, path="fallocate"))
