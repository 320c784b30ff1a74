"""Loss, duplicates and reordering: gets take a little longer, and return the right values."""

from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.parameters import GROUP
from dht14.sim.conditions import Conditions
from dht14.sim.host import Operation, VirtualNode
from dht14.sim.operations import Write
from dht14.sim.run import GetResult
from dht14.sim.statistics import percentile
from tests.scenarios.cluster import Cluster, wrong


def p99(found: list[Operation[GetResult]]) -> float:
    """Return the 99th percentile of their times, in seconds."""
    return percentile(sorted(get.seconds for get in found), 99)


class BadNetworkTests(SynchronousTestCase):
    def test_five_percent_lost(self) -> None:
        """With 5 % of the datagrams lost every put and get succeeds, and 99 of 100 gets take under half a
        second."""
        cluster = Cluster(20, Conditions(loss=0.05))
        cluster.join_all()
        cluster.put_new(100)
        found = cluster.get_all(times=5)
        self.assertEqual((len(cluster.keys()), wrong(found)), (100, 0))
        self.assertLess(p99(found), 0.5)

    def test_twenty_percent_lost(self) -> None:
        """With 20 % lost, where 4 of 100 exchanges fail after their resend too, acknowledged values are
        found."""
        cluster = Cluster(20, Conditions(loss=0.2))
        cluster.join_all()
        cluster.put_new(100)
        found = cluster.get_all(times=5)
        self.assertGreaterEqual(len(cluster.keys()), 95)
        self.assertEqual(wrong(found), 0)
        self.assertLess(max(get.seconds for get in found), 5.0)

    def test_duplicated_and_reordered(self) -> None:
        """With a fifth of all datagrams duplicated and a fifth out of order no value is lost."""
        cluster = Cluster(20, Conditions(duplicate=0.2, reorder=0.2))
        cluster.join_all()
        cluster.put_new(100)
        found = cluster.get_all(times=5)
        self.assertEqual((len(cluster.keys()), wrong(found)), (100, 0))
        unasked = sum(node.stack.rpc.metrics.unasked for node in cluster.world.nodes.values())
        self.assertGreater(unasked, 0)

    def test_overwritten(self) -> None:
        """Of two values put under one key one after the other, every node finds the second."""
        cluster = Cluster(10, Conditions(loss=0.05, duplicate=0.1, reorder=0.1))
        cluster.join_all()
        cluster.put_new(20)
        overwritten = cluster.put(cluster.keys())
        self.assertEqual([outcome.result for outcome in overwritten], [True] * 20)
        self.assertEqual(cluster.wrong_from_everywhere(), 0)

    def test_late_copies(self) -> None:
        """With 20 % lost one in twenty of the nearest nodes does not answer a put. A minute later all but one
        in a hundred have its value."""
        cluster = Cluster(20, Conditions(loss=0.2))
        cluster.join_all()
        cluster.put_new(100)
        cluster.put(cluster.keys())
        cluster.wait(60)
        lacking = 0
        for write in cluster.acknowledged():
            nearest = sorted(cluster.nodes(), key=lambda node: node.contact.node_id ^ write.key)[:GROUP]
            lacking += sum(not holds(node, write) for node in nearest)
        self.assertLess(lacking, len(cluster.keys()) * GROUP // 100)


def holds(node: VirtualNode, write: Write) -> bool:
    """Whether the node holds the value of this put."""
    assert node.stack.store is not None
    held = node.stack.store.get(write.key, node.process.seconds())
    return held is not None and held.value == write.value
