"""Networks of two to seven nodes, as users begin with, under constant kills, stops and hanging disks."""

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from dht14.sim.run import SETTLE
from dht14.sim.scenarios import SCENARIOS
from tests.outcomes import acknowledged, value_of
from tests.scenarios.cluster import Cluster

SEEDS = ((2, 3), (3, 4), (4, 2), (4, 5), (5, 1), (7, 1))
"""Sizes and seeds. With the first four gets returned what had been replaced or had expired, or nothing."""


class HistoryTests(SynchronousTestCase):
    def test_seeds(self) -> None:
        """No get breaks a promise."""
        for nodes, seed in SEEDS:
            result = evolve(SCENARIOS["history-small"], nodes=nodes).run(seed)
            replay = f"dht14 sim history-small --nodes {nodes} --seed {seed}"
            self.assertEqual(result.violations, (), replay)
            self.assertEqual([promise for promise in result.promises if not promise.kept], [], replay)
            self.assertGreater(result.verdicts["right"], 1_000, replay)


class StandstillTests(SynchronousTestCase):
    """Three nodes, of which one stands still in the middle of an operation that the others do not hear."""

    KEY = 14 << 240

    def setUp(self) -> None:
        self.cluster = Cluster(3)
        self.cluster.join_all()
        self.world = self.cluster.world
        self.world.wait(30)
        self.writer, self.other, self.sleeper = self.cluster.nodes()

    def put(self, value: bytes) -> None:
        put = self.writer.stack.node.put(self.KEY, value, 3_600, 3)
        self.world.wait(SETTLE)
        self.assertTrue(acknowledged(self.successResultOf(put)))

    def test_get(self) -> None:
        """A get that stands still with its process asks again: that nobody was heard means nothing. So it
        does not return the copy of its own node, which was replaced before it began."""
        self.put(b"old")
        self.world.freeze(self.sleeper)
        self.world.wait(10)
        self.put(b"new")
        self.world.partition([self.sleeper.number])
        self.world.thaw(self.sleeper)
        found = self.sleeper.stack.node.get(self.KEY)
        self.world.wait(1)
        self.world.freeze(self.sleeper)
        self.world.partition()
        self.world.wait(60)
        self.world.thaw(self.sleeper)
        self.world.wait(SETTLE)
        self.assertEqual(value_of(self.successResultOf(found)), b"new")

    def test_put(self) -> None:
        """A put that stands still with its process is not acknowledged for the own copy alone, also where
        the others did not answer before: they were not heard."""
        self.world.partition([self.sleeper.number])
        self.world.wait(30)
        for stands_still in (True, False):
            put = self.sleeper.stack.node.put(self.KEY, b"new", 3_600, 3)
            if stands_still:
                self.world.freeze(self.sleeper)
                self.world.wait(60)
                self.world.thaw(self.sleeper)
            self.world.wait(SETTLE)
            self.assertIs(acknowledged(self.successResultOf(put)), not stands_still)
