from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from dht14.net.api.frame_timeout import FRAME_TIMEOUT, FrameTimer


class FrameTimerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.expired: list[float] = []
        self.timer = FrameTimer(self.clock, lambda: self.expired.append(self.clock.seconds()))

    def test_expires(self) -> None:
        """The timer expires after 30 s of running, however often it is started."""
        for _ in range(40):
            self.timer.start()
            self.clock.advance(1)
            if self.expired:
                break
        self.assertEqual(self.expired, [FRAME_TIMEOUT])

    def test_paused(self) -> None:
        """While it is paused, no time passes and no timer is set."""
        self.timer.start()
        self.clock.advance(20)
        self.timer.pause()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.clock.advance(1000)
        self.timer.start()
        self.clock.advance(10)
        self.assertEqual(self.expired, [1030])

    def test_overdue(self) -> None:
        """Paused after a standstill, overdue but not expired yet, it expires when it goes on."""
        self.timer.start()
        self.clock.rightNow += FRAME_TIMEOUT + 1
        self.timer.pause()
        self.timer.start()
        (call,) = self.clock.getDelayedCalls()
        self.assertEqual(call.getTime(), self.clock.seconds())

    def test_reset(self) -> None:
        """After a complete frame the full time is available again."""
        self.timer.start()
        self.clock.advance(FRAME_TIMEOUT - 1)
        self.timer.reset()
        self.timer.start()
        self.clock.advance(FRAME_TIMEOUT - 1)
        self.assertEqual(self.expired, [])
