import random

from twisted.internet.defer import Deferred

from dht14.maintenance.refresh import refresh
from dht14.wire.messages import FindNode
from tests.maintenance.case import FAR, MaintenanceTestCase

INTERVAL = 900.0


class RefreshTests(MaintenanceTestCase):
    def refresh(self) -> None:
        rng = random.Random(1)
        done = Deferred.fromCoroutine(refresh(self.one.node, self.network.clock, rng, INTERVAL))
        self.network.result(done)
        self.successResultOf(done)

    def test_stale(self) -> None:
        """A range that no lookup crossed for an interval is looked up; then it is fresh again."""
        self.network.wait(INTERVAL + 1)
        self.refresh()
        self.assertEqual(self.asked(FindNode), [2, 2, 2])
        self.refresh()
        self.assertEqual(self.asked(FindNode), [0, 0, 0])

    def test_fresh(self) -> None:
        """A range that another lookup has crossed is not looked up."""
        self.network.wait(INTERVAL - 100)
        self.network.result(self.one.node.find_nodes(5))
        self.asked(FindNode)
        self.network.wait(200)
        self.refresh()
        self.assertEqual(self.asked(FindNode), [0, 0, 0])

    def test_finds_the_unknown(self) -> None:
        """A node that only other nodes know becomes a contact by a refresh."""
        unknown = self.network.peer(FAR + 4)
        self.others[0].table.confirmed(unknown.contact, self.network.clock.seconds(), 0.01)
        self.network.wait(INTERVAL + 1)
        self.refresh()
        self.assertIn(unknown.contact.node_id, self.one.table)
