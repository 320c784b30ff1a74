"""Experiments and their figures."""

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from dht14.sim.conditions import Conditions
from dht14.sim.report import Experiment, Plan
from dht14.sim.statistics import PhaseStatistics

SMALL = Plan(nodes=6, values=10, gets=30)


class ExperimentTests(SynchronousTestCase):
    def test_run(self) -> None:
        """All phases are gone through, with progress, and the figures tell of each."""
        seen: list[tuple[str, int, int]] = []
        report = Experiment(SMALL, lambda *step: seen.append(step)).run()
        self.assertEqual((report.joins.good, report.puts.good, report.gets.good), (8, 10, 30))
        self.assertEqual(seen[0], ("joins", 1, 8))
        self.assertEqual(
            [step for step in seen if step[1] == step[2]],
            [("joins", 8, 8), ("puts", 10, 10), ("gets", 30, 30)],
        )
        self.assertTrue(report.promise_kept)
        self.assertGreater(report.hops.total(), 0)

    def test_repeatable(self) -> None:
        """A plan has one report: no figure depends on the machine."""
        plan = evolve(SMALL, conditions=Conditions(loss=0.05, duplicate=0.05, reorder=0.05), kill=0.2)
        self.assertEqual(Experiment(plan).run(), Experiment(plan).run())

    def test_killed(self) -> None:
        """That part of the nodes dies, bootstrap nodes not counted; one always stays."""
        for nodes, kill, killed in ((10, 0.3, 3), (2, 0.99, 1), (10, 0.0, 0)):
            plan = evolve(SMALL, nodes=nodes, kill=kill, values=3, gets=3)
            self.assertEqual(Experiment(plan).run().killed, killed)

    def test_broken_promise(self) -> None:
        """Values that nobody finds break the promise, and so does a network that acknowledges none."""
        lonely = Experiment(evolve(SMALL, conditions=Conditions(loss=0.99))).run()
        self.assertLess(lonely.gets.good, lonely.gets.count)
        self.assertFalse(lonely.promise_kept)
        self.assertFalse(
            evolve(lonely, puts=evolve(lonely.puts, good=0), gets=PhaseStatistics.of([], 0)).promise_kept
        )
