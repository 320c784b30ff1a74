from twisted.trial.unittest import SynchronousTestCase

from dht14.security.prekey_clock import MAX_PEER_TIMES, PrekeyClock

NOW = 1_700_000_000.0
HOUR, DAY = 3600.0, 86_400.0


class PrekeyClockTests(SynchronousTestCase):
    """The time for pre-keys, where clocks differ."""

    def setUp(self) -> None:
        self.wall = NOW
        self.time = PrekeyClock(lambda: self.wall)

    def test_alone(self) -> None:
        """Without peers the own clock counts, and a single peer is believed."""
        self.assertEqual(self.time.time_to_sign(NOW), NOW)
        self.assertEqual(self.time.time_to_judge(NOW - 3 * DAY, NOW), NOW - 3 * DAY)
        self.assertEqual(self.time.time_to_judge(NOW + 3 * DAY, NOW), NOW)

    def test_own_clock_wrong(self) -> None:
        """Two peers correct the own clock, however far it is wrong or is set, and time goes on meanwhile."""
        self.time.heard(1, NOW, NOW)
        self.time.heard(2, NOW + 1, NOW)
        for wall in (0.0, NOW - 25 * HOUR, NOW + 25 * HOUR, NOW + 1e9):
            self.wall = wall
            self.assertApproximates(self.time.time_to_sign(NOW + 60), NOW + 60, 1)
            self.assertApproximates(self.time.time_to_judge(NOW, NOW + 60), NOW + 60, 60)

    def test_one_other(self) -> None:
        """One peer is believed where two nodes accept each other only so."""
        self.time.heard(1, NOW, NOW)
        self.wall = NOW - 2 * DAY
        self.assertEqual(self.time.time_to_sign(NOW), NOW)
        self.wall = NOW + 2 * DAY
        self.assertEqual(self.time.time_to_judge(NOW, NOW), NOW)

    def test_liars(self) -> None:
        """A peer with an old time is judged by the times of others, and a few liars do not change what is
        signed."""
        for node_id in range(5):
            self.time.heard(node_id, NOW, NOW)
        for node_id in range(5, 9):
            self.time.heard(node_id, NOW - 9 * DAY, NOW)
        self.assertEqual(self.time.time_to_judge(NOW - 9 * DAY, NOW), NOW)
        self.assertEqual(self.time.time_to_sign(NOW), NOW)

    def test_bounded(self) -> None:
        """The latest time of each peer counts, and only the latest peers."""
        for _ in range(99):
            self.time.heard(0, NOW - DAY, NOW)
        self.time.heard(1, NOW, NOW)
        self.assertEqual(self.time.time_to_sign(NOW), NOW)
        for node_id in range(2, 2 + MAX_PEER_TIMES):
            self.time.heard(node_id, NOW + HOUR, NOW)
        self.wall = 0.0
        self.assertEqual(self.time.time_to_sign(NOW), NOW + HOUR)
