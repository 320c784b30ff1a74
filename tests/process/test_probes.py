"""What probes and scrapers see of real nodes."""

import http.client
import json
import signal
from pathlib import Path

from attrs import frozen

from tests.process.nodes import Twistd, eventually
from tests.process.ports import free_port
from tests.process.test_start import ProcessTestCase


@frozen
class Admin:
    """A client of one admin surface."""

    node: Twistd
    port: int

    def ask(self, path: str, token: str | None = None) -> tuple[int, bytes]:
        """Return the status and the body of the answer to a GET."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    @property
    def folder(self) -> Path:
        """The data directory."""
        return self.node.folder / "data" / "node"

    def is_ready(self) -> bool:
        """Whether /readyz says so; /healthz must be content at any time."""
        assert self.ask("/healthz")[0] == 200
        status, body = self.ask("/readyz")
        assert (status == 200) == json.loads(body)["ready"] == (not json.loads(body)["reasons"])
        return status == 200


class ProbeTests(ProcessTestCase):
    def test_frozen_peers(self) -> None:
        """A node is ready when it has joined, not while all its peers are frozen, and again afterwards."""
        first = self.network.bootstrap_node()
        port = free_port()
        node = self.network.node(
            seeds=(first,), environment={"DHT14_NODE_ADMIN_ADDRESS": f"127.0.0.1:{port}"}
        )
        others = [first, *(self.network.node(seeds=(first,)) for _ in range(3))]
        for one in (node, *others[1:]):
            one.wait_for("Joined")
        admin = Admin(node, port)
        eventually(admin.is_ready, "readiness")
        eventually(lambda: json.loads(admin.ask("/v1/status")[1])["contacts"] == len(others), "the contacts")
        for other in others:
            other.process.send_signal(signal.SIGSTOP)
        eventually(lambda: not admin.is_ready(), "the notice that nobody answers")
        self.assertIn("cut off", json.loads(admin.ask("/readyz")[1])["reasons"][0])
        for other in others:
            other.process.send_signal(signal.SIGCONT)
        eventually(admin.is_ready, "readiness")
        eventually(lambda: json.loads(admin.ask("/v1/status")[1])["joined"], "contact")

    def test_before_it_joined(self) -> None:
        """While a node searches for its proof of work it is healthy, and not ready."""
        port = free_port()
        address = {"DHT14_NODE_ADMIN_ADDRESS": f"127.0.0.1:{port}"}
        node = self.network.node(environment={"DHT14_SECURITY_DIFFICULTY": "8", **address})
        node.wait_for("Searching")
        admin = Admin(node, port)
        self.assertFalse(admin.is_ready())
        self.assertEqual(json.loads(admin.ask("/v1/status")[1])["phase"], "searching")
        self.assertEqual(admin.ask("/v1/peers")[0], 503)
        self.assertIn(b"dht14_ready 0\n", admin.ask("/metrics")[1])
        self.assertEqual(node.stop(), 0)


class SurfaceTests(ProcessTestCase):
    def test_token(self) -> None:
        """Over TCP state needs no token, and values need the one in the data directory."""
        port = free_port()
        node = self.network.node(environment={"DHT14_NODE_ADMIN_ADDRESS": f"127.0.0.1:{port}"})
        node.wait_for("Admin surface")
        admin = Admin(node, port)
        eventually(admin.is_ready, "readiness")
        self.assertEqual(admin.ask("/v1/status")[0], 200)
        self.assertEqual(admin.ask("/v1/values/k")[0], 401)
        token = (admin.folder / "admin.token").read_text().strip()
        self.assertEqual(admin.ask("/v1/values/k", token)[0], 404)

    def test_none(self) -> None:
        """With `none` there is neither a socket nor a token."""
        node = self.network.node(environment={"DHT14_NODE_ADMIN_ADDRESS": "none"}).wait_for_api()
        folder = Admin(node, 0).folder
        self.assertFalse((folder / "admin.sock").exists())
        self.assertFalse((folder / "admin.token").exists())
