"""The experiment, with its options."""

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from dht14.sim.conditions import Conditions
from dht14.sim.experiment import EXPERIMENT, experiment

SMALL = evolve(EXPERIMENT, nodes=6, values=10, script=experiment(gets=30))


class ExperimentTests(SynchronousTestCase):
    def test_run(self) -> None:
        """Each phase has its figures, and reports its progress."""
        seen: list[tuple[str, int, int]] = []
        result = SMALL.run(1, lambda *step: seen.append(step))
        self.assertEqual([result.phases[name].good for name in ("joins", "puts", "gets")], [8, 10, 30])
        self.assertEqual(seen[0], ("joins", 1, 8))
        self.assertEqual(
            [step for step in seen if step[1] == step[2]],
            [("joins", 8, 8), ("puts", 10, 10), ("gets", 30, 30)],
        )
        self.assertTrue(result.kept)
        self.assertGreater(result.hops.total(), 0)

    def test_repeatable(self) -> None:
        """The same scenario and seed have the same result: no figure depends on the machine."""
        rough = Conditions(loss=0.05, duplicate=0.05, reorder=0.05)
        scenario = evolve(SMALL, conditions=rough, script=experiment(gets=30, kill=0.2))
        self.assertEqual(scenario.run(1), scenario.run(1))

    def test_killed(self) -> None:
        """The given share of the nodes dies, bootstrap nodes not counted; one node always stays."""
        for nodes, kill, killed in ((10, 0.3, 3), (2, 0.99, 1), (10, 0.0, 0)):
            scenario = evolve(SMALL, nodes=nodes, values=3, script=experiment(gets=3, kill=kill))
            self.assertEqual(scenario.run(1).notes["nodes killed"], killed)

    def test_broken_promise(self) -> None:
        """Values that are not found break a promise, and so does a network that acknowledges none."""
        lonely = evolve(SMALL, conditions=Conditions(loss=0.99)).run(1)
        self.assertLess(lonely.phases["gets"].good, lonely.phases["gets"].count)
        self.assertIn("gets right", [promise.name for promise in lonely.promises if not promise.kept])
        silent = evolve(SMALL, values=0).run(1)
        self.assertEqual((silent.phases["puts"].good, silent.phases["gets"].count), (0, 0))
        self.assertIn("puts acknowledged", [promise.name for promise in silent.promises if not promise.kept])
