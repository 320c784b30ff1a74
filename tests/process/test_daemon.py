"""A node in the background."""

import os

from tests.process.daemons import DaemonTestCase

KEY = bytes(range(32))


class DaemonTests(DaemonTestCase):
    """From start to end."""

    def test_life(self):
        """Its log and its pid file are in the data directory, and SIGTERM ends it."""
        daemon = self.start()
        with daemon.client() as client:
            self.assertTrue(client.put(KEY, b"value"))
        self.assertEqual(os.listdir(self.folder), ["data"])
        daemon.end()
        self.assertFalse((self.data_dir / "twistd.pid").exists())
        self.assertIn("API listening", daemon.log)

    def test_stale_pidfile(self):
        """A pid file left by a crash does not block the start, even if another process has that pid now."""
        self.data_dir.mkdir(parents=True)
        (self.data_dir / "twistd.pid").write_text(str(os.getpid()))
        self.assertNotEqual(self.start().pid, os.getpid())
