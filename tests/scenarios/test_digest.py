"""Runs of whole networks are repeatable."""

from twisted.trial.unittest import SynchronousTestCase

from dht14.sim.conditions import Conditions
from tests.scenarios.cluster import Cluster

ROUGH = Conditions(loss=0.05, duplicate=0.05, reorder=0.05)


def history(seed: int) -> str:
    """Return the digest of a run with deaths."""
    cluster = Cluster(10, ROUGH, seed)
    cluster.join_all()
    cluster.put_new(10)
    for node in cluster.some_nodes(0.2):
        cluster.world.kill(node)
    cluster.get_all(times=1)
    return cluster.world.network.digest()


class DigestTests(SynchronousTestCase):
    def test_same_seed(self) -> None:
        """The same seed gives the same digest over every datagram; another seed another."""
        self.assertEqual(history(7), history(7))
        self.assertNotEqual(history(7), history(8))
