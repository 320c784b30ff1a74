"""Disks that need half a second for each flush, and disks that hang."""

from twisted.trial.unittest import SynchronousTestCase

from dht14.database.group_commit import GroupCommit
from dht14.sim.host_scripts import cut_power, disks
from dht14.sim.run import ScenarioRun, verdicts_of
from dht14.sim.scenario import Result, Scenario
from tests.sim import mutants

PUTS, PAUSE = 60, 0.05


def slow_power_cut(run: ScenarioRun) -> None:
    """All nodes are killed while clients put, and start again with their disks."""
    world = run.world
    with disks(run):
        run.join()
        for host in world.hosts:
            if host.disk is not None:
                host.disk.flush_seconds = 0.5
        for number in range(PUTS):
            world.clock.post(number * PAUSE, lambda _: run.put_in_background(), None)
        world.wait(PUTS * PAUSE - 0.5)
        writes = run.acknowledged()
        cut_power(run)
        run.promise("puts acknowledged before", len(writes), 5)
        run.promise("values lost", run.replicas(writes).count(0), at_most=0)


def hanging_disks(run: ScenarioRun) -> None:
    """The disks of most nodes hang for a minute, while clients put and get the same keys at all nodes."""
    world = run.world
    with disks(run):
        run.join()
        run.put()
        hanging = [node.host.disk for node in run.nodes() if node.host.disk is not None][1:4]
        for disk in hanging:
            disk.hangs = True
        keys = run.history.keys(run.values)
        for turn in range(120):
            world.clock.post(turn * 0.5, lambda _: run.put_in_background(world.rng.choice(keys)), None)
        run.get_for(60, 600)
        for disk in hanging:
            disk.hangs = False
        run.wait(30)
        run.promise("gets that break a promise", run.broken, at_most=0)
        run.promise_acknowledged("puts acknowledged afterwards", run.put(keys), 1)
        run.promise_right("gets right afterwards", verdicts_of(run.get(keys, times=5)), 1)


class HangingDisksTests(SynchronousTestCase):
    def test_gets(self) -> None:
        """No get returns what was replaced while a disk hung."""
        for seed in (1, 2, 3):
            result = Scenario("hanging-disks", "", hanging_disks, nodes=5, values=3).run(seed)
            self.assertEqual(result.violations, ())
            self.assertEqual([promise for promise in result.promises if not promise.kept], [])


class SlowDisksTests(SynchronousTestCase):
    def play(self) -> Result:
        return Scenario("slow-power-cut", "", slow_power_cut, nodes=8, values=10).run(seed=1)

    def test_power_cut(self) -> None:
        """What was acknowledged is there again."""
        self.assertEqual([promise for promise in self.play().promises if not promise.kept], [])

    def test_put_before_commit(self) -> None:
        """The judge finds nodes that acknowledge before they have committed."""
        self.patch(GroupCommit, "put", mutants.put_before_commit(GroupCommit.put))
        self.assertIn("values lost", [promise.name for promise in self.play().promises if not promise.kept])
