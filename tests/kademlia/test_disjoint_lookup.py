import random
from collections.abc import Iterable

from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.contact import Contact
from dht14.kademlia.disjoint_lookup import DisjointLookup
from dht14.kademlia.keyspace import ID_SPACE
from dht14.kademlia.parameters import INITIAL_CONTACTS, PATHS, REGION_NODES
from dht14.kademlia.subnet_limits import unlimited
from tests.kademlia.test_subnet_limits import first_byte

OWN = 1 << 255


def contact(node_id: int, subnet: int = 10) -> Contact:
    return Contact(node_id, (f"{subnet}.0.0.1", 8000))


class PathsTests(SynchronousTestCase):
    """A search for id 0 over disjoint paths: the distance of an id is the id."""

    def paths(self, known: Iterable[Contact], width: int = 2, radius: int = 0) -> DisjointLookup:
        return DisjointLookup.of(0, OWN, list(known), width, radius, unlimited)

    def test_other_beginnings(self) -> None:
        """Each path begins with other contacts, and no contact is asked twice."""
        paths = self.paths(map(contact, range(1, 9)))
        self.assertEqual(sorted(c.node_id for c in paths.take_next()), list(range(1, 9)))
        self.assertEqual(paths.take_next(), [])
        for node_id in range(1, 9):
            paths.answered(contact(node_id), [contact(20)])
        self.assertEqual([c.node_id for c in paths.nearest()], [1, 2])
        self.assertEqual((paths.take_next(), paths.finished), ([], True))

    def test_a_poisoned_path(self) -> None:
        """What a liar names affects its own path alone; the others find the real nodes."""
        honest = list(range(100, 103))
        paths = self.paths(map(contact, [50, 100, 101, 102]), width=3)
        asked: list[int] = []
        while chosen := paths.take_next():
            for c in chosen:
                asked.append(c.node_id)
                if c.node_id == 50 or c.node_id < 50:
                    paths.answered(c, [contact(near) for near in range(1, 41)])
                else:
                    paths.answered(c, [contact(node_id) for node_id in (*honest, 110, 111)])
        self.assertTrue(paths.finished)
        self.assertTrue({*honest, 110, 111} <= set(asked))
        self.assertEqual(len(asked), len(set(asked)))

    def test_initial_contacts(self) -> None:
        """Each path asks some of the contacts it begins with, though it hears of enough nearer ones."""
        liars = range(40, 40 + PATHS)
        paths = self.paths(map(contact, [*liars, *range(100, 100 + INITIAL_CONTACTS * PATHS)]))
        asked: list[int] = []
        while chosen := paths.take_next():
            for c in chosen:
                asked.append(c.node_id)
                named = [contact(7)] if c.node_id == 110 else []
                paths.answered(c, map(contact, range(10, 30)) if c.node_id < 100 else named)
        self.assertEqual(sum(node_id >= 100 for node_id in asked), (INITIAL_CONTACTS - 1) * PATHS)
        self.assertIn(7, [c.node_id for c in paths.nearest()])

    def test_region(self) -> None:
        """All nodes within the radius are found, within bounds and within the quota of each subnet."""
        rng = random.Random(1)
        within = sorted(rng.sample(range(1, 10_000), 40))
        paths = self.paths(map(contact, [*within[:8], *range(20_000, 20_040)]), radius=10_000)
        while chosen := paths.take_next():
            for c in chosen:
                paths.answered(c, [contact(node_id) for node_id in within])
        self.assertEqual([c.node_id for c in paths.nearest()], within)
        paths = DisjointLookup.of(
            0, OWN, [contact(i, subnet=1 + i % 5) for i in range(1, 21)], 2, 100, first_byte
        )
        while chosen := paths.take_next():
            for c in chosen:
                paths.answered(c)
        self.assertEqual([c.node_id for c in paths.nearest()], list(range(1, 11)))

    def test_bounded(self) -> None:
        """A node that names new ones without end is not followed without end, and the region is limited."""
        rng, asked = random.Random(2), 0
        paths = self.paths(map(contact, range(1, 21)), radius=ID_SPACE)
        while chosen := paths.take_next():
            asked += len(chosen)
            for c in chosen:
                paths.answered(c, [contact(rng.getrandbits(200)) for _ in range(20)])
        self.assertTrue(paths.finished)
        self.assertTrue(paths.is_suspicious)
        self.assertEqual((asked, len(paths.nearest())), (200, REGION_NODES))

    def test_facts(self) -> None:
        """The slow, the silent and the failed are reported to the path that asked them."""
        known = [contact(node_id) for node_id in range(1, 2 * PATHS + 1)]
        paths = self.paths(known)
        paths.take_next()
        for c in known[:PATHS]:
            paths.slow(c)
            paths.silent(c)
            paths.failed(c)
        for c in known[PATHS:-1]:
            paths.refused(c, [contact(c.node_id + 20)])
        self.assertEqual(sorted(c.node_id for c in paths.take_next()), [25, 26, 27])
        paths.conclude()
        self.assertEqual((paths.take_next(), paths.finished), ([], True))
