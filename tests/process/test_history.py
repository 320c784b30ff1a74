"""What many clients are told by real nodes, while these are killed and begun again."""

from dht14.records.record import Kind
from dht14.sim.clients import Workload
from dht14.sim.operations import GetVerdict
from tests.process.mutants import program
from tests.process.rivals import Rivals
from tests.process.test_network import NetworkTestCase


class HistoryTests(NetworkTestCase):
    def test_restarts(self) -> None:
        """No get breaks a promise: none returns a replaced or deleted value, no value is forged or lost."""
        workload = Workload(seconds=10.0, copies=(1, 20), junk=0.0)
        rivals = Rivals(self.cluster(10), workload, keys=9, restarts=20.0)
        rivals.work()
        self.assertEqual(rivals.history.violations, [], rivals.report())
        self.assertGreater(rivals.history.count(GetVerdict.RIGHT), 200)
        self.assertGreater(rivals.restarted, 0)

    def test_mutant(self) -> None:
        """The checker finds nodes that forget deletions. Other faults: `scripts/bench/mutants.py`."""
        workload = Workload(seconds=60.0, copies=(8, 8), junk=0.0, deletions=0.5)
        nodes = self.network.cluster(3, program=program("forgets_deletions"))
        rivals = Rivals(nodes, workload, keys=3, clients=2, until_wrong=True)
        rivals.work()
        found = {(read.kind, read.verdict) for read in rivals.history.violations}
        self.assertIn((Kind.OWNER, GetVerdict.STALE), found, rivals.report())
