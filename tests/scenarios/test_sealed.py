"""Encrypted datagrams in a whole network: handshakes, loss, and restarts."""

from attrs import evolve
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

    def test_restarted_behind_its_caller(self) -> None:
        """A contact that was out of reach of a node behind a NAT, and starts anew meanwhile, is called again:
        it no longer knows the old session, and nobody calls a node behind a NAT."""
        cluster = Cluster(8, sealed=True)
        world = cluster.world
        hidden = world.hosts[-1]
        world.set_host(evolve(hidden, behind_nat=True))
        cluster.join_all()
        cluster.wait(60)
        caller, callee = world.nodes[world.size - 1], world.nodes[world.size - 2]
        self.assertIn(callee.contact.node_id, caller.stack.table)
        cluster.partition([caller.number])
        cluster.wait(10)
        world.kill(callee)
        world.join([callee.number])
        cluster.heal()
        cluster.wait(120)
        table = caller.stack.table
        self.assertTrue(table.is_settled(callee.contact.node_id))
