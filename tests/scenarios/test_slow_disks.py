"""A power cut of all nodes at once, whose disks need half a second for each flush."""

from twisted.trial.unittest import SynchronousTestCase

from dht14.database.group_commit import GroupCommit
from dht14.sim.host_scripts import cut_power, disks
from dht14.sim.run import ScenarioRun
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
