"""Wrong clocks."""

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from dht14.sim.scenarios import SCENARIOS


class ClocksTests(SynchronousTestCase):
    def test_a_day_wrong(self) -> None:
        """With a fifth of the clocks wrong by up to a day no put or get fails, and no value is returned
        late."""
        result = evolve(SCENARIOS["clocks"], nodes=20, values=20).run(seed=1)
        self.assertEqual([promise for promise in result.promises if not promise.kept], [])
