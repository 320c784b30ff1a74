import os
import resource
import shutil

from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from dht14.app.data_dir import DataDir, trouble_at
from dht14.app.disk_monitor import DiskMonitor

FULL = OSError(28, "No space left on device")


class DiskMonitorTests(SynchronousTestCase):
    """What is logged, and what other processes can see."""

    def setUp(self) -> None:
        self.data_dir = DataDir.open(self.mktemp())
        self.addCleanup(self.data_dir.close)
        self.monitor = DiskMonitor(self.data_dir)

    def is_working(self) -> bool:
        return not trouble_at(self.data_dir.path)

    def test_from_start_to_end(self) -> None:
        """A node works as soon as its database is open, whatever an earlier run left behind."""
        self.data_dir.show_working(True)
        self.monitor.begin()
        self.assertFalse(self.is_working())
        self.monitor.opened(0)
        self.assertTrue(self.is_working())

    def test_values(self) -> None:
        """A database that cannot be written is logged once, and once when it can; meanwhile the node does
        not work."""
        self.monitor.opened(0)
        with capturedLogs() as events:
            self.monitor.writing_failed("why")
            self.monitor.writing_failed("why")
            self.assertFalse(self.is_working())
            self.monitor.writing_resumed()
        self.assertEqual([event["log_level"].name for event in events], ["error", "info"])
        self.assertTrue(self.is_working())

    def test_full_store(self) -> None:
        """A store that is full by its limit counts as working: neither a restart nor another disk would
        help."""
        self.monitor.opened(0)
        with capturedLogs() as events:
            self.monitor.store_full(7)
            self.assertTrue(self.is_working())
            self.monitor.space_available()
            self.monitor.share_used_up(3)
        self.assertEqual([event["log_level"].name for event in events], ["warn", "info", "warn"])

    def test_directory(self) -> None:
        """A missing data directory is logged once, whatever notices it first, and once when it is back."""
        self.monitor.opened(0)
        away = self.data_dir.path + "-away"
        for first in (
            self.monitor.inspect,
            lambda: self.monitor.writing_failed("why"),
            lambda: self.monitor.contacts_failed(FULL),
        ):
            os.rename(self.data_dir.path, away)
            with capturedLogs() as events:
                first()
                for _ in range(2):
                    self.monitor.inspect()
                    self.monitor.writing_failed("why")
                    self.monitor.contacts_failed(FULL)
                self.assertFalse(self.is_working())
                os.mkdir(self.data_dir.path)
                self.monitor.inspect()
                os.rmdir(self.data_dir.path)
                os.rename(away, self.data_dir.path)
                self.monitor.inspect()
            self.assertEqual([event["log_level"].name for event in events], ["error", "info"])
            self.assertTrue(self.is_working())
        shutil.rmtree(self.data_dir.path)
        self.monitor.inspect()
        self.assertFalse(self.is_working())

    def test_descriptors(self) -> None:
        """A lack of file descriptors is logged once, whatever notices it first, and once when it is over."""
        self.monitor.opened(0)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        for first in (
            self.monitor.inspect,
            lambda: self.monitor.contacts_failed(OSError(24, "Too many open files")),
        ):
            with capturedLogs() as events:
                resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
                first()
                self.monitor.inspect()
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                self.monitor.inspect()
                self.monitor.inspect()
            self.assertEqual([event["log_level"].name for event in events], ["error", "info"])

    def test_contacts(self) -> None:
        """Contacts that cannot be saved are logged once, and once when they can; the node still counts as
        working."""
        self.monitor.opened(0)
        with capturedLogs() as events:
            for _ in range(3):
                self.monitor.contacts_failed(FULL)
            self.assertTrue(self.is_working())
            self.monitor.contacts_saved()
            self.monitor.contacts_saved()
        self.assertEqual([event["log_level"].name for event in events], ["error", "info"])
