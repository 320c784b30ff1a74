from collections.abc import Iterable

from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.contact import Contact
from dht14.kademlia.lookup import Lookup

OWN = 1 << 255
"""Far from the ids of these tests, which are small numbers where nothing else is said."""


def contact(node_id: int) -> Contact:
    return Contact(node_id, ("192.0.2.1", 8000))


def contacts(*node_ids: int) -> list[Contact]:
    return [contact(node_id) for node_id in node_ids]


def ids(found: Iterable[Contact]) -> list[int]:
    return [one.node_id for one in found]


class LookupTestCase(SynchronousTestCase):
    """A lookup of id 0: the distance of an id is the id."""

    def lookup(self, *known: int, width: int = 3, alpha: int = 2, thorough: bool = False) -> Lookup:
        lookup = Lookup(0, OWN, width, alpha, thorough)
        lookup.heard_of(contacts(*known))
        return lookup

    def assert_next(self, lookup: Lookup, *expected: int) -> None:
        self.assertEqual(ids(lookup.take_next()), list(expected))

    def assert_finished(self, lookup: Lookup, *nearest: int) -> None:
        self.assertEqual((lookup.take_next(), lookup.finished), ([], True))
        self.assertEqual(ids(lookup.nearest()), list(nearest))
