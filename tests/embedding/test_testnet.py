from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from dht14.embedding.testnet import MAX_NODES, Cluster, testnet


class RecordingHost:
    """A host of three nodes that notes its orders."""

    folder = "/folder"
    nodes = tuple({"node": n, "api": f"a:{n}", "p2p": f"p:{n}", "pid": 100 + n} for n in range(3))
    addresses = tuple(node["api"] for node in nodes)

    def __init__(self) -> None:
        self.orders: list[dict[str, object]] = []

    def tell(self, order: dict[str, object]) -> None:
        self.orders.append(order)


class OrderTests(SynchronousTestCase):
    """What a cluster asks of its host."""

    def setUp(self) -> None:
        self.host = RecordingHost()
        host: Any = self.host
        self.cluster = Cluster(host, ())

    def test_orders(self) -> None:
        """Nodes are named by their numbers."""
        self.cluster.kill(0, 2)
        self.cluster.start(2)
        self.cluster.partition([0], (1, 2))
        self.cluster.heal()
        self.assertEqual(
            self.host.orders,
            [
                {"do": "kill", "numbers": [0, 2]},
                {"do": "start", "numbers": [2]},
                {"do": "partition", "groups": [[0], [1, 2]]},
                {"do": "partition", "groups": []},
            ],
        )

    def test_mistakes(self) -> None:
        """Numbers of no node and senseless groups are refused, and the host gets no order."""
        self.assertRaises(IndexError, self.cluster.kill, 3)
        self.assertRaises(IndexError, self.cluster.kill, -1)
        self.assertRaises(IndexError, self.cluster.partition, [0], [3])
        self.assertRaises(ValueError, self.cluster.partition, [0, 1])
        self.assertRaises(ValueError, self.cluster.partition)
        self.assertRaises(ValueError, self.cluster.partition, [0, 1], [1, 2])
        kill: Any = self.cluster.kill
        partition: Any = self.cluster.partition
        for make in (lambda: kill([1, 2]), lambda: kill("1"), lambda: partition(0, 1)):
            self.assertIn("number", str(self.assertRaises(TypeError, make)))
        self.assertEqual(self.host.orders, [])

    def test_places(self) -> None:
        """The cluster says where its nodes are."""
        self.assertEqual(self.cluster.addresses, ("a:0", "a:1", "a:2"))
        self.assertEqual(self.cluster.seeds, ("p:0", "p:1", "p:2"))
        self.assertEqual((self.cluster.pids, self.cluster.folder), ((100, 101, 102), "/folder"))


class ArgumentTests(SynchronousTestCase):
    def test_sizes(self) -> None:
        """A network has at least one node, and not more than a host can bear."""
        for nodes in (0, -1, MAX_NODES + 1):
            self.assertRaises(ValueError, testnet, nodes)
        for wrong in ("5", 2.5):
            self.assertRaises(TypeError, testnet, wrong)

    def test_given(self) -> None:
        """What the host gives each node is refused at once, and names itself."""
        for name in ("api", "seeds", "data_dir", "p2p_address"):
            self.assertIn(name, str(self.assertRaises(ValueError, testnet, 3, **{name: "x"})))
