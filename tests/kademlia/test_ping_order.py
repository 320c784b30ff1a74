import random

from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.kbucket import Entry
from dht14.kademlia.ping_order import DISPUTE_SPACING, PingOrder
from tests.fakes import contact


class PingOrderTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.order = PingOrder()
        self.entries: dict[int, Entry] = {}

    def enter(self, node_id: int, now: float) -> Entry:
        entry = self.entries[node_id] = Entry(contact(node_id, node_id), now, 0.1)
        self.order.entered(entry)
        return entry

    def first(self, count: int) -> list[int]:
        return [entry.contact.node_id for entry in self.order.first(count, self.entries)]

    def test_longest_ago(self) -> None:
        """Those heard of longest ago come first, whenever they entered, and as long as they do not answer."""
        for node_id, seen in ((1, 30.0), (2, 10.0), (3, 20.0)):
            self.enter(node_id, seen)
        self.assertEqual([self.first(2), self.first(2), self.first(9)], [[2, 3], [2, 3], [2, 3, 1]])

    def test_answers(self) -> None:
        """A contact that has answered comes last."""
        for node_id in (1, 2, 3):
            self.enter(node_id, float(node_id))
        self.entries[1].answered(self.entries[1].contact, 4.0, 0.1)
        self.assertEqual([self.first(1), self.first(3)], [[2], [2, 3, 1]])

    def test_dispute(self) -> None:
        """The key of a dispute is looked at once, and those of others only a while later."""
        self.assertIsNone(self.order.take_disputed())
        self.order.disputed(1, 0.0)
        self.assertEqual([self.order.take_disputed(), self.order.take_disputed()], [1, None])
        self.order.disputed(2, DISPUTE_SPACING - 1)
        self.assertIsNone(self.order.take_disputed())
        self.order.disputed(3, DISPUTE_SPACING)
        self.assertEqual(self.order.take_disputed(), 3)

    def test_unresponsive(self) -> None:
        """One whose last call failed has no turn until it answers."""
        for node_id in (1, 2):
            self.enter(node_id, float(node_id))
        self.entries[1].misses = 1
        self.assertEqual(self.first(2), [2])
        self.entries[1].answered(self.entries[1].contact, 3.0, 0.1)
        self.assertEqual(self.first(2), [2, 1])

    def test_left(self) -> None:
        """One that has left has no turn; one that came back has one, not two."""
        for node_id in (1, 2):
            self.enter(node_id, float(node_id))
        del self.entries[1]
        self.assertEqual(self.first(2), [2])
        del self.entries[2]
        self.enter(2, 5.0)
        self.assertEqual(self.first(2), [2])

    def test_like_sorting(self) -> None:
        """Whatever happens, the turns are those of a sorted list of all entries."""
        rng = random.Random(4)
        for now in range(1, 3000):
            node_id = rng.randrange(1, 60)
            entry = self.entries.get(node_id)
            match rng.randrange(4):
                case 0 if entry is None:
                    self.enter(node_id, now - 100 * rng.random() * rng.randrange(2))
                case 1 if entry is not None:
                    entry.answered(entry.contact, now, 0.1)
                case 2 if entry is not None:
                    entry.misses += 1
                case 3 if entry is not None and not now % 5:
                    del self.entries[node_id]
            responsive = (entry for entry in self.entries.values() if not entry.misses)
            expected = sorted(responsive, key=lambda entry: entry.last_seen)[:3]
            self.assertEqual(self.order.first(3, self.entries), expected)
