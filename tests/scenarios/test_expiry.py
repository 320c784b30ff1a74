"""Values that expire, in whole networks."""

from twisted.trial.unittest import SynchronousTestCase

from dht14.stack import StackOptions
from tests.scenarios.cluster import Cluster

TTL = 600


class ExpiryTests(SynchronousTestCase):
    def test_expired(self) -> None:
        """Every node returns a value until it expires, and no node afterwards; the sweep frees its memory."""
        cluster = Cluster(10, options=StackOptions(cleanup_interval=100.0))
        cluster.join_all()
        cluster.put_new(10, ttl=TTL)
        written = cluster.world.clock.seconds()
        self.assertEqual(cluster.wrong_from_everywhere(), 0)
        self.assertLess(cluster.world.clock.seconds(), written + TTL / 2)
        keys = cluster.keys()
        cluster.world.wait(TTL)
        found = cluster.get_all(times=10, keys=keys)
        self.assertEqual([get.result.value for get in found], [None] * 100)
        cluster.world.wait(100 * 1.2)
        stores = [node.stack.store for node in cluster.nodes()]
        self.assertEqual([len(store) for store in stores if store is not None], [0] * 10)
