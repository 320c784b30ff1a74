"""Networks of all sizes, from one node on: every value is found from everywhere."""

from twisted.trial.unittest import SynchronousTestCase

from tests.scenarios.cluster import Cluster


class SizesTests(SynchronousTestCase):
    def keeps_values(self, nodes: int, bootstrap_nodes: int, values: int) -> None:
        cluster = Cluster(nodes, bootstrap_nodes=bootstrap_nodes)
        cluster.join_all()
        cluster.put_new(values)
        self.assertEqual(len(cluster.keys()), values)
        self.assertEqual(cluster.wrong_from_everywhere(), 0)

    def test_one(self) -> None:
        """A single node keeps values."""
        cluster = Cluster(1, bootstrap_nodes=0)
        cluster.world.start(0)
        cluster.put_new(20)
        self.assertEqual(len(cluster.keys()), 20)
        self.assertEqual(cluster.wrong_from_everywhere(), 0)

    def test_one_with_a_bootstrap_node(self) -> None:
        """One node and a bootstrap node, which holds nothing."""
        self.keeps_values(1, bootstrap_nodes=1, values=20)

    def test_two(self) -> None:
        """Two nodes, one of them the other's seed."""
        self.keeps_values(2, bootstrap_nodes=0, values=20)

    def test_three(self) -> None:
        """Three nodes and two bootstrap nodes."""
        self.keeps_values(3, bootstrap_nodes=2, values=20)

    def test_twenty(self) -> None:
        """Twenty nodes: as many as a k-bucket holds."""
        self.keeps_values(20, bootstrap_nodes=2, values=40)

    def test_hundred(self) -> None:
        """A hundred nodes: each value is at some of them only."""
        self.keeps_values(100, bootstrap_nodes=2, values=10)
