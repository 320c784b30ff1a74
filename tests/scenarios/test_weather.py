"""Everything at once, as the seed has it."""

from twisted.trial.unittest import SynchronousTestCase

from dht14.sim.scenarios import SCENARIOS

SEEDS = (1, 2)


class WeatherTests(SynchronousTestCase):
    def test_seeds(self) -> None:
        """After foul weather all values are right again, and none was forged or came back from the dead."""
        for seed in SEEDS:
            result = SCENARIOS["weather"].run(seed)
            missed = [promise for promise in result.promises if not promise.kept]
            self.assertEqual(missed, [], f"dht14 sim weather --seed {seed}")
