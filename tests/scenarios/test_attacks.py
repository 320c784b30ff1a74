"""Attackers with valid identities, in small networks: the scenarios of `dht14 sim` have the full sizes."""

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from dht14.sim.scenarios import SCENARIOS


class AttacksTests(SynchronousTestCase):
    def play(self, name: str, nodes: int, values: int) -> dict[str, float]:
        result = evolve(SCENARIOS[name], nodes=nodes, values=values).run(seed=1)
        self.assertEqual([promise for promise in result.promises if not promise.kept], [])
        return result.notes

    def test_one_subnet(self) -> None:
        """Five times as many attackers as nodes, in one subnet, get few table entries and few receipts."""
        self.play("one-subnet", nodes=28, values=10)

    def test_four_subnets(self) -> None:
        """20 attackers in 4 subnets next to a key cannot hide it, and are detected."""
        self.assertGreater(self.play("eclipse-4", nodes=60, values=1)["alarms"], 0)

    def test_half_of_all_nodes(self) -> None:
        """Nor can they where they surround ten keys, and catch lookups for each other's keys, at the promised
        size."""
        self.play("eclipse-4", nodes=200, values=10)

    def test_twenty_subnets(self) -> None:
        """Nor can 20 in 20 subnets hide a key."""
        self.assertGreater(self.play("eclipse-20", nodes=60, values=1)["alarms"], 0)

    def test_hostile_nodes(self) -> None:
        """With a fifth of the nodes hostile, content and owners' records are found, and no value is
        forged."""
        self.play("hostile", nodes=60, values=10)

    def test_displacement(self) -> None:
        """Junk replaces neither content nor owners' records, at the promised size."""
        self.play("displacement", nodes=200, values=100)

    def test_lowered(self) -> None:
        """An attacker cannot lower the number of copies of a value."""
        self.play("lowered", nodes=24, values=12)
