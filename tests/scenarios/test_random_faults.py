"""Random faults of network, disks and nodes at once."""

from twisted.trial.unittest import SynchronousTestCase

from dht14.sim.scenarios import SCENARIOS

SEEDS = (1, 2)


class RandomFaultsTests(SynchronousTestCase):
    def test_seeds(self) -> None:
        """After the faults all values are right again, and no value was forged or returned after its
        expiry."""
        for seed in SEEDS:
            result = SCENARIOS["random-faults"].run(seed)
            missed = [promise for promise in result.promises if not promise.kept]
            self.assertEqual(missed, [], f"dht14 sim random-faults --seed {seed}")
