import random

from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.explored import BLOCKS_REMEMBERED, Explored
from dht14.kademlia.keyspace import ID_BITS, ID_SPACE, random_id, random_id_sharing
from dht14.kademlia.parameters import EXPLORED_FOR

QUARTER = 1 << 254


class ExploredTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.explored = Explored()

    def covers(self, target: int, bits: int, now: float = 0.0) -> bool:
        return self.explored.covers(target, bits, now)

    def test_nothing(self) -> None:
        """At first nothing is known."""
        self.assertFalse(self.covers(5, ID_BITS))

    def test_everything(self) -> None:
        """A lookup that met the whole network covers every range."""
        self.explored.met_everybody(5, ID_SPACE - 1, 0.0)
        rng = random.Random(1)
        self.assertTrue(all(self.covers(random_id(rng), bits) for bits in (0, 1, 100, ID_BITS)))

    def test_no_more_than_reached(self) -> None:
        """Covered is the largest range that lies within the reach as a whole, and not the one around it."""
        for reach, bits in (
            (QUARTER, 2),
            (QUARTER - 1, 2),
            (QUARTER - 2, 3),
            (2 * QUARTER - 2, 2),
            (0, ID_BITS),
        ):
            explored = Explored()
            explored.met_everybody(QUARTER + 3, reach, 0.0)
            self.assertTrue(explored.covers(QUARTER + 3, bits, 0.0), reach)
            self.assertFalse(explored.covers(QUARTER + 3, bits - 1, 0.0), reach)

    def test_claims_are_true(self) -> None:
        """What is covered was reached, whatever lookups went before."""
        rng = random.Random(2)
        for _ in range(50):
            explored = Explored()
            reaches = [(rng.getrandbits(256), rng.getrandbits(rng.randint(250, 256))) for _ in range(12)]
            for target, reach in reaches:
                explored.met_everybody(target, reach, 0.0)
            for _ in range(50):
                target, bits = random_id(rng), rng.randint(0, 8)
                if explored.covers(target, bits, 0.0):
                    inside = random_id_sharing(target, rng.randint(bits, 255), rng)
                    self.assertTrue(any(inside ^ center <= reach for center, reach in reaches))

    def test_halves(self) -> None:
        """Who knows both halves of a range knows the range, as well as the half seen earlier."""
        self.explored.met_everybody(0, QUARTER - 1, 10.0)
        self.assertFalse(self.covers(0, 1, 10.0))
        self.explored.met_everybody(QUARTER, QUARTER - 1, 100.0)
        self.assertTrue(self.covers(0, 1, 100.0))
        self.assertFalse(self.covers(0, 1, 10.0 + EXPLORED_FOR))
        self.assertTrue(self.covers(QUARTER, 2, 10.0 + EXPLORED_FOR))

    def test_quarters(self) -> None:
        """Four quarters are the whole, in whatever order they came."""
        for number in (2, 0, 3, 1):
            self.assertFalse(self.covers(0, 0))
            self.explored.met_everybody(number * QUARTER, QUARTER - 1, 0.0)
        self.assertTrue(self.covers(0, 0))

    def test_grows_old(self) -> None:
        """Knowledge is good for a while only, and is renewed by the next lookup."""
        self.explored.met_everybody(5, QUARTER, 0.0)
        self.assertTrue(self.covers(5, 2, EXPLORED_FOR - 1))
        self.assertFalse(self.covers(5, 2, EXPLORED_FOR))
        self.explored.met_everybody(5, QUARTER, EXPLORED_FOR)
        self.assertTrue(self.covers(5, 2, EXPLORED_FOR))

    def test_newcomer(self) -> None:
        """Where an unknown node turns up nothing is known any more; elsewhere it still is."""
        for number in range(4):
            self.explored.met_everybody(number * QUARTER, QUARTER - 1, 0.0)
        self.explored.met_newcomer(3 * QUARTER + 77)
        self.assertFalse(self.covers(3 * QUARTER, 2))
        self.assertFalse(self.covers(0, 0))
        self.assertTrue(self.covers(0, 1))

    def test_bounded(self) -> None:
        """So many ranges are remembered, and the oldest is forgotten first."""
        rng = random.Random(3)
        targets = [random_id(rng) for _ in range(BLOCKS_REMEMBERED + 1)]
        for target in targets:
            self.explored.met_everybody(target, 1 << 100, 0.0)
        self.assertFalse(self.covers(targets[0], 156))
        self.assertTrue(self.covers(targets[1], 156))
        self.assertTrue(self.covers(targets[-1], 156))
