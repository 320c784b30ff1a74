"""Failing disks, limits and directories under real processes: logged once, and once at the end."""

import resource
import shutil
import socket
import subprocess
import time
from collections.abc import Callable

from twisted.trial.unittest import SkipTest

from tests.process.daemons import DaemonTestCase
from tests.process.nodes import DHT14, Twistd, eventually, run_program, run_twistd
from tests.process.ports import free_port
from tests.process.test_start import ProcessTestCase

DISK_FULL = 28


def health(node: Twistd, *words: str) -> int:
    """Return the exit code of `dht14 health` for this node."""
    addresses = ("--p2p-address", node.address, "--api-address", f"127.0.0.1:{node.api_port}")
    words = (*DHT14, "health", *addresses, *words)
    return run_program(*words, folder=node.folder, extra=node.environment).returncode


def troubles(node: Twistd) -> list[str]:
    """Return the templates that it logged at error and above."""
    return [event["template"] for event in node.events() if event["level"] in ("error", "critical")]


class RunningTests(ProcessTestCase):
    """A node that is running at the failure."""

    def test_directory_removed(self):
        """No PUT is acknowledged when the directory was removed; one line says so, and the node is
        unhealthy."""
        node = self.network.node().wait_for_api()
        node.wait_for("Database opened")
        with node.client() as client:
            self.assertTrue(client.put(bytes(32), b"value"))
            self.assertEqual(health(node), 0)
            shutil.rmtree(node.folder / "data")
            self.assertFalse(client.put(bytes([1]) * 32, b"value"))
            self.assertEqual(client.get(bytes(32)), b"value")
            self.assertFalse(client.put(bytes(32), b"value"))
            self.assertEqual(health(node), 3)
        node.wait_for("The data directory {path} was removed")
        time.sleep(2)  # Contacts are saved every 1.5 s.
        self.assertEqual(node.stop(), 0)
        self.assertEqual(len(troubles(node)), 1, troubles(node))
        self.assertFalse((node.folder / "data").exists())

    def test_directory_removed_unnoticed(self):
        """The node detects it without a put."""
        node = self.network.node().wait_for_api()
        node.wait_for("Database opened")
        (node.folder / "data" / "node" / "values").rename(node.folder / "moved")
        node.wait_for("database cannot be written")
        self.assertEqual(health(node), 3)

    def limited(self, limit: int, most: int, has_failed: Callable[[Twistd], object], over: str) -> Twistd:
        """A node meets another one while a limit keeps it from saving contacts, and saves them later."""
        node = self.network.node().wait_for_api()
        node.wait_for("node id {node_id}")
        soft, hard = resource.prlimit(node.process.pid, limit)
        resource.prlimit(node.process.pid, limit, (most, hard))
        other = self.network.node(seeds=(node,))
        other.wait_for("Joined")
        for _ in range(20):
            socket.create_connection(("127.0.0.1", node.api_port or 0)).close()
        eventually(lambda: has_failed(node), "the failure")
        resource.prlimit(node.process.pid, limit, (soft, hard))
        node.wait_for(over)
        self.assertEqual(node.stop(), 0)
        self.assertEqual(node.stderr(), "")
        return node

    def test_no_room_for_contacts(self):
        """When no file may grow the node continues; one line says how much of its log was lost."""
        half = "data/node/contacts.new"
        node = self.limited(
            resource.RLIMIT_FSIZE,
            10,
            lambda node: (node.folder / half).exists(),
            "Contacts can be saved again",
        )
        (lost,) = (event["lost"] for event in node.events() if event["level"] == "error")
        self.assertLess(lost, 10)

    def test_no_descriptors(self):
        """Without descriptors the contacts, and all else that needs one, are logged once."""
        node = self.limited(resource.RLIMIT_NOFILE, 3, troubles, "Files can be opened again")
        self.assertEqual(len(troubles(node)), 1, troubles(node))
        self.assertLess(len(node.events()), 40)

    def test_too_little_memory(self):
        """When the limit of the store cannot be mapped the line names it, and the node is unhealthy."""
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (8 << 30, hard))
        try:
            node = self.network.node(environment={"DHT14_STORAGE_STORAGE_LIMIT": "64G"})
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        event = node.wait_for("database cannot be written")
        self.assertIn("[storage] storage_limit", event["reason"])
        node.wait_for("node id {node_id}")
        self.assertEqual(health(node), 3)
        self.assertEqual(len(troubles(node)), 1)


class FullDiskTests(DaemonTestCase):
    """A start on a full disk."""

    def setUp(self):
        super().setUp()
        mounted = ["mount", "-t", "tmpfs", "-o", "size=4M", "none", str(self.folder)]
        if subprocess.run(mounted, capture_output=True, check=False).returncode:
            raise SkipTest("only root may mount")
        self.addCleanup(lambda: subprocess.run(["umount", "--lazy", str(self.folder)], check=True))

    def fill(self) -> None:
        with open(self.folder / "ballast", "wb", buffering=0) as file:
            while file.write(bytes(4096)) == 4096:
                pass

    def fill_to_the_end(self) -> None:
        try:
            self.fill()
        except OSError as full:
            self.assertEqual(full.errno, DISK_FULL)

    def test_daemon(self):
        """A daemon, and a first start of any kind, ends with 78 and a line; later it starts."""
        self.start().end()
        self.fill_to_the_end()
        ports = (f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}")
        words = ("dht14", "--p2p-address", ports[0], "--api-address", ports[1])
        for flags in ((), ("-n",)):
            data_dir = ("--data-dir", "another") if flags else ()
            done = run_twistd(*flags, *words, *data_dir, folder=self.folder)
            self.assertEqual((done.returncode, len(done.stderr.splitlines())), (78, 1), done.stderr)
            self.assertIn("[node] data_dir", done.stderr)
            self.assertIn("No space left", done.stderr)
        (self.folder / "ballast").unlink()
        daemon = self.start()
        eventually(daemon.is_alive, "a daemon")
