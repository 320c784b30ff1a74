"""What each signal does to a node: docs/operations.md, section 6."""

import os
import signal
import time

from tests.process.daemons import DaemonTestCase
from tests.process.nodes import eventually
from tests.process.test_start import ProcessTestCase

HARMLESS = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE)


class ForegroundTests(ProcessTestCase):
    """A node on a terminal, or below a supervisor."""

    def test_ends(self):
        """SIGTERM, SIGINT and SIGHUP end it with exit 0, once it has handed over what it holds."""
        seed = self.network.node()
        seed.wait_for_api()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            node = self.network.node("--log-level", "info", seeds=(seed,))
            node.wait_for("Joined")
            with node.wait_for_api().client() as client:
                self.assertTrue(client.put(bytes([number]) * 32, b"value", replication=1))
                self.assertTrue(client.put(bytes([255 - number]) * 32, b"value", replication=2))
            self.assertEqual(node.kill(number), 0)
            self.assertEqual(node.stderr(), "")
            templates = [event["template"] for event in node.events()]
            self.assertTrue(any("Values handed over" in template for template in templates), templates)
            with seed.client() as client:
                for key in (bytes([number]) * 32, bytes([255 - number]) * 32):
                    self.assertEqual(client.get(key), b"value")

    def test_harmless(self):
        """SIGUSR1, SIGUSR2 and SIGPIPE change nothing."""
        node = self.network.node().wait_for_api()
        node.wait_for("API listening")
        for number in HARMLESS:
            node.process.send_signal(number)
        with node.client() as client:
            self.assertTrue(client.put(bytes(32), b"value"))
        self.assertEqual(node.stop(), 0)

    def test_early(self):
        """A signal that comes while it starts is answered once it runs, and ends it no other way."""
        node = self.network.node()
        began = time.monotonic()
        eventually((node.folder / "data" / "node" / "lock").exists, "its first step")
        node.process.send_signal(signal.SIGHUP)
        self.assertEqual(node.process.wait(60), 0, f"after {time.monotonic() - began:.1f} s")


class DaemonTests(DaemonTestCase):
    """A node in the background."""

    def test_log_that_was_moved(self):
        """After mv and SIGHUP, or SIGUSR1, the log is at its path again, and nothing goes into the moved
        file."""
        daemon = self.start()
        log = daemon.data_dir / "twistd.log"
        for number, line in ((signal.SIGHUP, "reopened"), (signal.SIGUSR1, "rotated")):
            moved = daemon.data_dir / f"moved-{number}"
            log.rename(moved)
            os.kill(daemon.pid, number)
            eventually(log.exists, "the log at its path")
            daemon.wait_for(line)
            self.assertNotIn(line, moved.read_text())
        daemon.end()
        self.assertEqual(list(daemon.data_dir.glob("twistd.*")), [log])

    def test_rotation(self):
        """SIGUSR1 begins a new file; one that is copied and emptied has no NULs in it afterwards."""
        daemon = self.start()
        os.kill(daemon.pid, signal.SIGUSR1)
        eventually((daemon.data_dir / "twistd.log.1").exists, "the old file")
        daemon.wait_for("The log was")
        os.truncate(daemon.data_dir / "twistd.log", 0)
        os.kill(daemon.pid, signal.SIGHUP)
        daemon.wait_for("reopened")
        self.assertNotIn("\0", daemon.log)

    def test_harmless(self):
        """SIGHUP, SIGUSR2 and SIGPIPE do not end it; it serves on."""
        daemon = self.start()
        for number in (signal.SIGHUP, *HARMLESS):
            os.kill(daemon.pid, number)
        with daemon.client() as client:
            self.assertTrue(client.put(bytes(32), b"value"))
        self.assertTrue(daemon.is_alive())

    def test_ends(self):
        """SIGTERM and SIGINT end it, and its pid file goes with it."""
        for number in (signal.SIGTERM, signal.SIGINT):
            daemon = self.start()
            daemon.wait_for("API listening")
            os.kill(daemon.pid, number)
            eventually(lambda: not daemon.is_alive(), "its end")  # noqa: B023 - called at once
            self.assertFalse((daemon.data_dir / "twistd.pid").exists())
