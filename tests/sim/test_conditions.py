"""What a virtual network is like."""

import random

from twisted.trial.unittest import SynchronousTestCase

from dht14.sim.conditions import REGION_DISTANCES, REGION_SHARES, Conditions


class ConditionsTests(SynchronousTestCase):
    def test_one_place(self) -> None:
        """Without distances all hosts are in one region; their lines have the median that was asked for."""
        rng = random.Random(1)
        drawn = [Conditions(latency=0.03).draw_access(rng) for _ in range(1000)]
        self.assertEqual({region for _, region in drawn}, {0})
        self.assertApproximates(sorted(half for half, _ in drawn)[500], 0.015, 0.002)

    def test_worldwide(self) -> None:
        """Round trips all over the world are as measured: 160 ms at the median, some tens to some
        hundreds."""
        rng = random.Random(1)
        drawn = [Conditions.worldwide().draw_access(rng) for _ in range(1000)]
        pairs = [rng.sample(drawn, 2) for _ in range(5000)]
        round_trips = sorted(2 * (a + b + REGION_DISTANCES[here][there]) for (a, here), (b, there) in pairs)
        self.assertApproximates(round_trips[2500], 0.160, 0.016)
        self.assertLess(round_trips[250], 0.080)
        self.assertGreater(round_trips[4750], 0.250)

    def test_distances(self) -> None:
        """The way there is as far as the way back, and every region has its share of hosts."""
        for here, row in enumerate(REGION_DISTANCES):
            self.assertEqual(
                list(row), [REGION_DISTANCES[there][here] for there in range(len(REGION_DISTANCES))]
            )
        self.assertApproximates(sum(REGION_SHARES), 1.0, 1e-9)
        self.assertEqual(len(REGION_SHARES), len(REGION_DISTANCES))
