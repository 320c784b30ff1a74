from twisted.trial.unittest import SynchronousTestCase

from dht14.security.prekey_clock import MAX_PEER_TIMES, PrekeyClock

NOW = 1_700_000_000.0
HOUR, DAY = 3600.0, 86_400.0


class PrekeyClockTests(SynchronousTestCase):
    """What time it is, where clocks differ."""

    def setUp(self) -> None:
        self.wall = NOW
        self.time = PrekeyClock(lambda: self.wall)

    def test_alone(self) -> None:
        """Without anybody's word it is what the own clock says, and a second one is given the benefit of the doubt."""
        self.assertEqual(self.time.time_to_sign(NOW), NOW)
        self.assertEqual(self.time.time_to_judge(NOW - 3 * DAY, NOW), NOW - 3 * DAY)
        self.assertEqual(self.time.time_to_judge(NOW + 3 * DAY, NOW), NOW)

    def test_own_clock_wrong(self) -> None:
        """However far the own clock is wrong, or is set, two others are right; time goes on for them meanwhile."""
        self.time.heard(1, NOW, NOW)
        self.time.heard(2, NOW + 1, NOW)
        for wall in (0.0, NOW - 25 * HOUR, NOW + 25 * HOUR, NOW + 1e9):
            self.wall = wall
            self.assertApproximates(self.time.time_to_sign(NOW + 60), NOW + 60, 1)
            self.assertApproximates(self.time.time_to_judge(NOW, NOW + 60), NOW + 60, 60)

    def test_one_other(self) -> None:
        """One peer is believed where that makes two good for each other."""
        self.time.heard(1, NOW, NOW)
        self.wall = NOW - 2 * DAY
        self.assertEqual(self.time.time_to_sign(NOW), NOW)
        self.wall = NOW + 2 * DAY
        self.assertEqual(self.time.time_to_judge(NOW, NOW), NOW)

    def test_liars(self) -> None:
        """Who says that it is long ago is not judged by that where others say that it is not; nor do a few liars
        change what is signed."""
        for node_id in range(5):
            self.time.heard(node_id, NOW, NOW)
        for node_id in range(5, 9):
            self.time.heard(node_id, NOW - 9 * DAY, NOW)
        self.assertEqual(self.time.time_to_judge(NOW - 9 * DAY, NOW), NOW)
        self.assertEqual(self.time.time_to_sign(NOW), NOW)

    def test_bounded(self) -> None:
        """A peer has one voice, its last; the last few peers count."""
        for _ in range(99):
            self.time.heard(0, NOW - DAY, NOW)
        self.time.heard(1, NOW, NOW)
        self.assertEqual(self.time.time_to_sign(NOW), NOW)
        for node_id in range(2, 2 + MAX_PEER_TIMES):
            self.time.heard(node_id, NOW + HOUR, NOW)
        self.wall = 0.0
        self.assertEqual(self.time.time_to_sign(NOW), NOW + HOUR)
