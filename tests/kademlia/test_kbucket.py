from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.contact import Contact
from dht14.kademlia.kbucket import KBucket
from dht14.kademlia.parameters import MISS_SPACING, MISSES_TO_DROP, K


def contact(node_id: int, host: str = "192.0.2.1") -> Contact:
    return Contact(node_id, (host, 8000))


class KBucketTests(SynchronousTestCase):
    """A bucket of three; the ids from 1 on are its contacts, those from 10 on come later."""

    def setUp(self) -> None:
        self.bucket = KBucket(3)

    def fill(self) -> None:
        for node_id in (1, 2, 3):
            self.bucket.confirmed(contact(node_id), node_id, 0.1)

    def held(self) -> list[int]:
        return list(self.bucket.entries)

    def test_enters(self) -> None:
        """A contact that answered enters while there is room, and is new only once."""
        self.assertTrue(self.bucket.has_room)
        entry = self.bucket.confirmed(contact(1), 5, 0.1)
        assert entry is not None
        self.assertEqual((entry.contact, entry.last_seen, entry.rtt, entry.misses), (contact(1), 5, 0.1, 0))
        self.assertIsNone(self.bucket.confirmed(contact(1), 6, 0.2))
        self.assertEqual((entry.last_seen, entry.rtt), (6, 0.2))

    def test_live_contact_stays(self) -> None:
        """A full bucket drops no contact for a new one, which becomes a replacement."""
        self.fill()
        self.assertFalse(self.bucket.has_room)
        self.assertIsNone(self.bucket.confirmed(contact(10), 10, 0.001))
        self.assertEqual((self.held(), list(self.bucket.replacements)), ([1, 2, 3], [10]))

    def test_fastest_replacements_are_kept(self) -> None:
        """There are at most K replacements; a faster one displaces a slower one, never the reverse."""
        self.fill()
        for node_id in range(10, 10 + K):
            self.bucket.confirmed(contact(node_id), 10, rtt=node_id / 100)
        self.bucket.confirmed(contact(100), 11, rtt=0.5)
        self.assertEqual(list(self.bucket.replacements), list(range(10, 10 + K)))
        self.bucket.confirmed(contact(101), 11, rtt=0.01)
        self.assertEqual(list(self.bucket.replacements), [*range(10, 9 + K), 101])

    def test_replacement_answers_again(self) -> None:
        """A replacement that answers again is kept once, with its new round trip."""
        self.fill()
        self.bucket.confirmed(contact(10), 10, 0.5)
        self.bucket.confirmed(contact(10, "192.0.2.9"), 11, 0.1)
        (replacement,) = self.bucket.replacements.values()
        self.assertEqual((replacement.contact, replacement.rtt), (contact(10, "192.0.2.9"), 0.1))

    def test_replaced_at_once(self) -> None:
        """A contact that fails gives way to the fastest replacement."""
        self.fill()
        self.bucket.confirmed(contact(10), 10, 0.3)
        self.bucket.confirmed(contact(11), 10, 0.1)
        left, entered = self.bucket.failed(contact(2), 20)
        assert left is not None and entered is not None
        self.assertEqual((left.contact, entered.contact), (contact(2), contact(11)))
        self.assertEqual((self.held(), list(self.bucket.replacements)), ([1, 3, 11], [10]))

    def test_no_replacement(self) -> None:
        """Without a replacement a contact stays until MISSES_TO_DROP calls failed, spaced apart."""
        self.fill()
        for turn in range(MISSES_TO_DROP):
            self.assertIn(1, self.bucket.entries)
            for _ in range(3):
                self.bucket.failed(contact(1), 100 + turn * MISS_SPACING)
        self.assertEqual(self.held(), [2, 3])

    def test_answer_forgives(self) -> None:
        """Misses count from the last answer on."""
        self.fill()
        for turn in range(3 * MISSES_TO_DROP):
            self.bucket.failed(contact(1), 100 + turn * MISS_SPACING)
            if turn % 4 == 3:
                self.bucket.confirmed(contact(1), 100.5 + turn * MISS_SPACING, 0.1)
        self.assertIn(1, self.bucket.entries)

    def test_fails_right_after_an_answer(self) -> None:
        """The first failure after an answer counts, however close to those before it."""
        self.fill()
        self.bucket.failed(contact(1), 100)
        self.bucket.confirmed(contact(1), 100.1, 0.1)
        self.bucket.failed(contact(1), 100.2)
        self.assertEqual(self.bucket.entries[1].misses, 1)

    def test_may_not_leave(self) -> None:
        """While no contact may leave, misses are only counted; the next miss after that removes one."""
        self.fill()
        self.bucket.confirmed(contact(10), 10, 0.3)
        for turn in range(2 * MISSES_TO_DROP):
            self.assertEqual(self.bucket.failed(contact(1), 100 + turn, may_leave=False), (None, None))
        self.assertEqual(self.bucket.entries[1].misses, 2 * MISSES_TO_DROP)
        left, _ = self.bucket.failed(contact(1), 200)
        assert left is not None
        self.assertEqual(left.contact, contact(1))

    def test_replacement_fails(self) -> None:
        """A replacement that fails is dropped."""
        self.fill()
        self.bucket.confirmed(contact(10), 10, 0.3)
        self.assertEqual(self.bucket.failed(contact(10), 11), (None, None))
        self.assertEqual((self.held(), self.bucket.replacements), ([1, 2, 3], {}))

    def test_unknown_fails(self) -> None:
        """The failure of an unknown contact changes nothing."""
        self.fill()
        self.assertEqual(self.bucket.failed(contact(99), 11), (None, None))
        self.assertEqual(self.held(), [1, 2, 3])

    def test_id_claimed_elsewhere(self) -> None:
        """A node that answers under the id of a responsive contact neither replaces it nor keeps it alive."""
        self.fill()
        self.bucket.confirmed(contact(1, "203.0.113.6"), 50, 0.9)
        entry = self.bucket.entries[1]
        self.assertEqual((entry.contact, entry.last_seen, entry.rtt), (contact(1), 1, 0.1))

    def test_moved(self) -> None:
        """A contact that no longer answers where it was is found where it answers."""
        self.fill()
        self.bucket.failed(contact(1), 40)
        self.assertIsNone(self.bucket.confirmed(contact(1, "203.0.113.6"), 50, 0.9))
        entry = self.bucket.entries[1]
        self.assertEqual((entry.contact, entry.misses), (contact(1, "203.0.113.6"), 0))

    def test_lies_about_addresses(self) -> None:
        """A failure at an invented address is no failure of the contact or replacement of that id."""
        self.fill()
        self.bucket.confirmed(contact(10), 10, 0.3)
        for node_id in (1, 10):
            self.assertEqual(self.bucket.failed(contact(node_id, "203.0.113.6"), 20), (None, None))
        self.assertEqual(self.bucket.entries[1].misses, 0)
        self.assertIn(10, self.bucket.replacements)
