from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from dht14.net.api.frame_timeout import FRAME_SECONDS, FrameLimit


class FrameLimitTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.expired: list[float] = []
        self.limit = FrameLimit(self.clock, lambda: self.expired.append(self.clock.seconds()))

    def test_expires(self) -> None:
        """It is up after 30 s of running, however often it is told to run."""
        for _ in range(40):
            self.limit.run()
            self.clock.advance(1)
            if self.expired:
                break
        self.assertEqual(self.expired, [FRAME_SECONDS])

    def test_stands_still(self) -> None:
        """While it stands, no time passes and nothing is scheduled."""
        self.limit.run()
        self.clock.advance(20)
        self.limit.stand()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.clock.advance(1000)
        self.limit.run()
        self.clock.advance(10)
        self.assertEqual(self.expired, [1030])

    def test_renewed(self) -> None:
        """After a whole message all the time is there again."""
        self.limit.run()
        self.clock.advance(FRAME_SECONDS - 1)
        self.limit.renew()
        self.limit.run()
        self.clock.advance(FRAME_SECONDS - 1)
        self.assertEqual(self.expired, [])
