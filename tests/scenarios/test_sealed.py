"""Sealed datagrams in a whole network: the handshakes of all with all, loss, and restarts."""

from twisted.trial.unittest import SynchronousTestCase

from dht14.session.encrypted import EncryptedLayer
from dht14.sim.conditions import Conditions
from dht14.sim.host import NodeRole, VirtualNode
from tests.scenarios.town import Town


def sessions(node: VirtualNode) -> EncryptedLayer:
    session = node.stack.session
    assert isinstance(session, EncryptedLayer)
    return session


class SealedTests(SynchronousTestCase):
    def test_hundred_nodes(self) -> None:
        """A hundred nodes, with 5 % of the datagrams lost: all puts and gets succeed."""
        town = Town(98, Conditions(loss=0.05), sealed=True)
        town.join()
        town.put(50)
        wrong, _ = town.get(times=3)
        self.assertEqual((len(town.values), wrong), (50, 0))
        for node in town.world.nodes.values():
            sessions(node).links.check_invariants()

    def test_all_restart(self) -> None:
        """Half of the nodes begin anew, without a word: nobody is lost on anybody for long."""
        town = Town(20, Conditions(loss=0.02), sealed=True)
        town.join()
        for node in town.nodes(NodeRole.NODE)[::2]:
            town.world.kill(node)
            town.world.start(node.number)
        town.world.wait(5)
        town.put(40)
        wrong, outcomes = town.get(times=3)
        self.assertEqual((len(town.values), wrong), (40, 0))
        self.assertLess(max(outcome.seconds for outcome in outcomes), 3.0)
