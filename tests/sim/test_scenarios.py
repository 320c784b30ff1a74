"""The named scenarios, as small as possible: tox -e scenarios runs them at full size."""

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from dht14.sim.scenario import Result
from dht14.sim.scenarios import ALIASES, SCENARIOS


class ScenariosTests(SynchronousTestCase):
    def run_small(self, name: str, nodes: int, values: int, seed: int = 1) -> Result:
        """Run it at this size; every promise must be kept."""
        result = evolve(SCENARIOS[name], nodes=nodes, values=values).run(seed)
        self.assertEqual([promise for promise in result.promises if not promise.kept], [])
        return result

    def test_names(self) -> None:
        """Each scenario is found by its name, has a summary of one line, and aliases name scenarios."""
        for name, scenario in SCENARIOS.items():
            self.assertEqual(name, scenario.name)
            self.assertLess(len(scenario.summary), 110)
            self.assertNotIn("\n", scenario.summary)
        self.assertLessEqual(set(ALIASES.values()), set(SCENARIOS))
        self.assertEqual(set(ALIASES) & set(SCENARIOS), set())

    def test_loss(self) -> None:
        """5 % and 20 % of the datagrams lost."""
        self.run_small("loss-5", nodes=20, values=30)
        self.run_small("loss-20", nodes=20, values=20)

    def test_sealed(self) -> None:
        """The same with encrypted datagrams."""
        self.run_small("sealed", nodes=12, values=10)

    def test_large(self) -> None:
        """Values that do not fit a datagram."""
        self.run_small("large", nodes=12, values=10)

    def test_deaths(self) -> None:
        """30 % killed at once."""
        result = self.run_small("deaths", nodes=30, values=30)
        self.assertEqual(result.verdicts["right"], 150)

    def test_holders(self) -> None:
        """All holders but one killed at once."""
        self.run_small("holders", nodes=40, values=20)

    def test_watches(self) -> None:
        """Holders of watched keys that lie to the watchers."""
        result = self.run_small("watches", nodes=8, values=1)
        self.assertGreater(result.notes["lies per key and minute"], 100)

    def test_partition(self) -> None:
        """A partition, with puts on both sides."""
        self.run_small("partition", nodes=16, values=4)

    def test_one_way(self) -> None:
        """Nodes behind NATs."""
        self.run_small("one-way", nodes=20, values=10)

    def test_newcomer(self) -> None:
        """One more node finds everything."""
        result = self.run_small("newcomer", nodes=40, values=30)
        self.assertLess(result.notes["hops per get"], result.notes["log2 of the nodes"])

    def test_power_cut(self) -> None:
        """All killed at once, and restarted with their disks."""
        self.run_small("power-cut", nodes=12, values=20)

    def test_bad_disks(self) -> None:
        """Some disks refuse, and some are slow."""
        self.run_small("bad-disks", nodes=24, values=20)

    def test_repeatable(self) -> None:
        """A scenario and a seed have one result, disks included; another seed has another."""
        results = [self.run_small("power-cut", nodes=8, values=5, seed=seed) for seed in (7, 7, 8)]
        self.assertEqual(results[0].digest, results[1].digest)
        self.assertEqual(results[0].intervals, results[1].intervals)
        self.assertNotEqual(results[0].digest, results[2].digest)
