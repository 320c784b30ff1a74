import random
from math import inf, log

from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.lifetimes import HALF_LIFE, Lifetimes
from dht14.kademlia.parameters import REPAIR_INTERVAL_MIN

HOUR = 3600.0


class LifetimesTests(SynchronousTestCase):
    def observed(self, median: float, contacts: int, seconds: float) -> Lifetimes:
        """The estimate after contacts have come and gone for some time."""
        rng = random.Random(1)
        lifetimes = Lifetimes(0.0)
        for now in range(5, int(seconds) + 1, 5):
            lost = sum(rng.random() < 5 * log(2) / median for _ in range(contacts))
            lifetimes.observed(float(now), contacts, lost)
        return lifetimes

    def test_measured(self) -> None:
        """Contacts that are still alive count for the median too, and it follows within a few minutes."""
        for median in (600.0, 3600.0):
            self.assertLess(abs(self.observed(median, 300, 900).median / median - 1), 0.25)

    def test_interval(self) -> None:
        """Repair comes twice in a median lifetime, within the bounds."""
        self.assertLess(abs(self.observed(600.0, 300, 900).repair_interval(HOUR) - 300), 75)
        self.assertEqual(self.observed(30.0, 300, 900).repair_interval(HOUR), REPAIR_INTERVAL_MIN)
        self.assertEqual(self.observed(30.0, 300, 900).repair_interval(10.0), 10.0)

    def test_beginning(self) -> None:
        """Before anything was seen contacts are believed to live for hours; one loss at once is no panic."""
        lifetimes = Lifetimes(0.0)
        self.assertEqual(lifetimes.repair_interval(HOUR), HOUR)
        lifetimes.observed(5.0, 10, 1)
        self.assertGreater(lifetimes.repair_interval(HOUR), HOUR / 2)

    def test_follows(self) -> None:
        """When the network has calmed down, that is seen some half-lives later."""
        lifetimes = self.observed(600.0, 300, 3600)
        for turn in range(1, 11):
            lifetimes.observed(3600 + turn * HALF_LIFE, 300, 0)
        self.assertEqual(lifetimes.repair_interval(HOUR), HOUR)

    def test_nobody(self) -> None:
        """Without contacts, however long, there is a number."""
        lifetimes = Lifetimes(0.0)
        lifetimes.observed(1e9, 0, 0)
        self.assertEqual((lifetimes.median, lifetimes.repair_interval(HOUR)), (inf, HOUR))
