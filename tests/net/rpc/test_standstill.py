from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from dht14.net.rpc.standstill import BEAT_INTERVAL, DRAIN_SECONDS, STANDSTILL, StandstillDetector


class StandstillTests(SynchronousTestCase):
    """Standstills of the process that are detected."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.standstill = StandstillDetector(self.clock)

    def may_have_waited(self) -> bool:
        return self.standstill.may_have_waited(self.clock.seconds())

    def test_running(self) -> None:
        """While it runs no datagram has waited, nor before the start or after the stop."""
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
        """Datagrams read first after a standstill may have waited, also shortly after the next beat; later
        ones have not."""
        self.standstill.startService()
        self.clock.rightNow += 600
        self.assertTrue(self.may_have_waited(), "before any timer")
        self.clock.advance(0)
        self.assertTrue(self.may_have_waited(), "after the beat")
        self.clock.advance(DRAIN_SECONDS)
        self.assertFalse(self.may_have_waited())
        self.standstill.stopService()

    def test_told(self) -> None:
        """The end of a standstill is told once; before that it shows."""
        told: list[float] = []
        self.standstill.on_standstill = told.append
        self.standstill.startService()
        self.clock.rightNow += 600
        self.assertTrue(self.standstill.is_late(self.clock.seconds()))
        self.assertEqual(told, [])
        self.clock.advance(0)
        self.assertFalse(self.standstill.is_late(self.clock.seconds()))
        self.clock.advance(BEAT_INTERVAL)
        self.assertEqual(told, [1600.0])
        self.standstill.stopService()

    def test_short_stall(self) -> None:
        """A short stall, which makes no difference to a value, does not count."""
        self.standstill.startService()
        self.clock.rightNow += STANDSTILL
        self.assertFalse(self.may_have_waited())
        self.clock.advance(0)
        self.assertFalse(self.may_have_waited())
        self.standstill.stopService()
