"""Values that expire, in whole networks."""

from twisted.trial.unittest import SynchronousTestCase

from dht14.stack import StackOptions
from tests.scenarios.cluster import Cluster

TTL = 600
INTERVAL = 300.0


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

    def test_missed(self) -> None:
        """A node that was away while a value was replaced for a short time gives its copy up. So that does
        not come back when all who remember what replaced it are gone."""
        cluster = Cluster(10, options=StackOptions(republish_interval=INTERVAL))
        cluster.join_all()
        cluster.put_new(10)
        keys = cluster.keys()
        away, *others = cluster.world.callers()
        cluster.world.freeze(away)
        cluster.put(keys, ttl=60)
        cluster.wait(120)
        cluster.world.thaw(away)
        cluster.wait(2 * INTERVAL)
        for node in others:
            cluster.world.kill(node)
            cluster.world.replace(node.number)
            cluster.world.start(node.number)
            cluster.wait(60)
        found = cluster.get_all(times=10, keys=keys)
        self.assertEqual([get.result.value for get in found], [None] * 100)
