import json
import os
import stat
import sys
import tempfile
import threading
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

from dht14.cmd.admin_client import AdminClient, UnixHttpConnection
from dht14.cmd.dashboard_server import DashboardServer
from dht14.cmd.keys import parse_key
from tests.cmd.shell import Outcome, run
from tests.process.nodes import TIMEOUT, Twistd, eventually
from tests.process.ports import free_port
from tests.process.test_start import ProcessTestCase

KEY = "greeting"
HEAVY = {"DHT14_SECURITY_DIFFICULTY": "8"}
"""A proof of work that is not found while a test runs."""

LIST_MODULES = (
    "import atexit, sys; from twisted.scripts.twistd import run; "
    "atexit.register(lambda: open('modules', 'w').write(' '.join(sys.modules))); run()"
)


class AdminProcessCase(ProcessTestCase):
    """Real nodes with short paths: that of a Unix socket has at most 107 bytes."""

    def setUp(self) -> None:
        # Removed last, when no node writes into it any more.
        short = tempfile.TemporaryDirectory(prefix="dht14-")
        self.addCleanup(short.cleanup)
        super().setUp()
        self.data_dir = Path(short.name) / "node"
        self.patch(os, "environ", {name: text for name, text in os.environ.items() if "DHT14" not in name})

    @property
    def socket(self) -> Path:
        return self.data_dir / "admin.sock"

    def start(self, *words: str, **options: Any) -> Twistd:
        return self.network.node("--data-dir", str(self.data_dir), *words, **options)

    def command(self, *words: str) -> Outcome:
        """Run a command of `dht14` for the node."""
        return run(*words, "--data-dir", str(self.data_dir))

    def status(self, *words: str) -> dict[str, Any]:
        """Return the state of the node as soon as it answers."""

        def answer() -> Outcome | None:
            outcome = self.command("status", "--json", *words)
            return None if outcome.code else outcome

        content: dict[str, Any] = json.loads(eventually(answer, "the admin surface").out)
        return content


class SocketTests(AdminProcessCase):
    """A node as it is by default: with a socket in its data directory."""

    def ready(self) -> tuple[int, dict[str, Any]]:
        """Ask for /readyz; return status and reasons."""
        connection = UnixHttpConnection(str(self.socket), TIMEOUT)
        try:
            connection.request("GET", "/readyz")
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def test_look_into_network(self) -> None:
        """Every command shows what there is, of a node that has a neighbour and a value."""
        other = self.network.node()
        node = self.start(seeds=(other,)).wait_for_api()
        eventually(lambda: self.status()["joined"], "a contact")
        self.assertEqual(stat.S_IMODE(self.socket.stat().st_mode), 0o600)
        status = self.status()
        self.assertEqual((status["p2p_address"], status["ready"]), (node.address, True))
        self.assertEqual(self.command("status").out.decode().splitlines()[-1], status["advice"])
        key = parse_key(KEY).hex()
        self.assertEqual(run("put", KEY, "hello", "--api-address", f"127.0.0.1:{node.api_port}").code, 0)

        peers = self.command("peers").out.decode().splitlines()
        self.assertEqual([line.split("\t")[1] for line in peers], [other.address])
        self.assertEqual(self.command("table").out.decode().split("\t")[1], "1")
        self.assertEqual(self.command("keys").out.decode().split("\t")[:3], [key, "open", "5"])
        located = self.command("locate", KEY)
        holders = {tuple(line.split("\t")[1:3]) for line in located.out.decode().splitlines()}
        self.assertEqual(
            (located.code, holders), (0, {(one, "holds") for one in (other.address, node.address)})
        )
        walked = self.command("nodes")
        self.assertEqual((walked.code, walked.out.decode().split("\t")[1:3]), (0, [other.address, "yes"]))
        self.assertEqual(self.command("locate", "nothing").code, 1)

    def test_trace(self) -> None:
        """A trace of a stored key is found, in every format; of another it is not."""
        other = self.network.node().wait_for_api()
        node = self.start(seeds=(other,)).wait_for_api()
        eventually(lambda: self.status()["joined"], "a contact")
        self.assertEqual(run("put", KEY, "hello", "--api-address", f"127.0.0.1:{node.api_port}").code, 0)
        trace = json.loads(self.command("trace", KEY, "--json").out)
        self.assertEqual((trace["outcome"], trace["value_bytes"]), ("found", 5))
        text = self.command("trace", KEY, "--format", "text").out.decode()
        self.assertIn("found: 5 bytes", text)
        chrome = json.loads(self.command("trace", KEY, "--format", "chrome").out)
        self.assertIn("get: found", [event["name"] for event in chrome["traceEvents"]])
        missing = self.command("trace", "nothing", "--json")
        self.assertEqual((missing.code, json.loads(missing.out)["error"]), (1, "not_found"))

    def test_served_dashboard(self) -> None:
        """The page of a node with a socket comes through a port, and its events as they happen."""
        self.start()
        self.status()
        server = DashboardServer(AdminClient(str(self.data_dir), None), "token", 0)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            connection = HTTPConnection(*server.at, timeout=TIMEOUT)
            connection.request("GET", "/")
            page = connection.getresponse()
            self.assertIn("default-src 'none'", page.headers["Content-Security-Policy"])
            self.assertIn(b"<html", page.read())
            connection.request("GET", "/v1/events")
            self.assertEqual(connection.getresponse().status, 401)
            connection.close()
            connection.request("GET", "/v1/events", headers={"Authorization": "Bearer token"})
            events = connection.getresponse()
            self.assertEqual(events.headers["Content-Type"], "text/event-stream")
            while events.readline() != b"event: status\n":
                pass
            self.assertIn("advice", json.loads(events.readline().partition(b": ")[2])["status"])
            connection.close()
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def test_log_level(self) -> None:
        """The log level changes at once: a node that was told to be quiet logs its end."""
        node = self.start("--log-level", "critical").wait_for_api()
        self.status()
        self.assertEqual(node.events(), [])
        self.assertEqual(self.command("log-level", "info").out, b"info\n")
        self.assertEqual(node.stop(), 0)
        self.assertTrue(node.events())

    def test_proof_of_work(self) -> None:
        """While a node searches for its proof of work it is not ready, and says so; later it is."""
        node = self.start(environment=HEAVY)
        status = self.status()
        self.assertEqual((status["ready"], status["node_id"]), (False, None))
        self.assertIn("proof of work", status["advice"])
        code, content = self.ready()
        self.assertEqual((code, content["ready"]), (503, False))
        self.assertEqual(self.command("peers").code, 3)
        self.assertEqual(node.stop(), 0)
        self.assertFalse(self.socket.exists())
        node.environment = {}
        node.start()
        self.status()
        eventually(lambda: self.ready() == (200, {"ready": True, "reasons": []}), "a ready node")

    def test_stale_socket(self) -> None:
        """A node that was killed leaves its socket; the next one takes its place."""
        node = self.start().wait_for_api()
        self.status()
        node.kill()
        self.assertTrue(self.socket.is_socket())
        outcome = self.command("status")
        self.assertEqual(outcome.code, 3)
        self.assertIn("no node runs in", outcome.error)
        node.start().wait_for_api()
        self.assertEqual(self.status()["p2p_address"], node.address)

    def test_none(self) -> None:
        """A node without admin surface makes no socket and imports nothing of twisted.web."""
        program = (sys.executable, "-c", LIST_MODULES)
        loaded = []
        for words, extra in (("none", {"DHT14_NODE_ADMIN_ADDRESS": "none"}), ("unix", {})):
            node = self.start(environment=extra, program=program).wait_for_api()
            if words == "none":
                self.assertFalse(self.socket.exists())
                self.assertEqual(self.command("status").code, 3)
                eventually(lambda: "has no socket admin.sock" in self.command("status").error, "the state")
            self.assertEqual(node.stop(), 0)
            modules = (node.folder / "modules").read_text().split()
            loaded.append([name for name in modules if name.startswith("twisted.web")])
        self.assertEqual(loaded[0], [])
        self.assertIn("twisted.web.server", loaded[1])


