"""Nodes die, freeze and return: values are found nevertheless, and in time."""

from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.parameters import REPLICATION
from dht14.maintenance.replicator import REFUSAL_MEMORY
from dht14.sim.conditions import Conditions
from dht14.sim.host import NodeRole, VirtualNode
from tests.outcomes import acknowledged
from tests.scenarios.cluster import Cluster, wrong


class DeathsTests(SynchronousTestCase):
    def test_thirty_percent_killed(self) -> None:
        """Right after 30 % of the nodes were killed all gets are right, and none takes much longer than the
        detection of dead contacts: a get may have to wait for that where five of the seven nearest are
        dead."""
        cluster = Cluster(50)
        cluster.join_all()
        cluster.put_new(60)
        for node in cluster.some_nodes(0.3):
            cluster.world.kill(node)
        found = cluster.get_all(times=5)
        self.assertEqual((len(cluster.keys()), wrong(found)), (60, 0))
        self.assertLess(max(get.seconds for get in found), 1.5)

    def test_thirty_percent_killed_under_loss(self) -> None:
        """The same while 5 % of the datagrams are lost; afterwards puts succeed again."""
        cluster = Cluster(30, Conditions(loss=0.05))
        cluster.join_all()
        cluster.put_new(60)
        for node in cluster.some_nodes(0.3):
            cluster.world.kill(node)
        found = cluster.get_all(times=5)
        self.assertEqual((len(cluster.keys()), wrong(found)), (60, 0))
        cluster.put_new(30)
        self.assertEqual(len(cluster.keys()), 90)

    def test_bootstrap_nodes_killed(self) -> None:
        """A node that has joined does not need the bootstrap nodes any more."""
        cluster = Cluster(20)
        cluster.join_all()
        for node in cluster.nodes(NodeRole.BOOTSTRAP):
            cluster.world.kill(node)
        cluster.put_new(40)
        found = cluster.get_all(times=5)
        self.assertEqual((len(cluster.keys()), wrong(found)), (40, 0))

    def test_copies_after_a_death(self) -> None:
        """A value that loses copies in an idle network has all of them again within three minutes. No node
        offers it to a bootstrap node, however long ago that node refused a record."""
        cluster = Cluster(20)
        cluster.join_all()
        cluster.put_new(200)
        cluster.world.wait(2 * REFUSAL_MEMORY)
        for node in cluster.some_nodes(0.2):
            cluster.world.kill(node)
        self.assertLess(self.fewest_copies(cluster), REPLICATION)
        cluster.world.wait(180)
        self.assertGreaterEqual(self.fewest_copies(cluster), REPLICATION)

    def fewest_copies(self, cluster: Cluster) -> int:
        return min(cluster.replicas(cluster.acknowledged()))

    def test_late_bootstrap_node(self) -> None:
        """Nodes that start before any bootstrap node join within 15 s of its start."""
        cluster = Cluster(10, bootstrap_nodes=1)
        for number in range(1, 11):
            cluster.world.start(number)
        cluster.world.wait(120)
        self.assertEqual([node.number for node in cluster.nodes() if node.stack.join.joined], [])
        cluster.world.start(0)
        cluster.world.wait(15)
        self.assertEqual([node.number for node in cluster.nodes() if not node.stack.join.joined], [])
        cluster.world.wait(15)
        cluster.put_new(20)
        self.assertEqual(len(cluster.keys()), 20)
        self.assertEqual(cluster.wrong_from_everywhere(), 0)

    def test_frozen(self) -> None:
        """Nodes that are frozen for a minute do no harm meanwhile, and find everything afterwards."""
        cluster = Cluster(20)
        cluster.join_all()
        cluster.put_new(20)
        frozen = cluster.some_nodes(0.3)
        for node in frozen:
            cluster.world.freeze(node)
        found = cluster.get_all(times=5)
        self.assertEqual(wrong(found), 0)
        cluster.put_new(20)
        cluster.world.wait(60)
        for node in frozen:
            cluster.world.thaw(node)
        cluster.world.wait(15)
        self.assertEqual(len(cluster.keys()), 40)
        self.assertEqual(cluster.wrong_from_everywhere(), 0)

    def test_catching_up(self) -> None:
        """A node that stood still for ten seconds is offered what it missed, and little else."""
        cluster = Cluster(8)
        cluster.join_all()
        cluster.put_new(600)
        away, *others = cluster.nodes()
        cluster.world.freeze(away)
        cluster.world.wait(2)
        cluster.put_new(30)
        cluster.world.wait(8)
        acknowledged = cluster.acknowledged()
        before = sum(self.offers(node) for node in others)
        cluster.world.thaw(away)
        cluster.world.wait(10)
        self.assertLessEqual(sum(self.offers(node) for node in others) - before, 3 * 30 + 30)
        self.assertEqual(cluster.replicas(acknowledged), len(acknowledged) * [8])
        self.assertEqual(cluster.wrong_from_everywhere(), 0)

    @staticmethod
    def offers(node: VirtualNode) -> int:
        """How many OFFERs it has sent that were answered."""
        return node.stack.rpc.metrics.sent["OFFER"].replies

    def test_restarted_one_by_one(self) -> None:
        """When nodes restart empty, one after another, those that stay still have all values."""
        cluster = Cluster(20)
        cluster.join_all()
        cluster.put_new(40)
        for node in cluster.some_nodes(0.3):
            cluster.world.kill(node)
            (joined,) = cluster.world.join([node.number])
            self.assertTrue(joined.result)
        found = cluster.get_all(times=5)
        self.assertEqual(wrong(found), 0)

    def test_cut_off(self) -> None:
        """A node that is cut off fails puts instead of keeping the value alone; reconnected, it works
        again."""
        cluster = Cluster(20)
        cluster.join_all()
        lone = cluster.nodes()[0]
        cluster.world.network.cut(lone.port)
        stored = lone.stack.node.put(1 << 255, b"a value", 0, 0).addCallback(acknowledged)
        cluster.world.wait(10)
        self.assertIs(self.successResultOf(stored), False)
        cluster.world.network.mend(lone.port)
        cluster.world.wait(60)
        stored = lone.stack.node.put(1 << 255, b"a value", 0, 0).addCallback(acknowledged)
        cluster.world.wait(10)
        self.assertIs(self.successResultOf(stored), True)
