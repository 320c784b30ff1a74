import json
import os
import socket
import tempfile
import threading
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from dht14.app.data_dir import DataDir
from dht14.app.state_file import StateFile
from dht14.cmd import wait
from dht14.records.receipt import NoRecord
from dht14.wire.api_messages import encode_failure, encode_no_record, encode_success
from tests.cmd.admin_server import AdminServer
from tests.cmd.api_server import ApiServer
from tests.cmd.shell import Outcome, run
from tests.process.ports import free_port


class WaitTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(os, "environ", {name: text for name, text in os.environ.items() if "DHT14" not in name})
        self.patch(wait, "POLL_INTERVAL", 0.01)


class ReadyTests(WaitTestCase):
    """`dht14 wait`, at the API."""

    def wait(self, address: str, *words: str) -> Outcome:
        return run("wait", "--api-address", address, *words)

    def test_ready(self) -> None:
        """A node that answers, whatever it finds, is ready; so is one that does not know our extension."""
        for answer in (
            lambda r: encode_no_record(r.key, NoRecord.NOT_FOUND),
            lambda r: encode_success(r.key, b"v"),
        ):
            with ApiServer(answer) as node:
                self.assertEqual(self.wait(node.address), (0, b"ready\n", ""))
        with ApiServer(lambda r: encode_failure(r.key), extended=False) as node:
            self.assertEqual(self.wait(node.address), (0, b"ready\n", ""))

    def test_becomes_ready(self) -> None:
        """It asks again until the node is ready, each time for another key."""
        answers = [NoRecord.NOT_READY, NoRecord.NOT_READY, NoRecord.UNANSWERED]
        with ApiServer(lambda r: encode_no_record(r.key, answers.pop(0))) as node:
            self.assertEqual(self.wait(node.address).code, 0)
        self.assertEqual(len({request.key for request in node.requests}), 3)

    def test_begins_late(self) -> None:
        """It waits for a node that does not listen yet."""
        port = free_port()

        def begin() -> None:
            time.sleep(0.1)
            with socket.create_server(("127.0.0.1", port)) as late:
                connection, _ = late.accept()
                with connection:
                    request = connection.recv(100)
                    connection.sendall(encode_no_record(request[4:36], NoRecord.NOT_FOUND))

        thread = threading.Thread(target=begin)
        thread.start()
        outcome = self.wait(f"127.0.0.1:{port}", "--json")
        thread.join()
        self.assertEqual((outcome.code, json.loads(outcome.out)["ready"]), (0, True))

    def test_time_over(self) -> None:
        """After the timeout: exit code 3, and one line with what is missing."""
        self.patch(wait, "POLL_INTERVAL", 10)  # The last answer has as long to come.
        nobody = f"127.0.0.1:{free_port()}"
        outcome = self.wait(nobody, "--timeout", "0.05")
        self.assertEqual((outcome.code, outcome.out, outcome.error.count("\n")), (3, b"", 1))
        self.assertIn(f"no node at {nobody}", outcome.error)
        with ApiServer(lambda r: encode_no_record(r.key, NoRecord.NOT_READY)) as node:
            outcome = self.wait(node.address, "--timeout", "0.05", "--json")
        self.assertEqual(outcome.code, 3)
        printed = json.loads(outcome.out)
        self.assertEqual(printed["error"], "timeout")
        self.assertIn("mines its node id", printed["missing"])

    def test_silent(self) -> None:
        """It does not wait for a silent node longer than the timeout."""
        with socket.create_server(("127.0.0.1", 0)) as silent:
            began = time.monotonic()
            outcome = self.wait(f"127.0.0.1:{silent.getsockname()[1]}", "--timeout", "0.2")
        self.assertEqual(outcome.code, 3)
        self.assertLess(time.monotonic() - began, 5)

    def test_wrong_usage(self) -> None:
        """An unknown goal is wrong usage; a wrong configuration is 78."""
        for words in (("--timeout", "abc"), ("--timeout", "-1"), ("--for", "ever"), ("k",)):
            self.assertEqual(run("wait", *words).code, 2)
        self.assertEqual(run("wait", "--api-address", "nonsense").code, 78)


class DirectoryTestCase(WaitTestCase):
    def setUp(self) -> None:
        super().setUp()
        # The path of a Unix socket must be short; that of a test is not.
        folder = tempfile.TemporaryDirectory(prefix="dht14-")
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, "data")
        self.data_dir = DataDir.open(self.path)
        self.addCleanup(self.data_dir.close)
        self.state = StateFile(self.data_dir)

    def wait(self, what: str, *words: str) -> Outcome:
        return run("wait", "--for", what, "--data-dir", self.path, "--timeout", "0.05", *words)

    def assert_missing(self, outcome: Outcome, missing: str) -> None:
        self.assertEqual((outcome.code, outcome.out, outcome.error.count("\n")), (3, b"", 1))
        self.assertIn(missing, outcome.error)


