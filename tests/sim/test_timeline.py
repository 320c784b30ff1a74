"""Timelines."""

from twisted.trial.unittest import SynchronousTestCase

from dht14.sim.timeline import Interval, Timeline


class TimelineTests(SynchronousTestCase):
    def test_intervals(self) -> None:
        """Gets and snapshots are merged by interval; intervals without facts are left out."""
        timeline = Timeline()
        for at, right, seconds in ((1.0, True, 0.1), (2.0, False, 0.3), (31.0, True, 0.2)):
            timeline.get_ended(at, right, seconds)
        timeline.counted(5.0, 7, [8, 3, 0, 8])
        timeline.counted(45.0, 6, [])
        self.assertEqual(timeline.end, 45.0)
        self.assertEqual(
            timeline.intervals(10.0),
            [
                Interval(5.0, 2, 0.5, 100.0, 300.0, 7, 4.75, 0, 1),
                Interval(35.0, 1, 1.0, 200.0, 200.0, None, None, None, None),
                Interval(45.0, 0, None, None, None, 6, None, None, None),
            ],
        )

    def test_nothing(self) -> None:
        """An empty timeline has no intervals."""
        self.assertEqual((Timeline().end, Timeline().intervals(10.0)), (0.0, []))
