"""Encrypted datagrams in a whole network: handshakes, loss, and restarts."""

from twisted.trial.unittest import SynchronousTestCase

from dht14.session.encrypted import EncryptedLayer
from dht14.sim.conditions import Conditions
from dht14.sim.host import VirtualNode
from tests.scenarios.cluster import Cluster, wrong


def sessions(node: VirtualNode) -> EncryptedLayer:
    session = node.stack.session_layer
    assert isinstance(session, EncryptedLayer)
    return session


class SealedTests(SynchronousTestCase):
    def test_hundred_nodes(self) -> None:
        """A hundred nodes, with 5 % of the datagrams lost: all puts and gets succeed."""
        cluster = Cluster(98, Conditions(loss=0.05), sealed=True)
        cluster.join_all()
        cluster.put_new(50)
        found = cluster.get_all(times=3)
        self.assertEqual((len(cluster.keys()), wrong(found)), (50, 0))
        for node in cluster.world.nodes.values():
            sessions(node).sessions.check_invariants()

    def test_all_restart(self) -> None:
        """Half of the nodes restart without notice: the others have new sessions with them soon."""
        cluster = Cluster(20, Conditions(loss=0.02), sealed=True)
        cluster.join_all()
        for node in cluster.nodes()[::2]:
            cluster.world.kill(node)
            cluster.world.start(node.number)
        cluster.world.wait(5)
        cluster.put_new(40)
        found = cluster.get_all(times=3)
        self.assertEqual((len(cluster.keys()), wrong(found)), (40, 0))
        self.assertLess(max(get.seconds for get in found), 3.0)
