"""Random faults of network, disks and nodes at once."""

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from dht14.sim.scenario import Scenario
from dht14.sim.scenarios import SCENARIOS

SEEDS = (1, 2)

SMALL = ((2, 3), (2, 6), (3, 20), (4, 10), (5, 2), (5, 21), (7, 1))
"""Numbers of nodes and seeds with which a get once broke a promise, or seemed to."""


class RandomFaultsTests(SynchronousTestCase):
    def test_seeds(self) -> None:
        """After the faults all values are right again, and no value was forged or returned after its
        expiry."""
        for seed in SEEDS:
            self.assert_kept(SCENARIOS["random-faults"], seed)

    def test_small_networks(self) -> None:
        """The same in networks of a few nodes."""
        for nodes, seed in SMALL:
            self.assert_kept(evolve(SCENARIOS["random-faults"], nodes=nodes, values=10), seed)

    def assert_kept(self, scenario: Scenario, seed: int) -> None:
        missed = [promise for promise in scenario.run(seed).promises if not promise.kept]
        self.assertEqual(missed, [], f"dht14 sim random-faults --nodes {scenario.nodes} --seed {seed}")
