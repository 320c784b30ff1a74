"""Statistics of many operations."""

from twisted.trial.unittest import SynchronousTestCase

from dht14.sim.host import Operation
from dht14.sim.statistics import PhaseStatistics, percentile


class PercentileTests(SynchronousTestCase):
    def test_nearest_rank(self) -> None:
        """A percentile is always one of the numbers."""
        numbers = [float(number) for number in range(1, 101)]
        self.assertEqual([percentile(numbers, percent) for percent in (1, 50, 99, 100)], [1, 50, 99, 100])
        self.assertEqual([percentile([1.0, 2.0], percent) for percent in (1, 50, 51, 99)], [1, 1, 2, 2])
        self.assertEqual(percentile([5.0], 50), 5)


class PhaseTests(SynchronousTestCase):
    def test_figures(self) -> None:
        """Times in milliseconds, datagrams and bytes per operation, and the share of good operations."""
        phase = PhaseStatistics.of(
            [
                Operation(True, 0.2, 10, 900),
                Operation(False, 0.1, 20, 1_800),
                Operation(True, 0.3, 30, 3_000),
            ],
            good=2,
        )
        self.assertEqual(
            phase,
            PhaseStatistics(count=3, good=2, p50_ms=200, p99_ms=300, max_ms=300, datagrams=20, bytes=1_900),
        )
        self.assertApproximates(phase.rate, 2 / 3, 1e-9)

    def test_nothing_to_do(self) -> None:
        """A phase without operations has a rate of 1."""
        self.assertEqual(PhaseStatistics.of([], good=0).rate, 1.0)
