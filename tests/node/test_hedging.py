from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.parameters import ANSWER_TURNS, HEDGE_FACTOR, HEDGE_MIN, HEDGE_UNANSWERED, HEDGE_USUAL
from dht14.node.deadline_queue import TIMER_RESOLUTION
from dht14.node.hedging import Hedges


class HedgesTests(SynchronousTestCase):
    """When the answers of one read are overdue."""

    def begin(self, usual_rtt: float = 0.0) -> None:
        self.clock = Clock()
        self.overdue: list[float] = []
        self.hedges = Hedges(self.clock)
        self.read = self.hedges.begin(usual_rtt, lambda: self.overdue.append(self.clock.seconds()))

    def wait(self, seconds: float) -> None:
        self.clock.pump([0.001] * round(seconds * 1000))

    def assert_overdue(self, *times: float) -> None:
        self.assertEqual(len(self.overdue), len(times), self.overdue)
        for found, expected in zip(self.overdue, times, strict=True):
            self.assertGreater(found, expected - 1e-6)
            self.assertLess(found, expected + len(times) * (TIMER_RESOLUTION + 0.002))

    def test_unanswered(self) -> None:
        """Without any answer others are asked after a fixed time, then after pauses of twice the length."""
        self.begin()
        self.wait(8 * HEDGE_UNANSWERED)
        self.assert_overdue(HEDGE_UNANSWERED, 3 * HEDGE_UNANSWERED, 7 * HEDGE_UNANSWERED)

    def test_far(self) -> None:
        """Where round trips are long, the usual one decides."""
        self.begin(usual_rtt=0.2)
        self.wait(0.2 * HEDGE_USUAL + 0.01)
        self.assert_overdue(0.2 * HEDGE_USUAL)

    def test_first_answer(self) -> None:
        """The first answer decides when the others are overdue; later answers change nothing."""
        self.begin()
        self.wait(0.04)
        self.hedges.answered(self.read)
        self.wait(0.01)
        self.hedges.answered(self.read)
        self.wait(0.04 * HEDGE_FACTOR * 3)
        self.assert_overdue(0.04 * HEDGE_FACTOR, 0.04 * HEDGE_FACTOR * 3)

    def test_quick_answer(self) -> None:
        """An answer at once does not make the others overdue at once."""
        self.begin()
        self.hedges.answered(self.read)
        self.wait(HEDGE_MIN + TIMER_RESOLUTION)
        self.assert_overdue(HEDGE_MIN)

    def test_asked_more(self) -> None:
        """Contacts that an answer named have as much time as the first ones."""
        self.begin()
        self.wait(0.02)
        self.hedges.answered(self.read)
        self.hedges.asked_more(self.read)
        self.wait(0.02 + 0.02 * HEDGE_FACTOR)
        self.assert_overdue(0.02 + 0.02 * HEDGE_FACTOR)

    def test_busy(self) -> None:
        """Where a turn of the reactor takes long, answers are overdue only after several such turns."""
        self.begin()
        self.hedges.answered(self.read)
        turn = HEDGE_MIN

        def work() -> None:
            self.clock.rightNow += turn

        self.clock.callLater(HEDGE_MIN, work)
        self.wait(ANSWER_TURNS * turn - HEDGE_MIN - 0.001)
        self.assert_overdue()
        self.wait(HEDGE_MIN + TIMER_RESOLUTION)
        self.assert_overdue(ANSWER_TURNS * turn)

    def test_is_busy(self) -> None:
        """A process is busy while its turns take long, and no longer when they are short again."""
        self.begin()
        self.assertFalse(self.hedges.is_busy)
        self.clock.callLater(HEDGE_MIN, lambda: setattr(self.clock, "rightNow", self.clock.rightNow + 0.01))
        self.wait(HEDGE_MIN + TIMER_RESOLUTION)
        self.assertTrue(self.hedges.is_busy)
        self.wait(4 * HEDGE_UNANSWERED)
        self.assertFalse(self.hedges.is_busy)

    def test_ended(self) -> None:
        """Nothing happens for a read that has ended. No timer runs when all have, or the node stops."""
        self.begin()
        other = self.hedges.begin(0.0, lambda: self.overdue.append(-1.0))
        self.hedges.ended(self.read)
        self.wait(HEDGE_UNANSWERED + TIMER_RESOLUTION)
        self.assertEqual(self.overdue, [-1.0])
        self.hedges.ended(other)
        self.wait(4 * HEDGE_UNANSWERED)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.hedges.begin(0.0, self.fail)
        self.hedges.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
