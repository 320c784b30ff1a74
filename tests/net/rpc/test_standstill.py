from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from dht14.net.rpc.standstill import BEAT_INTERVAL, DRAIN_SECONDS, STANDSTILL, StandstillDetector


class StandstillTests(SynchronousTestCase):
    """What is noticed of a process that stood still."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.standstill = StandstillDetector(self.clock)

    def may_have_waited(self) -> bool:
        return self.standstill.may_have_waited(self.clock.seconds())

    def test_running(self) -> None:
        """While it runs nothing has waited, nor before it began or after it ended."""
        self.assertFalse(self.may_have_waited())
        self.standstill.startService()
        for _ in range(100):
            self.clock.advance(BEAT_INTERVAL / 10)
            self.assertFalse(self.may_have_waited())
        self.standstill.stopService()
        self.clock.advance(600)
        self.assertFalse(self.may_have_waited())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stood_still(self) -> None:
        """What is read first after a standstill may have waited, and what is read a moment after the next beat;
        then it runs as before."""
        self.standstill.startService()
        self.clock.rightNow += 600
        self.assertTrue(self.may_have_waited(), "before any timer")
        self.clock.advance(0)
        self.assertTrue(self.may_have_waited(), "after the beat")
        self.clock.advance(DRAIN_SECONDS)
        self.assertFalse(self.may_have_waited())
        self.standstill.stopService()

    def test_short_stall(self) -> None:
        """A stall that makes no difference to a value is none."""
        self.standstill.startService()
        self.clock.rightNow += STANDSTILL
        self.assertFalse(self.may_have_waited())
        self.clock.advance(0)
        self.assertFalse(self.may_have_waited())
        self.standstill.stopService()
