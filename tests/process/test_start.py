import os
import shutil
import signal
import socket
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.app.test_config import OLDER_FILE
from tests.process.nodes import Network, Twistd, eventually, run_twistd
from tests.process.ports import free_port

KEY = bytes(range(32))
UNRESOLVABLE = "[bootstrap]\none = no-such-host.invalid:8000\n"


class ProcessTestCase(SynchronousTestCase):
    """Real processes in a folder of this test, all ended with it."""

    def setUp(self):
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.network = Network(self.folder)
        self.addCleanup(self.network.stop)

    def file(self, text: str) -> str:
        path = self.folder / "config.ini"
        path.write_text(text)
        return str(path)

    def read(self, name: str) -> str:
        return (self.folder / name).read_text()


class RefusedStartTests(ProcessTestCase):
    """Starts that fail: the exit code tells why, and a line tells the cure."""

    def refused(self, code: int, *words: str, extra: dict[str, str] | None = None) -> str:
        """stderr of a start that ends with this code, in the foreground and as a daemon alike."""
        seen = set()
        for flags in (["-n"], []):
            done = run_twistd(*flags, *words, folder=self.folder, extra=extra)
            self.assertEqual(done.returncode, code, done.stderr)
            self.assertEqual(done.stdout, "")
            self.assertTrue(1 <= len(done.stderr.splitlines()) <= 3, done.stderr)
            self.assertNotIn("Traceback", done.stderr)
            seen.add(done.stderr)
        (stderr,) = seen
        return stderr

    def test_configuration(self):
        """A wrong configuration is exit 78, and nothing was made."""
        secret = "not-to-be-shown"
        path = self.file(f"[security]\nencryption_key = {secret}\n")
        for plugin in ("dht14", "dht14-bootstrap"):
            stderr = self.refused(78, plugin, "--config", path)
            self.assertIn("[security] encryption_key", stderr)
            self.assertNotIn(secret, stderr)
        self.refused(78, "dht14", "--config", str(self.folder / "missing"))
        self.assertIn("DHT14_NODE_X", self.refused(78, "dht14", extra={"DHT14_NODE_X": "1"}))
        self.assertEqual(os.listdir(self.folder), ["config.ini"])

    def test_data_dir_unusable(self):
        """A data directory that cannot be one is exit 78."""
        self.assertIn("[node] data_dir", self.refused(78, "dht14", "--data-dir", self.file("")))

    def test_damaged_identity(self):
        """A damaged identity is exit 78, and stays as it is."""
        identity = self.folder / "d" / "identity.pem"
        identity.parent.mkdir()
        identity.write_text("damaged")
        self.assertIn(str(identity), self.refused(78, "dht14", "--data-dir", "d"))
        self.assertEqual(identity.read_text(), "damaged")

    def test_data_dir_in_use(self):
        """A second node in one data directory is exit 75; the first never notices."""
        first = self.network.node().wait_for_api()
        first.wait_for("No peer reachable")
        data_dir = first.folder / "data" / "node"
        before = sorted(os.listdir(data_dir))
        stderr = self.refused(
            75, "dht14", "--data-dir", str(data_dir), "--p2p-address", f"127.0.0.1:{free_port()}"
        )
        self.assertIn("[node] data_dir", stderr)
        self.assertEqual(sorted(os.listdir(data_dir)), before)
        with first.client() as client:
            self.assertIsNone(client.get(KEY))

    def test_address_in_use(self):
        """An address that is taken, or not of this host, is exit 69 under the option's name."""
        free, udp_free = (f"127.0.0.1:{free_port()}" for _ in range(2))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
            udp.bind(("127.0.0.1", 0))
            tcp.bind(("127.0.0.1", 0))
            tcp.listen()
            taken, tcp_taken = (f"127.0.0.1:{taken.getsockname()[1]}" for taken in (udp, tcp))
            for p2p, api, option in (
                (taken, free, "p2p_address"),
                (udp_free, tcp_taken, "api_address"),
                ("192.0.2.1:9", free, "p2p_address"),
                (udp_free, "no-such-host.invalid:9", "api_address"),
            ):
                stderr = self.refused(69, "dht14", "--p2p-address", p2p, "--api-address", api)
                self.assertIn(f"[node] {option}", stderr)

    def test_wrong_usage(self):
        """A mistyped option is exit 78, and the line names the nearest."""
        self.assertIn("did you mean --p2p-address?", self.refused(78, "dht14", "--p2p-adress", "127.0.0.1:1"))

    def test_another_user(self):
        """Where the user that twistd becomes may not make the data directory, root does not make it
        either."""
        if os.geteuid():
            raise SkipTest("only root may become another user")
        self.folder.chmod(0o755)
        stderr = self.refused(78, "--uid", "nobody", "--gid", "nogroup", "dht14")
        self.assertIn("[node] data_dir", stderr)
        self.assertEqual(os.listdir(self.folder), [])

    def test_options_of_twistd(self):
        """What twistd would end with a traceback for is exit 78 too."""
        for option in ("--rundir", "--pidfile"):
            self.assertIn(option, self.refused(78, option, "/nowhere/x", "dht14"))


