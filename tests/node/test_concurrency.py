from collections.abc import Iterator
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from dht14.node.concurrency import ConcurrencyLimit, run_limited


class TurnsTests(SynchronousTestCase):
    """Two at once, with a timeout of one second."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.turns = ConcurrencyLimit(self.clock, 2, 1.0)
        self.begun: list[str] = []

    def take(self, name: str) -> "Deferred[None]":
        return self.turns.acquire().addCallback(lambda _: self.begun.append(name))

    def test_in_order(self) -> None:
        """As many as may begin do so at once, the others one by one, in the order in which they came."""
        for name in "abcd":
            self.take(name)
        self.assertEqual(self.begun, ["a", "b"])
        self.turns.release()
        self.assertEqual(self.begun, ["a", "b", "c"])
        self.turns.release()
        self.assertEqual(self.begun, ["a", "b", "c", "d"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_patience(self) -> None:
        """After the timeout an operation begins; then at most two run at once again."""
        for name in "abcd":
            self.take(name)
        self.clock.advance(1.0)
        self.assertEqual(self.begun, ["a", "b", "c", "d"])
        self.take("e")
        self.turns.release()
        self.turns.release()
        self.assertNotIn("e", self.begun)
        self.turns.release()
        self.assertIn("e", self.begun)

    def test_cancelled(self) -> None:
        """An operation that is cancelled while it waits does not use a turn."""
        self.take("a")
        self.take("b")
        gone = self.take("c")
        self.take("d")
        gone.cancel()
        self.failureResultOf(gone, CancelledError)
        self.turns.release()
        self.assertEqual(self.begun, ["a", "b", "d"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_many(self) -> None:
        """Many that wait without a timeout, and end as soon as they begin, do so one after the other: not one
        inside the other, where the stack is too small for thousands."""
        turns = ConcurrencyLimit(self.clock, 1)
        events: list[str] = []

        def work() -> None:
            events.append("began")
            turns.release()
            events.append("ended")

        turns.acquire()
        for _ in range(50):
            turns.acquire().addCallback(lambda _: work())
        turns.release()
        self.assertEqual(events, ["began", "ended"] * 50)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class RunLimitedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.waiting: list[Deferred[None]] = []

    async def job(self) -> None:
        self.waiting.append(Deferred())
        await self.waiting[-1]

    def jobs(self, count: int) -> Iterator[Any]:
        return (self.job() for _ in range(count))

    def test_width(self) -> None:
        """So many jobs are under way at a time, and the next begins when one has ended."""
        done = run_limited(self.jobs(5), 2)
        self.assertEqual(len(self.waiting), 2)
        self.waiting[1].callback(None)
        self.assertEqual(len(self.waiting), 3)
        for one in (0, 2, 3, 4):
            self.assertNoResult(done)
            self.waiting[one].callback(None)
        self.successResultOf(done)

    def test_nothing(self) -> None:
        """Nothing to do is done at once."""
        self.successResultOf(run_limited(self.jobs(0), 3))

    def test_failure(self) -> None:
        """If a job fails, those under way are cancelled, none begins, and the failure waits until they have
        ended, also where one of them takes its time."""
        slow_end: Deferred[None] = Deferred()

        async def slow() -> None:
            try:
                await self.job()
            finally:
                await slow_end

        done = run_limited((job() for job in (self.job, slow, self.job)), 2)
        self.waiting[0].errback(ValueError("first"))
        self.assertEqual(len(self.waiting), 2)
        self.assertTrue(self.waiting[1].called)
        self.assertNoResult(done)
        slow_end.callback(None)
        self.assertEqual(str(self.failureResultOf(done, ValueError).value), "first")

    def test_failure_at_once(self) -> None:
        """A job that fails before it waits is the last one to begin."""

        async def fail() -> None:
            raise ValueError

        done = run_limited((fail() if first else self.job() for first in (True, False)), 2)
        self.failureResultOf(done, ValueError)
        self.assertEqual(self.waiting, [])

    def test_cancelled(self) -> None:
        """Cancelled, the jobs under way are, and no other begins."""
        done = run_limited(self.jobs(5), 2)
        done.cancel()
        self.failureResultOf(done, CancelledError)
        self.assertEqual(len(self.waiting), 2)
        for one in self.waiting:
            self.assertTrue(one.called)
