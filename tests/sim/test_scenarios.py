"""The named scenarios, as small as they can be: what they show is for the long runs (tox -e scenarios)."""

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from dht14.sim.scenario import Result
from dht14.sim.scenarios import SCENARIOS


class ScenariosTests(SynchronousTestCase):
    def play(self, name: str, nodes: int, values: int, seed: int = 1) -> Result:
        """The result of a small one; every promise must be kept."""
        result = evolve(SCENARIOS[name], nodes=nodes, values=values).run(seed)
        self.assertEqual([promise for promise in result.promises if not promise.kept], [])
        return result

    def test_names(self) -> None:
        """Every scenario is found by its name, and says in one line what it shows."""
        for name, scenario in SCENARIOS.items():
            self.assertEqual(name, scenario.name)
            self.assertLess(len(scenario.summary), 110)
            self.assertNotIn("\n", scenario.summary)

    def test_loss(self) -> None:
        """A twentieth of the datagrams lost, and a fifth."""
        self.play("loss-5", nodes=20, values=30)
        self.play("loss-20", nodes=20, values=20)

    def test_sealed(self) -> None:
        """The same with the sessions of real nodes."""
        self.play("sealed", nodes=12, values=10)

    def test_large(self) -> None:
        """Values that fit no datagram."""
        self.play("large", nodes=12, values=10)

    def test_deaths(self) -> None:
        """30 % killed at once."""
        result = self.play("deaths", nodes=30, values=30)
        self.assertEqual(result.verdicts["right"], 150)

    def test_holders(self) -> None:
        """All holders but one killed at once."""
        self.play("holders", nodes=40, values=20)

    def test_partition(self) -> None:
        """Two halves apart, both writing."""
        self.play("partition", nodes=16, values=4)

    def test_one_way(self) -> None:
        """Nodes behind NATs."""
        self.play("one-way", nodes=20, values=10)

    def test_newcomer(self) -> None:
        """One more node finds everything."""
        result = self.play("newcomer", nodes=40, values=30)
        self.assertLess(result.notes["hops per get"], result.notes["log2 of the nodes"])

    def test_power_cut(self) -> None:
        """All killed at once, and begun again with their disks."""
        self.play("power-cut", nodes=12, values=20)

    def test_bad_disks(self) -> None:
        """Some disks refuse, and some are slow."""
        self.play("bad-disks", nodes=24, values=20)

    def test_repeatable(self) -> None:
        """A scenario and a seed have one result, disks included; another seed another."""
        results = [self.play("power-cut", nodes=8, values=5, seed=seed) for seed in (7, 7, 8)]
        self.assertEqual(results[0].digest, results[1].digest)
        self.assertEqual(results[0].intervals, results[1].intervals)
        self.assertNotEqual(results[0].digest, results[2].digest)
