"""What has expired is gone, whoever is asked."""

from twisted.trial.unittest import SynchronousTestCase

from dht14.sim.host import NodeRole
from dht14.stack import StackOptions
from tests.scenarios.town import Town

TTL = 600


class ExpiryTests(SynchronousTestCase):
    def test_expired(self) -> None:
        """A value is found until its time is over and by nobody afterwards; the sweep frees its memory."""
        town = Town(10, options=StackOptions(cleanup_interval=100.0))
        town.join()
        town.put(10, ttl=TTL)
        written = town.world.clock.seconds()
        self.assertEqual(town.wrong_from_everywhere(), 0)
        self.assertLess(town.world.clock.seconds(), written + TTL / 2)
        town.world.wait(TTL)
        wrong, outcomes = town.get(times=10)
        self.assertEqual((wrong, {outcome.result for outcome in outcomes}), (100, {None}))
        town.world.wait(100 * 1.2)
        stores = [node.stack.store for node in town.nodes(NodeRole.NODE)]
        self.assertEqual([len(store) for store in stores if store is not None], [0] * 10)
