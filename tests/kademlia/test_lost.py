from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.contact import Contact
from dht14.kademlia.lost import LOST_TTL, MAX_LOST, MAX_TRIED, LostContacts

NOW = 1000.0


def contact(node_id: int) -> Contact:
    return Contact(node_id, ("192.0.2.1", 8000))


class LostContactsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.lost = LostContacts()

    def drop(self, count: int) -> None:
        for node_id in range(count):
            self.lost.dropped(contact(node_id), NOW + node_id)

    def take_next(self, now: float = NOW) -> list[int]:
        return [one.node_id for one in self.lost.take_next(now)]

    def test_in_turn(self) -> None:
        """While none is found, one is tried at a time, all in turn."""
        self.drop(3)
        self.assertEqual([self.take_next() for _ in range(4)], [[0], [1], [2], [0]])

    def test_found(self) -> None:
        """Where one is found, twice as many are tried the next time; when none is any more, one again."""
        self.drop(MAX_LOST)
        sizes = []
        for _ in range(7):
            chosen = self.take_next()
            sizes.append(len(chosen))
            self.lost.confirmed(contact(chosen[0]))
        self.assertEqual(sizes, [1, 2, 4, 8, 16, 32, MAX_TRIED])
        self.take_next()
        self.assertEqual(len(self.take_next()), 1)
        self.assertEqual(len(self.lost), MAX_LOST - 7)

    def test_never_lost(self) -> None:
        """The answer of a contact that was not lost changes nothing."""
        self.drop(10)
        self.take_next()
        self.lost.confirmed(contact(99))
        self.assertEqual(len(self.take_next()), 1)

    def test_forgotten(self) -> None:
        """After a day a contact is not tried any more; lost again, it is tried for another day."""
        self.drop(2)
        self.lost.dropped(contact(0), NOW + 100)
        self.assertEqual([self.take_next(NOW + LOST_TTL + 50) for _ in range(3)], [[], [0], [0]])

    def test_bounded(self) -> None:
        """When full, the one lost longest ago is forgotten, whichever was tried last."""
        self.drop(MAX_LOST)
        self.take_next()
        self.lost.dropped(contact(MAX_LOST), NOW + MAX_LOST)
        self.assertEqual(len(self.lost), MAX_LOST)
        tried = [node_id for _ in range(MAX_LOST) for node_id in self.take_next()]
        self.assertEqual(sorted(tried), list(range(1, MAX_LOST + 1)))
