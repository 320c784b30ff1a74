"""Histories of concurrent clients in small networks; and of networks with known faults."""

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from dht14.node.node import Node
from dht14.records.record import Kind
from dht14.sim import world
from dht14.sim.clients import FaultPlan, Workload, history
from dht14.sim.conditions import Conditions
from dht14.sim.scenario import Result, Scenario
from dht14.sim.scenarios import SCENARIOS
from tests.sim import mutants

ALIKE = Workload(seconds=40.0, put_interval=4.0, copies=(8, 8), junk=0.0)
"""All values have the same number of copies, and there is no junk."""

MIXED = evolve(ALIKE, copies=(1, 20), junk=0.1)

SHORT = evolve(ALIKE, seconds=180.0, put_interval=30.0, short_ttls=0.7)
"""Most values expire while clients read them."""


class HistoryTestCase(SynchronousTestCase):
    def play(
        self, faults: FaultPlan, workload: Workload = ALIKE, loss: float = 0.0, nodes: int = 24, keys: int = 9
    ) -> Result:
        """Run clients in a small network with a few keys."""
        conditions = Conditions.worldwide(loss=loss)
        play = history(faults, workload)
        return Scenario("history", "", play, nodes=nodes, values=keys, conditions=conditions).run(seed=1)

    def assert_flawless(self, result: Result) -> None:
        self.assertEqual(result.violations, ())
        self.assertEqual([promise for promise in result.promises if not promise.kept], [])
        self.assertGreater(result.verdicts["right"], 400)


class ShippedTests(HistoryTestCase):
    """With shipped code no get breaks a promise."""

    def test_no_faults(self) -> None:
        """Without faults."""
        self.assert_flawless(self.play(FaultPlan()))

    def test_restarts(self) -> None:
        """While nodes are killed and return with old copies, others join, and datagrams are lost."""
        self.assert_flawless(self.play(FaultPlan(restarts=10.0, joins=4.0), loss=0.03))

    def test_deaths(self) -> None:
        """While nodes die for good and new ones replace them."""
        self.assert_flawless(self.play(FaultPlan(deaths=6.0), loss=0.03))

    def test_liars(self) -> None:
        """While some nodes are hostile."""
        self.assert_flawless(self.play(FaultPlan(hostile_share=0.1)))

    def test_clocks(self) -> None:
        """While clocks of a third of the nodes are set wrong."""
        self.assert_flawless(self.play(FaultPlan(clock_steps=30.0), SHORT, nodes=40))

    def test_partition(self) -> None:
        """During a partition, and after it."""
        workload = evolve(ALIKE, seconds=170.0, put_interval=12.0)
        self.assert_flawless(self.play(FaultPlan(partition_seconds=30.0), workload))

    def test_mixed(self) -> None:
        """With one to twenty copies of values that replace each other, and junk."""
        self.assert_flawless(self.play(FaultPlan(), evolve(MIXED, seconds=50.0), nodes=60, keys=12))


class MutantsTests(HistoryTestCase):
    """The checker finds each of these faults."""

    def assert_found(self, result: Result, verdict: str, *kinds: Kind) -> None:
        """Gets with this wrong verdict, of keys of these kinds, are among the violations."""
        self.assertGreater(result.verdicts[verdict], 0)
        found = {kind for kind in Kind for line in result.violations if f"{kind.name.lower()} key" in line}
        self.assertLessEqual(set(kinds), found)

    def test_whole_copies(self) -> None:
        """A merge that takes the replication together with the expiry loses copies when nodes leave."""
        self.patch(world, "MemoryStore", mutants.WholeCopies)
        result = evolve(SCENARIOS["lowered"], nodes=24, values=12).run(seed=1)
        self.assertIn("fewest copies", [promise.name for promise in result.promises if not promise.kept])

    def test_any_three(self) -> None:
        """A read that ends at any three answers returns a replaced value."""
        self.patch(Node, "get", mutants.get_from_any_three)
        self.assert_found(self.play(FaultPlan(), MIXED, nodes=60, keys=12), "stale")

    def test_any_three_forged(self) -> None:
        """It also returns values of other writers under the key of content or of an owner."""
        self.patch(Node, "get", mutants.get_from_any_three)
        self.assert_found(self.play(FaultPlan(hostile_share=0.2), MIXED), "forged", Kind.OWNER)

    def test_own_store(self) -> None:
        """A read that trusts the own store returns what was replaced while its node was down."""
        self.patch(Node, "get", mutants.get_from_own_store(Node.get))
        workload = evolve(ALIKE, put_interval=2.0)
        self.assert_found(self.play(FaultPlan(restarts=10.0), workload), "stale", Kind.OPEN)

    def test_unexpiring(self) -> None:
        """Stores that return expired values."""
        self.patch(world, "MemoryStore", mutants.Unexpiring)
        workload = evolve(SHORT, seconds=300.0, put_interval=60.0)
        self.assert_found(self.play(FaultPlan(), workload, keys=18), "expired", Kind.OPEN)

    def test_undeleting(self) -> None:
        """Deletions that are not kept."""
        self.patch(world, "MemoryStore", mutants.Undeleting)
        workload = evolve(ALIKE, deletions=0.5)
        self.assert_found(self.play(FaultPlan(), workload), "stale", Kind.OWNER)

    def test_one_receipt(self) -> None:
        """A put that is acknowledged when one node has it."""
        self.patch(Node, "put", mutants.put_for_one_receipt)
        workload = evolve(ALIKE, copies=(20, 20), put_interval=1.5)
        self.assert_found(self.play(FaultPlan(), workload, loss=0.2, keys=6), "stale")
