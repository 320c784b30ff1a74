"""Values of every size in whole networks, also in bad ones."""

from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.keyspace import random_id
from dht14.kademlia.parameters import MAX_VALUE
from dht14.sim.conditions import Conditions
from tests.scenarios.cluster import Cluster, wrong

SIZES = (1, 1000, 1001, 30_000, MAX_VALUE)


class LargeValuesTests(SynchronousTestCase):
    def keeps_values(self, conditions: Conditions, dead: float = 0.0) -> None:
        """Put values of all sizes, and replace each of them by a value of the same size."""
        cluster = Cluster(40, conditions)
        cluster.join_all()
        rng = cluster.world.rng
        keys = [(random_id(rng), size) for size in SIZES]
        for _ in range(2):
            cluster.put_values({key: rng.randbytes(size) for key, size in keys})
        for node in cluster.some_nodes(dead):
            cluster.world.kill(node)
        self.assertEqual(len(cluster.keys()), len(SIZES))
        found = cluster.get_all(times=8)
        self.assertEqual(wrong(found), 0)

    def test_found(self) -> None:
        """Values of all sizes are found from everywhere."""
        self.keeps_values(Conditions())

    def test_bad_network(self) -> None:
        """The same while one datagram in twenty is lost, and others are duplicated or late."""
        self.keeps_values(Conditions(loss=0.05, duplicate=0.05, reorder=0.1))

    def test_deaths(self) -> None:
        """The same right after the death of a quarter of the nodes."""
        self.keeps_values(Conditions(), dead=0.25)