class AddressTests(AdminProcessCase):
    """A node whose admin surface is at HOST:PORT."""

    def setUp(self) -> None:
        super().setUp()
        self.port = free_port()
        address = f"127.0.0.1:{self.port}"
        self.words = ("--admin-address", address)
        self.node = self.start(environment={"DHT14_NODE_ADMIN_ADDRESS": address}).wait_for_api()
        self.status(*self.words)

    def ask(self, path: str) -> HTTPResponse:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)
        self.addCleanup(connection.close)
        connection.request("GET", path)
        return connection.getresponse()

    def test_token(self) -> None:
        """The commands find the token; without it, or with another, exit code 3."""
        token_file = self.data_dir / "admin.token"
        self.assertEqual(stat.S_IMODE(token_file.stat().st_mode), 0o600)
        self.assertFalse(self.socket.exists())
        self.assertEqual(self.command("keys", *self.words).code, 0)
        self.assertEqual(self.ask("/v1/records").status, 401)
        wrong = self.folder / "wrong"
        wrong.write_text("wrong")
        outcome = self.command("keys", *self.words, "--token-file", str(wrong))
        self.assertEqual(outcome.code, 3)
        self.assertIn("has another token", outcome.error)
        elsewhere = run("keys", *self.words, "--data-dir", str(self.folder))
        self.assertEqual(elsewhere.code, 3)
        self.assertIn("asks for its token", elsewhere.error)
        # What names no key needs none.
        self.assertEqual(run("status", *self.words, "--data-dir", str(self.folder)).code, 0)

    def test_dashboard(self) -> None:
        """The link leads to the page of the node itself."""
        outcome = self.command("dashboard", *self.words)
        token = (self.data_dir / "admin.token").read_text().strip()
        self.assertEqual(outcome.out.decode(), f"http://127.0.0.1:{self.port}/#token={token}\n")
        self.assertIn(b"<html", self.ask("/").read())

    def test_found(self) -> None:
        """A command finds the address in the data directory alone."""
        self.assertEqual(self.command("status").code, 0)
