"""Branches of a joined world. `tests.cmd.test_sim` forks some."""

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from dht14.sim.branches import Branches, CannotBranch
from dht14.sim.virtual_disk import VirtualDisk
from dht14.sim.world import World


class BranchesTests(SynchronousTestCase):
    def test_none(self) -> None:
        """A run without branches goes on in its own process, and may end as it likes."""
        branches = Branches(0, 1)
        branches.fork(World(nodes=1, seed=1))
        branches.leave(1)
        self.assertIsNone(branches.number)

    def test_disks(self) -> None:
        """A world with disks is not forked."""
        world = World(nodes=1, seed=1)
        world.set_host(evolve(world.hosts[0], disk=VirtualDisk(self.mktemp(), world.rng)))
        self.assertRaises(CannotBranch, Branches(2, 1).fork, world)

    def test_random_numbers(self) -> None:
        """Branch 0 draws what the world draws without branches; each other draws its own, and the same ones
        each time."""

        def drawn(branch: int | None) -> float:
            world = World(nodes=1, seed=1)
            if branch is not None:
                world.branch(branch)
            return world.rng.random()

        self.assertEqual(drawn(0), drawn(None))
        self.assertEqual(drawn(1), drawn(1))
        self.assertEqual(len({drawn(branch) for branch in range(4)}), 4)
