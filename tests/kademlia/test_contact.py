from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.contact import Contact, Seed, shared_contact


class ContactTests(SynchronousTestCase):
    def test_value(self) -> None:
        """A contact is its id and its address together: the same id elsewhere is another contact."""
        here, there = Contact(1, ("192.0.2.1", 8000)), Contact(1, ("192.0.2.2", 8000))
        self.assertEqual(here, Contact(1, ("192.0.2.1", 8000)))
        self.assertEqual(len({here, there, Contact(1, ("192.0.2.1", 8000))}), 2)
        self.assertRaises(AttributeError, setattr, here, "node_id", 2)

    def test_seed(self) -> None:
        """A seed is pinned only where an id is given."""
        self.assertIsNone(Seed("example.net", 8000).node_id)
        self.assertEqual(Seed("example.net", 8000, 5).node_id, 5)


class SharedTests(SynchronousTestCase):
    """The contacts of all nodes of a process."""

    def test_one(self) -> None:
        """Equal contacts are one object, wherever their parts came from; each part tells them apart."""
        made = [
            shared_contact(1 << 200, ("192.0.2.1", port), bytes([proof] * 48))
            for port, proof in ((8000, 1), (8000, 1), (8001, 1), (8000, 2))
        ]
        self.assertIs(made[0], made[1])
        self.assertEqual(len(set(made)), 3)
        self.assertEqual(made[0], Contact(1 << 200, ("192.0.2.1", 8000), bytes([1] * 48)))