class DirectoryTests(DirectoryTestCase):
    """`dht14 wait --for joined` and `--for values`, at the data directory."""

    def test_joined(self) -> None:
        """A node has joined while others answer it, whatever else it waits for."""
        unknown = f"no node runs in {self.path}; name its directory with --data-dir"
        self.assert_missing(self.wait("joined"), unknown)
        self.state.write(["join"], False)
        self.assert_missing(self.wait("joined"), "no other node answers it")
        self.state.write(["identity", "join"], False)
        self.assert_missing(self.wait("joined"), "it mines its node id")
        self.state.write(["values"], True)
        self.assertEqual(self.wait("joined"), (0, b"joined\n", ""))

    def test_values(self) -> None:
        """The values are open when the node does not wait for them any more."""
        self.state.write(["identity", "join", "values"], False)
        self.assert_missing(self.wait("values"), "it mines its node id and it opens its values")
        self.state.write(["join"], False)
        self.assertEqual(self.wait("values"), (0, b"values\n", ""))

    def test_ready(self) -> None:
        """A node that is named by its directory alone is judged there, whatever listens at the default
        address."""
        self.assert_missing(self.wait("ready"), f"no node runs in {self.path}")
        self.state.write(["values"], True)
        self.assert_missing(self.wait("ready"), "it opens its values")
        self.state.write([], False)
        self.assertEqual(self.wait("ready"), (0, b"ready\n", ""))

    def test_bootstrap_node(self) -> None:
        """A bootstrap node, which has no API, is ready when it waits for nothing."""
        role = ("--role", "bootstrap_node")
        self.state.write(["join"], False)
        self.assert_missing(self.wait("ready", *role), "it joins its network")
        self.state.write([], False)
        self.assertEqual(self.wait("ready", *role).code, 0)

    def test_found_by_configuration(self) -> None:
        """The directory comes from the configuration, as for the node."""
        self.state.write([], True)
        config = Path(self.mktemp())
        config.write_text(f"[node]\ndata_dir = {self.path}\n[security]\nencryption_key = file:nowhere\n")
        self.assertEqual(run("wait", "--for", "joined", "--config", str(config)).code, 0)
        os.environ["DHT14_NODE_DATA_DIR"] = self.path
        self.assertEqual(run("wait", "--for", "joined").code, 0)


class SurfaceTests(DirectoryTestCase):
    """A process whose state file has the awaited state must answer at its admin surface, too."""

    def setUp(self) -> None:
        super().setUp()
        self.state.write([], True)

    def test_answers(self) -> None:
        """Any answer shows that the node runs."""
        for answer in ("ok", (503, {"error": "busy", "hint": ""}), (401, {"error": "who", "hint": ""})):
            with AdminServer(self.path, {"/healthz": answer}) as server:
                self.assertEqual(self.wait("joined"), (0, b"joined\n", ""))
            self.assertEqual(server.paths, ["/healthz"])
            os.unlink(os.path.join(self.path, "admin.sock"))

    def test_suspended(self) -> None:
        """A node that was stopped with SIGSTOP accepts connections, as far as its queue goes, and is
        silent."""
        with socket.socket(socket.AF_UNIX) as suspended:
            suspended.bind(os.path.join(self.path, "admin.sock"))
            suspended.listen(1)
            for _ in range(4):
                self.assert_missing(self.wait("joined"), "it is suspended or overloaded")
            self.assert_missing(self.wait("values"), "accepts no connection: it is suspended")

    def test_suspended_at_port(self) -> None:
        """The same is true of a surface at HOST:PORT, which the state file names."""
        with socket.create_server(("127.0.0.1", 0)) as suspended:
            address = f"127.0.0.1:{suspended.getsockname()[1]}"
            StateFile(self.data_dir, address).write([], True)
            self.assert_missing(self.wait("joined"), f"the node at {address} did not answer")
        self.assert_missing(self.wait("joined"), f"no admin surface at {address}")

    def test_other_process(self) -> None:
        """Another process can have the number of a killed node. The socket, which refuses, shows that."""
        with AdminServer(self.path, {}):
            pass
        self.assert_missing(self.wait("joined"), f"no node runs in {self.path}")
