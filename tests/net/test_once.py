from twisted.trial.unittest import SynchronousTestCase

from dht14.net.once import FirstTimes


class FirstTimesTests(SynchronousTestCase):
    def test_once(self) -> None:
        """A source is new once, whatever others come between."""
        first = FirstTimes(limit=3)
        self.assertEqual([first.is_first(source) for source in "abacb"], [True, True, False, True, False])

    def test_bounded(self) -> None:
        """A flood of sources is new `limit` times and no more: it costs neither memory nor log lines."""
        first = FirstTimes(limit=3)
        self.assertEqual(sum(first.is_first(number) for number in range(1000)), 3)
        self.assertFalse(first.is_first(0))
