import math
import random
from itertools import accumulate
from statistics import median

from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.keyspace import ID_BITS, ID_SPACE, random_id
from dht14.kademlia.network_size import (
    CROWDED,
    MIN_NEIGHBOURS,
    NetworkSize,
    density,
    density_at_home,
    is_crowded,
    region_radius,
)
from dht14.kademlia.parameters import REGION_FACTOR, K


def distances(size: float, count: int, rng: random.Random) -> list[int]:
    """The distances of the nearest of `size` random nodes from a key."""
    gaps = (int(rng.expovariate(size) * ID_SPACE) for _ in range(count))
    return list(accumulate(gaps))


class CensusTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.rng = random.Random(1)
        self.network_size = NetworkSize()

    def look_around(self, size: float, home: float, regions: int = 32) -> None:
        """Lookups in some of the 32 regions of a network of this size."""
        for number in range(regions):
            target = number << ID_BITS - 5
            self.network_size.lookup_found(target, distances(size, MIN_NEIGHBOURS, self.rng), home)

    def test_density(self) -> None:
        """Half of the keys give a number of nodes that is too high, half one that is too low."""
        for count in (MIN_NEIGHBOURS, K):
            found = [density(distances(1000, count, self.rng)) for _ in range(2000)]
            self.assertLess(abs(median(found) - 1000), 30)

    def test_home_alone(self) -> None:
        """Without lookups the own neighbourhood is all there is; where it is too small, there is nothing."""
        self.assertEqual(self.network_size.estimate(700.0), 700.0)
        self.assertIsNone(density_at_home(distances(1000, K - 1, self.rng)))
        self.assertIsNotNone(density_at_home(distances(1000, K, self.rng)))

    def test_home(self) -> None:
        """The estimated density around our own id is a little too low, crowd or not."""
        for crowd in (0, 20):
            found = []
            for _ in range(1000):
                around = distances(1000, 2 * K, self.rng)
                beside = self.rng.choice(around[:16])
                around += [beside ^ self.rng.getrandbits(230) for _ in range(crowd)]
                found.append(density_at_home(sorted(around)[: 2 * K]) or 0)
            self.assertTrue(800 < median(found) < 1100, median(found))
        self.assertGreater(density_at_home([1] * K) or 0, 0)

    def test_poisoned_home(self) -> None:
        """Many more nodes around our own id do not make the network look larger than it is."""
        self.look_around(1000, home=50_000)
        self.assertLess(abs(self.network_size.estimate(50_000) - 1000), 300)

    def test_poisoned_region(self) -> None:
        """Many nodes beside one key do not change the estimate, however often it is looked up."""
        self.look_around(1000, home=1000)
        before = self.network_size.estimate(1000)
        for _ in range(100):
            self.network_size.lookup_found(3 << ID_BITS - 5, distances(1e9, MIN_NEIGHBOURS, self.rng), 1000)
        self.assertLess(abs(self.network_size.estimate(1000) - before), 100)

    def test_growth(self) -> None:
        """What was found while the network was small is no less true when it has grown."""
        self.look_around(30, home=30)
        self.assertLess(abs(self.network_size.estimate(3000) - 3000), 900)

    def test_too_few(self) -> None:
        """A lookup that found almost no nodes does not count."""
        self.network_size.lookup_found(0, distances(5, MIN_NEIGHBOURS - 1, self.rng), 1000)
        self.assertEqual(self.network_size.estimate(1000), 1000)

    def test_region(self) -> None:
        """The region holds the expected number of honest nodes on average; at most it is the whole space."""
        within = [
            sum(distance <= region_radius(1000, 8) for distance in distances(1000, 64, self.rng))
            for _ in range(500)
        ]
        self.assertLess(abs(sum(within) / len(within) - REGION_FACTOR * 8), 1)
        self.assertEqual(region_radius(10, 20), ID_SPACE)


class CrowdedTests(SynchronousTestCase):
    """When a key counts as crowded."""

    def test_thresholds(self) -> None:
        """Chance makes at most one key in 2,000 1.5 times as dense as each item of CROWDED says."""
        for number, expected in CROWDED.items():
            mean = 1.5 * expected
            fewer = sum(math.exp(-mean) * mean**j / math.factorial(j) for j in range(number))
            self.assertLess(1 - fewer, 1 / 1800)
            self.assertGreater(1 - fewer, 1 / 2600)

    def test_false_alarms(self) -> None:
        """A node that has just joined calls fewer than one key in 1,000 crowded by mistake."""
        rng, alarms = random.Random(2), 0
        for _ in range(10_000):
            network_size, home = NetworkSize(), density_at_home(distances(1000, 2 * K, rng))
            assert home is not None
            for number in range(8):
                network_size.lookup_found(number << ID_BITS - 5, distances(1000, MIN_NEIGHBOURS, rng), home)
            alarms += is_crowded(distances(1000, K, rng), network_size.estimate(home))
        self.assertLess(alarms, 10)

    def test_attack(self) -> None:
        """Eight nodes nearer than any honest one make it ring, and twenty within the space of five do."""
        rng = random.Random(3)
        for _ in range(200):
            honest = distances(1000, K, rng)
            near = sorted(rng.randrange(ID_SPACE // 2000) for _ in range(8))
            self.assertTrue(is_crowded(sorted([*near, *honest])[:K], 1000))
            near = sorted(rng.randrange(ID_SPACE // 220) for _ in range(20))
            self.assertTrue(is_crowded(sorted([*near, *honest])[:K], 1000))

    def test_random_ids(self) -> None:
        """Real ids behave as the theory says."""
        rng = random.Random(4)
        everybody = [random_id(rng) for _ in range(1000)]
        alarms = 0
        for _ in range(300):
            key = random_id(rng)
            alarms += is_crowded(sorted(node_id ^ key for node_id in everybody)[:K], 1000)
        self.assertEqual(alarms, 0)
