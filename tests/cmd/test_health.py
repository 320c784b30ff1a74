import json
import os
import socket
import threading
import typing
from collections.abc import Callable
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from dht14.app.data_dir import DataDir
from dht14.app.state_file import StateFile
from dht14.cmd import health
from dht14.kademlia.parameters import MAX_DATAGRAM
from dht14.session.handshake import CHALLENGE, HELLO, HELLO_BYTES
from tests.cmd.api_server import ApiServer
from tests.cmd.shell import Outcome, run
from tests.process.ports import free_port

HEALTHY = (0, b"healthy\n", "")


@typing.final
class P2pServer:
    """A P2P port: one thread that answers each HELLO with what `answer` makes of its connection id."""

    def __init__(self, answer: Callable[[bytes], bytes] = lambda cid: CHALLENGE + cid + bytes(172)) -> None:
        self._answer = answer
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> "P2pServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.sendto(b"", self._socket.getsockname())
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            datagram, address = self._socket.recvfrom(MAX_DATAGRAM)
            if not datagram:
                return
            assert datagram[:1] == HELLO and len(datagram) == HELLO_BYTES
            self._socket.sendto(self._answer(datagram[1:9]), address)


class HealthTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(os, "environ", {name: text for name, text in os.environ.items() if "DHT14" not in name})
        self.data_dir = DataDir.open(self.mktemp())
        self.addCleanup(self.data_dir.close)
        self.data_dir.show_working(True)
        os.environ["DHT14_NODE_DATA_DIR"] = self.data_dir.path

    def ask(self, p2p: str, api: str, *words: str) -> Outcome:
        return run("health", "--p2p-address", p2p, "--api-address", api, *words)

    def test_node(self) -> None:
        """A node that answers at both ports is healthy, whether or not it finds the key."""
        with P2pServer() as p2p, ApiServer() as api:
            self.assertEqual(self.ask(p2p.address, api.address), HEALTHY)
            self.assertEqual(self.ask(p2p.address, api.address), HEALTHY)
        first, second = api.requests
        self.assertNotEqual(first.key, second.key)

    def test_bootstrap_node(self) -> None:
        """A bootstrap node needs no API."""
        with P2pServer() as p2p:
            outcome = self.ask(p2p.address, f"127.0.0.1:{free_port()}", "--role", "bootstrap_node")
        self.assertEqual(outcome, HEALTHY)

    def test_json(self) -> None:
        """--json reports how long each answer took."""
        with P2pServer() as p2p, ApiServer() as api:
            answer = json.loads(self.ask(p2p.address, api.address, "--json").out)
        self.assertEqual(set(answer), {"healthy", "p2p_seconds", "api_seconds", "disk"})
        self.assertIs(answer["healthy"], True)

    def test_disk(self) -> None:
        """A node that answers but cannot keep values is not healthy; nor is one with another directory."""
        with P2pServer() as p2p, ApiServer() as api:
            for path in (self.mktemp(), self.data_dir.path):
                self.data_dir.show_working(False)
                code, out, error = self.ask(p2p.address, api.address, "--data-dir", path)
                self.assertEqual((code, out, len(error.splitlines())), (3, b"", 1))
                self.assertIn(path, error)
            self.data_dir.show_working(True)
            self.assertEqual(self.ask(p2p.address, api.address), HEALTHY)

    def test_disk_of_somebody_else(self) -> None:
        """A user who may not look into the data directory gets the rest."""

        def refuses(path: str) -> str:
            raise PermissionError

        self.patch(health, "trouble_at", refuses)
        with P2pServer() as p2p, ApiServer() as api:
            self.assertEqual(json.loads(self.ask(p2p.address, api.address, "--json").out)["disk"], "unknown")

    def test_nobody_there(self) -> None:
        """If nothing listens at one of the ports: exit code 3, and a line that names the port."""
        nobody = f"127.0.0.1:{free_port()}"
        with P2pServer() as p2p, ApiServer() as api:
            for addresses in ((nobody, api.address), (p2p.address, nobody)):
                code, out, error = self.ask(*addresses)
                self.assertEqual((code, out), (3, b""))
                self.assertEqual(len(error.splitlines()), 1)
                self.assertIn(nobody.rpartition(":")[2], error)

    def test_starting(self) -> None:
        """Of a node that searches for its id, which answers nobody, the error says so."""
        state = StateFile(self.data_dir)
        for awaited, said in (["identity", "join"], "mines its node id"), (["join"], "no node at"):
            state.write(awaited, False)
            code, out, error = self.ask(f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}")
            self.assertEqual((code, out, len(error.splitlines())), (3, b"", 1))
            self.assertIn(said, error)

    def test_other_answers(self) -> None:
        """A datagram that does not answer the HELLO is no sign of health."""
        self.patch(health, "HELLO_TIMEOUT", 0.01)
        for answer in (lambda cid: CHALLENGE + bytes(180), lambda cid: CHALLENGE + cid):
            with P2pServer(answer) as p2p, ApiServer() as api:
                self.assertEqual(self.ask(p2p.address, api.address).code, 3)

    def test_late_answers(self) -> None:
        """A slow node whose answer comes after the next HELLO is healthy."""
        answers = [b"nothing yet"]

        def answer_before(cid: bytes) -> bytes:
            answers.append(CHALLENGE + cid + bytes(172))
            return answers[-2]

        with P2pServer(answer_before) as p2p, ApiServer() as api:
            self.assertEqual(self.ask(p2p.address, api.address), HEALTHY)

    def test_addresses(self) -> None:
        """Addresses come from file and environment; an unspecified one is asked on loopback."""
        with P2pServer() as p2p, ApiServer() as api:
            file = Path(self.mktemp())
            file.write_text(f"[node]\np2p_address = 0.0.0.0:{p2p.port}\napi_address = 127.0.0.1:1\n")
            os.environ["DHT14_NODE_API_ADDRESS"] = f"0.0.0.0:{api.port}"
            self.assertEqual(run("health", "--config", str(file)), HEALTHY)

    def test_wrong_configuration(self) -> None:
        """A configuration that the node would refuse ends with 78."""
        os.environ["DHT14_NODE_API_ADDRES"] = "127.0.0.1:7400"
        code, out, error = run("health")
        self.assertEqual((code, out), (78, b""))
        self.assertIn("did you mean", error)