class StartTests(ProcessTestCase):
    """Starts that succeed."""

    def test_signals(self):
        """SIGTERM and SIGINT end a node with exit 0 and without a word on stderr; so they end a bootstrap
        node."""
        for start in (self.network.node, self.network.bootstrap_node):
            for number in (signal.SIGTERM, signal.SIGINT):
                twistd = start()
                twistd.wait_for("Listening on")
                self.assertEqual(twistd.kill(number), 0)
                self.assertEqual(twistd.stderr(), "")

    def test_no_core(self):
        """The memory of a node, with its keys in it, is written to no file when it crashes."""
        node = self.network.node()
        node.wait_for("Listening on")
        limits = Path(f"/proc/{node.process.pid}/limits").read_text()
        self.assertRegex(limits, r"Max core file size +0 +0 ")

    def test_json_log(self):
        """With --log-format json every line is an object, twistd's own included."""
        node = self.network.node()
        node.wait_for("API listening")
        node.stop()
        templates = [event["template"] for event in node.events()]
        self.assertTrue(any(template.startswith("twistd") for template in templates), templates)
        self.assertTrue(any("API listening" in template for template in templates), templates)

    def test_precedence(self):
        """Options go before the environment, that before the file."""
        ports = [free_port() for _ in range(3)]
        path = self.file(
            f"[node]\napi_address = 127.0.0.1:{ports[0]}\np2p_address = 127.0.0.1:{ports[0]}\n"
            "data_dir = from-file\n"
        )
        node = Twistd(
            self.folder,
            (
                "-n",
                "dht14",
                "--config",
                path,
                "--p2p-address",
                f"127.0.0.1:{ports[2]}",
                "--log-format",
                "json",
            ),
            ports[2],
            ports[1],
            {f"DHT14_NODE_{name}_ADDRESS": f"127.0.0.1:{ports[1]}" for name in ("API", "P2P")},
        )
        self.network.processes.append(node.start())
        self.assertEqual(node.wait_for("as {role}")["port"], ports[2])
        self.assertEqual(node.wait_for("API listening")["port"], ports[1])
        self.assertTrue((self.folder / "from-file" / "identity.pem").exists())

    def test_older_file(self):
        """With the older implementation's file a node starts, though its seeds have no address, and
        serves."""
        node = self.network.node("--config", self.file(OLDER_FILE)).wait_for_api()
        with node.client() as client:
            self.assertTrue(client.put(KEY, b"value"))
            self.assertEqual(client.get(KEY), b"value")
        node.wait_for("No peer reachable")
        node.stop()
        self.assertTrue(any("published sample" in event["template"] for event in node.events()))
        self.assertNotIn("12345678901234567890", (node.folder / "stdout").read_text())

    def test_identity_kept(self):
        """A node that is killed and started again is the same node."""
        node = self.network.node().wait_for_api()
        pem = (node.folder / "data" / "node" / "identity.pem").read_bytes()
        self.assertEqual(node.kill(), -signal.SIGKILL)
        node.start().wait_for_api()
        self.assertEqual((node.folder / "data" / "node" / "identity.pem").read_bytes(), pem)

    def test_late_seed(self):
        """A node that began alone, its seeds without addresses or dead, joins once one of them is there."""
        late = self.network.bootstrap_node()
        late.kill()
        node = self.network.node(
            environment={"DHT14_BOOTSTRAP_A": "no-such-host.invalid:1", "DHT14_BOOTSTRAP_B": late.address}
        )
        node.wait_for("No peer reachable")
        late.start()
        node.wait_for("Joined")

    def test_joins(self):
        """What is put at one node is found at another that joined through the same bootstrap node."""
        seed = self.network.bootstrap_node()
        one, two = (self.network.node(seeds=(seed,)) for _ in range(2))
        for node in (one, two):
            node.wait_for("Joined")
        with one.wait_for_api().client() as client:
            self.assertTrue(client.put(KEY, b"value"))
        with two.wait_for_api().client() as client:
            self.assertEqual(client.get(KEY), b"value")

    def test_one_directory(self):
        """A node and a bootstrap node with one file run side by side in one directory."""
        path = self.file(UNRESOLVABLE)
        ports = [free_port() for _ in range(3)]
        common = ("--config", path, "--log-format", "json", "--p2p-address")
        for plugin, words in (
            ("dht14", ("--api-address", f"127.0.0.1:{ports[2]}")),
            ("dht14-bootstrap", ()),
        ):
            port = ports.pop(0)
            twistd = Twistd(self.folder, ("-n", plugin, *common, f"127.0.0.1:{port}", *words), port, None)
            self.network.processes.append(twistd.start())
        eventually(lambda: self.read("stdout").count("as {role}, node id") == 2, "both of them")
        self.assertEqual([twistd.process.poll() for twistd in self.network.processes], [None, None])
        self.assertEqual(sorted(os.listdir(self.folder / "data")), ["bootstrap", "node"])
        self.assertEqual(list(self.folder.glob("*.pid")), [])

    def test_two_with_one_identity(self):
        """Two nodes with one identity, which know nothing of each other, tell so; each once."""
        seed = self.network.bootstrap_node()
        first = self.network.node(seeds=(seed,))
        first.wait_for("Joined")
        sockets = shutil.ignore_patterns("admin.sock")
        shutil.copytree(first.folder / "data", self.folder / "copy", ignore=sockets)
        second = self.network.node("--data-dir", str(self.folder / "copy" / "node"), seeds=(seed,))
        for node, other in ((first, second), (second, first)):
            event = node.wait_for("Duplicate identity")
            self.assertEqual((event["host"], event["port"]), other.at)
        seed.wait_for("Listening on")
        self.assertFalse(any("Duplicate identity" in event["template"] for event in seed.events()))
