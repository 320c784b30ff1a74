"""Nodes die, freeze and come back: values are found all the same, and nobody waits long."""

from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.parameters import REPLICATION
from dht14.maintenance.replicator import REFUSAL_SECONDS
from dht14.sim.conditions import Conditions
from dht14.sim.host import NodeRole
from tests.scenarios.town import Town
from tests.told import acknowledged


class DeathsTests(SynchronousTestCase):
    def test_thirty_percent_killed(self) -> None:
        """Right after 30 % of the nodes were killed without a word, all gets are right, and none takes much longer
        than it takes to take contacts for dead: it may have to where five of the seven nearest are."""
        town = Town(50)
        town.join()
        town.put(60)
        for node in town.some_nodes(0.3):
            town.world.kill(node)
        wrong, outcomes = town.get(times=5)
        self.assertEqual((len(town.values), wrong), (60, 0))
        self.assertLess(max(outcome.seconds for outcome in outcomes), 1.5)

    def test_thirty_percent_killed_under_loss(self) -> None:
        """The same while 5 % of the datagrams are lost; afterwards puts succeed again too."""
        town = Town(30, Conditions(loss=0.05))
        town.join()
        town.put(60)
        for node in town.some_nodes(0.3):
            town.world.kill(node)
        wrong, _ = town.get(times=5)
        self.assertEqual((len(town.values), wrong), (60, 0))
        town.put(30)
        self.assertEqual(len(town.values), 90)

    def test_bootstrap_nodes_killed(self) -> None:
        """Who has joined does not need the bootstrap nodes any more."""
        town = Town(20)
        town.join()
        for node in town.nodes(NodeRole.BOOTSTRAP):
            town.world.kill(node)
        town.put(40)
        wrong, _ = town.get(times=5)
        self.assertEqual((len(town.values), wrong), (40, 0))

    def test_copies_after_a_death(self) -> None:
        """A value that loses a copy while nothing else goes on has a new one within three minutes. Nobody gives it to
        a bootstrap node, however long ago that has last refused something."""
        town = Town(20)
        town.join()
        town.put(200)
        town.world.wait(2 * REFUSAL_SECONDS)
        for node in town.some_nodes(0.05):
            town.world.kill(node)
        self.assertLess(self.fewest_copies(town), REPLICATION)
        town.world.wait(180)
        self.assertGreaterEqual(self.fewest_copies(town), REPLICATION)

    def fewest_copies(self, town: Town) -> int:
        stores = [
            (node.stack.store, node.process.seconds()) for node in town.nodes(NodeRole.NODE) if node.running
        ]
        return min(
            sum(store is not None and store.get(key, now) is not None for store, now in stores)
            for key in town.values
        )

    def test_late_bootstrap_node(self) -> None:
        """Nodes that start before any bootstrap node is there join within 15 s of its appearing."""
        town = Town(10, bootstrap_nodes=1)
        for number in range(1, 11):
            town.world.start(number)
        town.world.wait(120)
        self.assertEqual([node.number for node in town.nodes(NodeRole.NODE) if node.stack.join.joined], [])
        town.world.start(0)
        town.world.wait(15)
        self.assertEqual(
            [node.number for node in town.nodes(NodeRole.NODE) if not node.stack.join.joined], []
        )
        town.world.wait(15)
        town.put(20)
        self.assertEqual(len(town.values), 20)
        self.assertEqual(town.wrong_from_everywhere(), 0)

    def test_frozen(self) -> None:
        """Nodes that were frozen for a minute do no harm meanwhile, and find everything afterwards."""
        town = Town(20)
        town.join()
        town.put(20)
        frozen = town.some_nodes(0.3)
        for node in frozen:
            town.world.freeze(node)
        wrong, _ = town.get(times=5)
        self.assertEqual(wrong, 0)
        town.put(20)
        town.world.wait(60)
        for node in frozen:
            town.world.thaw(node)
        town.world.wait(15)
        self.assertEqual(len(town.values), 40)
        self.assertEqual(town.wrong_from_everywhere(), 0)

    def test_restarted_one_by_one(self) -> None:
        """When nodes restart empty, one after another, those that stay still have all values."""
        town = Town(20)
        town.join()
        town.put(40)
        for node in town.some_nodes(0.3):
            town.world.kill(node)
            (joined,) = town.world.join([node.number])
            self.assertTrue(joined.result)
        wrong, _ = town.get(times=5)
        self.assertEqual(wrong, 0)

    def test_cut_off(self) -> None:
        """A node that is cut off refuses puts rather than keep them to itself; back again, it goes on."""
        town = Town(20)
        town.join()
        lone = town.nodes(NodeRole.NODE)[0]
        town.world.network.cut(lone.port)
        stored = lone.stack.node.put(1 << 255, b"a value", 0, 0).addCallback(acknowledged)
        town.world.wait(10)
        self.assertIs(self.successResultOf(stored), False)
        town.world.network.mend(lone.port)
        town.world.wait(60)
        stored = lone.stack.node.put(1 << 255, b"a value", 0, 0).addCallback(acknowledged)
        town.world.wait(10)
        self.assertIs(self.successResultOf(stored), True)
