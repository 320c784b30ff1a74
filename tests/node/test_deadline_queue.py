from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from dht14.node.deadline_queue import TIMER_RESOLUTION, DeadlineQueue


class DeadlineQueueTests(SynchronousTestCase):
    """Deadlines of calls, with one timer."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.pending = {b"a", b"b", b"c"}
        self.passed: list[tuple[bytes, float]] = []
        self.following: list[float] = []
        """Seconds of deadlines that are added at the first one."""
        self.queue = DeadlineQueue(self.clock, self.pending, self.on_deadline)

    def on_deadline(self, rpc_id: bytes, now: float) -> None:
        self.passed.append((rpc_id, round(now, 3)))
        for seconds in self.following:
            self.queue.add_next(now + seconds, rpc_id)
        self.following.clear()

    def run_for(self, seconds: float) -> None:
        self.clock.pump([0.01] * round(seconds / 0.01) + [0.0])

    def test_order(self) -> None:
        """Deadlines are reported in their order, in time, with one timer."""
        for seconds, rpc_id in ((0.3, b"a"), (0.1, b"b"), (0.2, b"c")):
            self.queue.add(seconds, rpc_id, self.clock.seconds())
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.run_for(0.5)
        self.assertEqual([rpc_id for rpc_id, _ in self.passed], [b"b", b"c", b"a"])
        for (_, at), expected in zip(self.passed, (0.1, 0.2, 0.3), strict=True):
            self.assertLess(abs(at - expected), TIMER_RESOLUTION + 0.011)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_ended(self) -> None:
        """The deadline of a call that has ended is skipped."""
        self.queue.add(0.1, b"a", 0.0)
        self.queue.add(0.2, b"b", 0.0)
        self.pending.remove(b"a")
        self.run_for(0.5)
        self.assertEqual([rpc_id for rpc_id, _ in self.passed], [b"b"])

    def test_turn(self) -> None:
        """A turn is waited for and measured where a deadline is due; on request also where none is."""
        every = DeadlineQueue(self.clock, self.pending, self.on_deadline, measures_all_turns=True)
        queues = (self.queue, every)
        for rpc_id, expected in ((b"a", [0.0, 0.5]), (b"b", [0.2, 0.2])):
            for queue in queues:
                queue.add(0.1, rpc_id, self.clock.seconds())
            self.pending.discard(b"a")
            self.clock.callLater(0.1 + 1e-6, self.work, 0.5 if rpc_id == b"a" else 0.2)
            self.clock.advance(0.101)
            self.assertEqual([round(queue.turn, 3) for queue in queues], expected)
            self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual([rpc_id for rpc_id, _ in self.passed], [b"b", b"b"])

    def work(self, seconds: float) -> None:
        self.clock.rightNow += seconds

    def test_next(self) -> None:
        """A deadline that is added while others are processed is reported in its time."""
        self.following = [0.1]
        self.queue.add(0.1, b"a", 0.0)
        self.run_for(0.5)
        self.assertEqual([rpc_id for rpc_id, _ in self.passed], [b"a", b"a"])

    def test_clear(self) -> None:
        """After `clear` there is no timer and no deadline."""
        self.queue.add(0.1, b"a", 0.0)
        self.queue.clear()
        self.assertEqual(self.clock.getDelayedCalls(), [])
