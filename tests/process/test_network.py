"""Networks of real processes on 127.0.0.1."""

import random
import signal
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from dht14.wire import api_messages
from dht14.wire.api_messages import Success
from tests.process.nodes import Network, Twistd, VoidPhone, eventually

VALUES = 60
GET_TIMEOUT = 2.0
"""Seconds within which a get is answered right after nodes have died."""

JOIN_TIMEOUT = 15.0
"""Seconds within which a node joins once a seed has started."""


class NetworkTestCase(SynchronousTestCase):
    """Processes in a directory of the test, all killed at its end."""

    def setUp(self) -> None:
        self.network = Network(Path(self.mktemp()).absolute())
        self.addCleanup(self.network.stop)
        self.rng = random.Random(14)

    def cluster(self, nodes: int) -> list[Twistd]:
        """Start two bootstrap nodes and `size` nodes; return the nodes when they have joined."""
        return self.network.cluster(nodes)

    def some_values(self, count: int) -> dict[bytes, bytes]:
        """Return values of 1 to 1,000 bytes, the shortest and the longest among them."""
        sizes = [1, 1000, *(self.rng.randint(1, 1000) for _ in range(count - 2))]
        return {self.rng.randbytes(32): self.rng.randbytes(size) for size in sizes}

    def put(self, cluster: list[Twistd], values: dict[bytes, bytes]) -> None:
        """Put each value at a random node."""
        for key, value in values.items():
            with self.rng.choice(cluster).client() as client:
                self.assertTrue(client.put(key, value))

    def assert_found(self, cluster: list[Twistd], values: dict[bytes, bytes]) -> None:
        """Every node finds every value, byte for byte."""
        for node in cluster:
            with node.client() as client:
                self.assertEqual({key: client.get(key) for key in values}, values)


class GrowingTests(NetworkTestCase):
    def test_one_two_three(self) -> None:
        """Networks of one, two and three nodes, without any bootstrap node, keep and find values."""
        cluster: list[Twistd] = []
        values: dict[bytes, bytes] = {}
        for size in (1, 2, 3):
            # Each joins through the one before it.
            node = self.network.node(seeds=tuple(cluster[-1:])).wait_for_api()
            cluster.append(node)
            if size > 1:
                node.wait_for("Joined")
            more = self.some_values(5)
            self.put(cluster, more)
            self.assert_found(cluster, more)
            values |= more
        self.assert_found(cluster, values)


class ClusterTests(NetworkTestCase):
    """Two bootstrap nodes and five nodes."""

    runs_alone = True
    """It measures how long gets take."""

    def test_values(self) -> None:
        """Values put at random nodes are found at all nodes."""
        cluster = self.cluster(5)
        values = self.some_values(VALUES)
        self.put(cluster, values)
        self.assert_found(cluster, values)

    def test_killed(self) -> None:
        """After the sudden death of two of five nodes everything is found, at once."""
        cluster = self.cluster(5)
        values = self.some_values(VALUES)
        self.put(cluster, values)
        for node in (cluster.pop(), cluster.pop()):
            self.assertEqual(node.kill(), -signal.SIGKILL)
        slowest = 0.0
        for key, value in values.items():
            with self.rng.choice(cluster).client() as client:
                began = time.monotonic()
                self.assertEqual(client.get(key), value)
                slowest = max(slowest, time.monotonic() - began)
        self.assertLess(slowest, GET_TIMEOUT)
        self.put(cluster, self.some_values(10))


class ReturnTests(NetworkTestCase):
    """Seeds and nodes that come and go."""

    def test_seed_appears(self) -> None:
        """A node whose seeds have no address or do not answer serves its API, and joins when one comes up."""
        seed = self.network.bootstrap_node()
        seed.wait_for("Listening on")
        seed.kill()
        unresolvable = ("--bootstrap", "no-such-host.invalid:8000")
        node = self.network.node(*unresolvable, seeds=(seed,)).wait_for_api()
        with node.client() as client:
            self.assertTrue(client.put(bytes(32), b"value"))
            self.assertEqual(client.get(bytes(32)), b"value")
        node.wait_for("No peer reachable")
        seed.start()
        node.wait_for("Joined", JOIN_TIMEOUT)

    def test_saved_contacts(self) -> None:
        """A restarted node is the same one, and finds its network without any seed."""
        first = self.network.node().wait_for_api()
        node = self.network.node(seeds=(first,)).wait_for_api()
        eventually((node.folder / "data" / "node" / "contacts").exists, "the saved contacts")
        identity = node.folder / "data" / "node" / "identity.pem"
        before = identity.read_bytes()
        self.assertEqual(node.stop(), 0)
        with first.client() as client:
            # The first put may fail: all that the node knows of is gone, and so it takes itself for cut off.
            eventually(lambda: client.put(bytes(32), b"put meanwhile"), "a put of the node left alone")
        at = node.words.index("--bootstrap")
        node.words = node.words[:at] + node.words[at + 2 :]
        joins = self.joins(node)
        node.start().wait_for_api()
        eventually(lambda: self.joins(node) > joins, "another join")
        self.assertEqual(identity.read_bytes(), before)
        with node.client() as client:
            self.assertEqual(client.get(bytes(32)), b"put meanwhile")

    @staticmethod
    def joins(node: Twistd) -> int:
        return sum("Joined" in event["template"] for event in node.events())


class EndTests(NetworkTestCase):
    def test_at_work(self) -> None:
        """A node that is told to end answers what is at work, in whole replies and in order, and exits with
        0."""
        node = self.cluster(3)[0]
        keys = [self.rng.randbytes(32) for _ in range(1000)]
        with node.client() as client:
            client.socket.sendall(b"".join(api_messages.encode_put(600, 0, key, key) for key in keys))
            self.assertEqual(client.reply(), Success(keys[0], keys[0]))
            node.process.send_signal(signal.SIGTERM)
            replies = self.replies_to_the_end(client)
        self.assertEqual(node.process.wait(10), 0)
        self.assertEqual([reply.key for reply in replies], keys[1 : 1 + len(replies)])
        self.assertEqual(node.stderr(), "")

    @staticmethod
    def replies_to_the_end(client: VoidPhone) -> list[Success]:
        """All that still come; a reply that is cut off would be a ConnectionError that says so."""
        replies: list[Success] = []
        while True:
            try:
                reply = client.reply()
            except ConnectionError:
                return replies
            assert isinstance(reply, Success), reply
            replies.append(reply)
