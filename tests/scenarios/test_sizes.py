"""Networks of all sizes, from one node on: every value that was put is found from everywhere."""

from twisted.trial.unittest import SynchronousTestCase

from tests.scenarios.town import Town


class SizesTests(SynchronousTestCase):
    def keeps_values(self, nodes: int, bootstrap_nodes: int, values: int) -> None:
        town = Town(nodes, bootstrap_nodes=bootstrap_nodes)
        town.join()
        town.put(values)
        self.assertEqual(len(town.values), values)
        self.assertEqual(town.wrong_from_everywhere(), 0)

    def test_one(self) -> None:
        """A node that is all alone keeps values."""
        town = Town(1, bootstrap_nodes=0)
        town.world.start(0)
        town.put(20)
        self.assertEqual(len(town.values), 20)
        self.assertEqual(town.wrong_from_everywhere(), 0)

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
