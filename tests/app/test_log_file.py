import os
import resource
import signal
import stat
from pathlib import Path

from twisted.logger import Logger, LogPublisher
from twisted.trial.unittest import SynchronousTestCase

from dht14.app import logs
from dht14.app.log_file import LogFile
from dht14.app.options import LogFormat, LogLevel


class LogFileTests(SynchronousTestCase):
    """A file that other programs move, truncate and remove."""

    def setUp(self):
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.path = self.folder / "log"

    def open(self, max_bytes: int = 1000, old_files: int = 3) -> LogFile:
        file = LogFile(str(self.path), max_bytes, old_files)
        self.addCleanup(file.close)
        return file

    def names(self) -> list[str]:
        return sorted(os.listdir(self.folder))

    def test_appends(self):
        """The lines of an earlier run stay; only the owner can read the file."""
        self.open().write("one\n")
        self.open().write("two\n")
        self.assertEqual(self.path.read_text(), "one\ntwo\n")
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)

    def test_emptied(self):
        """After the file was copied and truncated (copytruncate) it has no NULs."""
        file = self.open()
        file.write("before\n")
        os.truncate(self.path, 0)
        file.write("after\n")
        self.assertEqual(self.path.read_bytes(), b"after\n")

    def test_reopen(self):
        """After `reopen` a moved file is not written any more; a file at the path is appended to."""
        file = self.open()
        file.write("one\n")
        os.rename(self.path, self.folder / "moved")
        self.path.write_text("theirs\n")
        file.reopen()
        file.write("two\n")
        self.assertEqual((self.folder / "moved").read_text(), "one\n")
        self.assertEqual(self.path.read_text(), "theirs\ntwo\n")

    def test_rotate(self):
        """The newest old file is .1, and their number is limited."""
        file = self.open()
        for number in range(5):
            file.write(f"{number}\n")
            file.rotate()
        self.assertEqual(self.names(), ["log", "log.1", "log.2", "log.3"])
        self.assertEqual((self.folder / "log.1").read_text(), "4\n")

    def test_rotate_what_was_moved(self):
        """If the file was moved or removed, a new one is made at the path and no other is changed."""
        file = self.open()
        for leave in (lambda: os.rename(self.path, self.folder / "x"), self.path.unlink):
            file.write("one\n")
            leave()
            file.rotate()
            file.write("two\n")
            self.assertEqual(self.path.read_text(), "two\n")
        self.assertEqual(self.names(), ["log", "x"])

    def test_by_size(self):
        """A file that has reached its limit is rotated before the next line; a truncated one is not."""
        file = self.open(max_bytes=20)
        for number in range(4):
            file.write(f"line {number} ...\n")
        self.assertEqual(self.path.read_text(), "line 2 ...\nline 3 ...\n")
        os.truncate(self.path, 0)
        file.write("line 4 ...\n")
        self.assertEqual(self.names(), ["log", "log.1"])

    def test_link(self):
        """If the path is a link, the files are rotated in the folder of the target; the link stays."""
        (self.folder / "far").mkdir()
        self.path.symlink_to("far/real")
        file = self.open()
        file.write("one\n")
        file.rotate()
        file.write("two\n")
        self.assertEqual(self.names(), ["far", "log"])
        self.assertEqual(sorted(os.listdir(self.folder / "far")), ["real", "real.1"])
        self.assertEqual(self.path.read_text(), "two\n")

    def test_device(self):
        """A device or a pipe is written to, and never moved."""
        file = LogFile(os.devnull)
        self.addCleanup(file.close)
        file.rotate()
        file.write("x\n")
        self.assertTrue(stat.S_ISCHR(os.stat(os.devnull).st_mode))

    def test_full_disk(self):
        """Lines that a disk refuses are counted, and their number comes before the next line that it
        accepts."""
        file = self.open()
        publisher = LogPublisher(
            logs.ProcessLog.to(file, LogFormat.TEXT, logs.LogThreshold(LogLevel.INFO)).observer
        )
        log = Logger(namespace="tests", observer=publisher)
        log.info("one")
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        self.addCleanup(signal.signal, signal.SIGXFSZ, signal.signal(signal.SIGXFSZ, signal.SIG_IGN))
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.path.stat().st_size + 3, hard))
        try:
            log.info("two")
            log.info("three")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        log.info("four")
        lines = self.path.read_text().splitlines()
        self.assertEqual(len(lines), 4)
        self.assertTrue(lines[0].endswith("one") and lines[3].endswith("four"), lines)
        self.assertIn("[error] Lines of this log that could not be written: 2.", lines[2])
