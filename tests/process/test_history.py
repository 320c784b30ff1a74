"""What many clients are told by real nodes, while these are killed and begun again."""

from dht14.sim.clients import Workload
from dht14.sim.operations import GetVerdict
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
