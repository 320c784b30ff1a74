from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from dht14.node.lookup_deadlines import LookupDeadlines


class LookupDeadlinesTests(SynchronousTestCase):
    """When lookups end at the latest. `tests.node.test_lookup_run` has what happens after a standstill."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.deadlines = LookupDeadlines(self.clock)
        self.ended: list[float] = []

    def begin(self, seconds: float) -> int:
        """Begin a lookup that is ended by its deadline."""

        def end() -> None:
            self.deadlines.ended(lookup_id)
            self.ended.append(seconds)

        lookup_id = self.deadlines.begin(seconds, end)
        return lookup_id

    def test_deadlines(self) -> None:
        """Each lookup ends after its time, in any order; those that have ended are not ended again."""
        over = self.begin(0.5)
        for seconds in (2.0, 1.0):
            self.begin(seconds)
        self.deadlines.ended(over)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        for expected in ([], [1.0], [1.0, 2.0]):
            self.assertEqual(self.ended, expected)
            self.clock.pump([0.9, 0.1, 0.0])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stop(self) -> None:
        """A node that stops leaves no timer."""
        self.begin(1.0)
        self.deadlines.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
