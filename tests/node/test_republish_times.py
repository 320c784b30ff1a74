from twisted.trial.unittest import SynchronousTestCase

from dht14.node.republish_times import JITTER, MAX_KEYS, MAX_POSTPONED, RepublishTimes

T = 100.0


class RepublishTimesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.republish_times = RepublishTimes()

    def test_unknown(self) -> None:
        """A key that no node has republished is due."""
        self.assertTrue(self.republish_times.is_due(1, 0.0, T))

    def test_republished(self) -> None:
        """Whichever node republished it, a key is due again after an interval, less the jitter."""
        self.republish_times.republished(1, 0.0)
        self.republish_times.republished_by_peer(2, 0.0)
        for key in (1, 2):
            self.assertFalse(self.republish_times.is_due(key, T * (1 - JITTER) - 1, T))
            self.assertTrue(self.republish_times.is_due(key, T * (1 - JITTER), T))

    def test_postponed(self) -> None:
        """Others can postpone the republish for MAX_POSTPONED intervals, and no longer."""
        self.republish_times.republished(1, 0.0)
        for turn in range(1, 2 * MAX_POSTPONED):
            self.republish_times.republished_by_peer(1, turn * T / 2)
            self.assertFalse(self.republish_times.is_due(1, turn * T / 2, T))
        self.assertTrue(self.republish_times.is_due(1, MAX_POSTPONED * T, T))

    def test_bounded(self) -> None:
        """When full, the key changed longest ago is forgotten."""
        for key in range(MAX_KEYS):
            self.republish_times.republished_by_peer(key, 0.0)
        self.republish_times.republished_by_peer(0, 1.0)
        self.republish_times.republished_by_peer(-1, 1.0)
        self.assertEqual(
            [self.republish_times.is_due(key, 1.0, T) for key in (-1, 0, 1, 2)], [False, False, True, False]
        )

    def test_forget(self) -> None:
        """Keys that no node has republished since then are forgotten."""
        self.republish_times.republished_by_peer(1, 0.0)
        self.republish_times.republished_by_peer(2, 5.0)
        self.republish_times.forget(5.0)
        self.assertEqual([self.republish_times.is_due(key, 6.0, T) for key in (1, 2)], [True, False])
