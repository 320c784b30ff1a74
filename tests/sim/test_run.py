"""Runs of scenarios."""

from collections import Counter

from twisted.trial.unittest import SynchronousTestCase

from dht14.sim.operations import GetVerdict
from dht14.sim.run import Promise, ScenarioRun, verdicts_of
from dht14.sim.world import World


class PromiseTests(SynchronousTestCase):
    def test_kept(self) -> None:
        """A promise is kept when the figure is within its bounds, these included."""
        self.assertTrue(Promise("a", 0.5, at_least=0.5).kept)
        self.assertFalse(Promise("a", 0.49, at_least=0.5).kept)
        self.assertTrue(Promise("a", 0, at_most=0).kept)
        self.assertFalse(Promise("a", 1, at_most=0).kept)


class ScenarioRunTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.steps: list[tuple[str, int, int]] = []
        self.world = World(nodes=8, seed=1)
        self.scenario_run = ScenarioRun(self.world, 5, 100, lambda *step: self.steps.append(step))
        self.scenario_run.join()

    def test_put_and_get(self) -> None:
        """Acknowledged values are right when clients get them; progress is reported."""
        stored = self.scenario_run.put()
        self.assertEqual([put.result for put in stored], [True] * 5)
        writes = self.scenario_run.acknowledged()
        found = self.scenario_run.get([write.key for write in writes], times=2)
        self.assertEqual(verdicts_of(found), Counter({GetVerdict.RIGHT: 10}))
        self.assertEqual([get.result.value for get in found][::2], [write.value for write in writes])
        self.assertEqual(self.scenario_run.verdicts, verdicts_of(found))
        self.assertTrue(all(1 <= len(write.value) <= 100 for write in writes))
        last = {phase: (over, count) for phase, over, count in self.steps}
        self.assertEqual(last, {"joins": (10, 10), "puts": (5, 5), "gets": (10, 10)})

    def test_lost(self) -> None:
        """When all holders are gone a value is lost, and the snapshots count its copies."""
        self.scenario_run.put([1], replication=2)
        (write,) = self.scenario_run.acknowledged()
        holding = self.scenario_run.holders(1)
        self.assertEqual(self.scenario_run.replicas([write]), [len(holding)])
        for node in holding:
            self.world.kill(node)
        self.scenario_run.wait(61)
        self.assertEqual(self.scenario_run.replicas([write]), [0])
        self.assertEqual(verdicts_of(self.scenario_run.get([1])), Counter({GetVerdict.LOST: 1}))
        self.assertEqual([interval.without for interval in self.scenario_run.timeline.intervals(1000.0)], [1])

    def test_get_for(self) -> None:
        """Gets are spread over the given time, and only acknowledged values are read."""
        self.scenario_run.put()
        began = self.scenario_run.now
        verdicts = self.scenario_run.get_for(120.0, gets=24)
        self.assertEqual(verdicts, Counter({GetVerdict.RIGHT: 24}))
        intervals = [
            interval for interval in self.scenario_run.timeline.intervals(10.0) if interval.at > began
        ]
        self.assertGreaterEqual(sum(interval.gets > 0 for interval in intervals), 10)

    def test_callers(self) -> None:
        """Gets use only the given nodes."""
        self.scenario_run.put()
        node = self.world.nodes[5]
        before = node.stack.node.lookups_by_hops.total()
        keys = [write.key for write in self.scenario_run.acknowledged()]
        self.scenario_run.get(keys, times=3, callers=[node])
        others = [other for other in self.world.callers() if other is not node]
        self.assertEqual(self.scenario_run.verdicts, Counter({GetVerdict.RIGHT: 15}))
        self.assertGreaterEqual(node.stack.node.lookups_by_hops.total(), before)
        self.assertNotEqual(others, [])

    def test_named_contacts(self) -> None:
        """`named_contacts` returns what a peer receives."""
        named = self.scenario_run.named_contacts([1 << 200])
        self.assertEqual(
            {contact.address for contact in named} - {host.contact.address for host in self.world.hosts},
            set(),
        )
        self.assertGreater(len(named), 5)

    def test_promises(self) -> None:
        """The share of right gets is a promise like others."""
        self.scenario_run.promise_right("gets", Counter({GetVerdict.RIGHT: 3, GetVerdict.LOST: 1}), 0.75)
        self.assertEqual(self.scenario_run.promises, [Promise("gets", 0.75, at_least=0.75)])
