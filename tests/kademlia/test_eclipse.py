import random

from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.eclipse import MAX_SUSPECTED, EclipseDetector
from dht14.kademlia.keyspace import random_id
from dht14.kademlia.lookup import Lookup, Purpose
from dht14.kademlia.neighbourhood import Neighbourhood
from dht14.kademlia.routing_table import RoutingTable
from tests.fakes import contact


class EclipseDetectorTests(SynchronousTestCase):
    """A node that knows a network of 300, and its lookups."""

    def setUp(self) -> None:
        self.rng = random.Random(1)
        self.table = RoutingTable(random_id(self.rng))
        self.neighbourhood = Neighbourhood(self.table)
        for _ in range(300):
            self.table.confirmed(contact(random_id(self.rng)), 0, 0.1)
        self.detector = EclipseDetector(self.neighbourhood)
        self.key = random_id(self.rng)

    def search(
        self,
        crowd: int = 0,
        key: int | None = None,
        unfinished: bool = False,
        purpose: Purpose = Purpose.NODES,
    ) -> Lookup:
        """A lookup in which all nodes answer, those of an attacker beside the key included."""
        lookup = Lookup(self.key if key is None else key, self.table.own_id, 8, purpose=purpose)
        lookup.heard_of(self.table.closest(lookup.target))
        lookup.heard_of(contact(lookup.target ^ self.rng.getrandbits(200)) for _ in range(crowd))
        while not unfinished and (chosen := lookup.take_next()):
            for c in chosen:
                lookup.answered(c)
        self.detector.lookup_ended(lookup)
        return lookup

    def test_quiet(self) -> None:
        """A key with honest neighbours is not suspected, except for one in 1,000 by chance."""
        self.search()
        self.assertEqual((self.detector.suspects(self.key), self.detector.detections), (False, 0))
        for _ in range(1000):
            self.search(key=random_id(self.rng))
        self.assertLessEqual(self.detector.detections, 1)

    def test_crowd(self) -> None:
        """A crowded key is suspected, and counted once, until the crowd is gone."""
        for _ in range(2):
            self.search(crowd=20)
            self.assertEqual((self.detector.suspects(self.key), self.detector.detections), (True, 1))
        self.assertFalse(self.detector.suspects(self.key + 1))
        self.search()
        self.assertFalse(self.detector.suspects(self.key))

    def caught(self) -> Lookup:
        """A lookup caught by an attacker that surrounds another key: it heard of no other nodes."""
        elsewhere = self.key ^ 1 << 253
        lookup = Lookup(self.key, self.table.own_id, 8, purpose=Purpose.VALUE)
        lookup.heard_of(contact(elsewhere ^ self.rng.getrandbits(200)) for _ in range(20))
        while chosen := lookup.take_next():
            for c in chosen:
                lookup.answered(c)
        self.detector.lookup_ended(lookup)
        return lookup

    def test_crowd_elsewhere(self) -> None:
        """A key is suspected when its lookup ended in a crowd beside another key."""
        self.assertFalse(self.neighbourhood.is_crowded(self.key, self.caught().shortlist()))
        self.assertEqual((self.detector.suspects(self.key), self.detector.detections), (True, 1))
        self.search()
        self.assertFalse(self.detector.suspects(self.key))

    def test_crowds_do_not_count(self) -> None:
        """A crowd beside a key that is read does not change the estimate of the network size."""
        before = self.neighbourhood.network_size()
        for turn in range(32):
            self.search(crowd=20, key=turn << 251, purpose=Purpose.VALUE)
        self.caught()
        self.assertEqual(self.neighbourhood.network_size(), before)

    def test_led_astray(self) -> None:
        """A key whose lookup was given up is suspected, but not counted as crowded."""
        self.search(unfinished=True)
        self.assertEqual((self.detector.suspects(self.key), self.detector.detections), (True, 0))

    def test_bounded(self) -> None:
        """At most MAX_SUSPECTED keys are remembered, the latest ones."""
        keys = [random_id(self.rng) for _ in range(MAX_SUSPECTED + 5)]
        for key in keys:
            self.search(key=key, unfinished=True)
        self.assertEqual([self.detector.suspects(key) for key in keys], [False] * 5 + [True] * MAX_SUSPECTED)

    def test_network_size(self) -> None:
        """The estimate of the network size learns from each lookup."""
        before = self.neighbourhood.network_size()
        for turn in range(32):
            self.search(key=turn << 251)
        self.assertNotEqual(self.neighbourhood.network_size(), before)
