import random

from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from dht14.errors import CallFailed
from dht14.maintenance.periodic import JITTER, Periodic
from tests.fakes import fields

INTERVAL = 10.0
LATEST = INTERVAL * (1 + JITTER)


class PeriodicTests(SynchronousTestCase):
    """A pass every ten seconds."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.passes: list[float] = []
        self.outcome: object = None

    def one_pass(self) -> object:
        self.passes.append(self.clock.seconds())
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    def start(self, seed: int = 1) -> Periodic:
        periodic = Periodic("sweep", INTERVAL, self.one_pass, self.clock, random.Random(seed))
        periodic.startService()
        return periodic

    def pass_time(self, seconds: float) -> None:
        self.clock.pump([0.1] * round(seconds / 0.1))

    def test_jitter(self) -> None:
        """The first pass runs about an interval after the start, at another moment in each node."""
        firsts = set()
        for seed in range(20):
            self.passes.clear()
            periodic = self.start(seed)
            began = self.clock.seconds()
            self.pass_time(INTERVAL * (1 - JITTER) - 0.2)
            self.assertEqual(self.passes, [])
            self.pass_time(LATEST)
            firsts.add(round(self.passes[0] - began, 1))
            periodic.stopService()
        self.assertGreater(len(firsts), 10)

    def test_again(self) -> None:
        """From then on a pass runs every interval."""
        self.start()
        self.pass_time(LATEST + 5 * INTERVAL)
        gaps = [after - before for before, after in zip(self.passes, self.passes[1:], strict=False)]
        self.assertGreaterEqual(len(gaps), 4)
        for gap in gaps:
            self.assertAlmostEqual(gap, INTERVAL, delta=0.2)

    def test_raises(self) -> None:
        """A pass that raises is logged under its name; the next ones run as planned."""
        self.outcome = ZeroDivisionError()
        self.start()
        with capturedLogs() as events:
            self.pass_time(LATEST + 2 * INTERVAL)
        self.assertGreaterEqual(len(self.passes), 3)
        self.assertEqual(fields(events, "name", "log_failure")[0][0], "sweep")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), len(self.passes))

    def test_fails_later(self) -> None:
        """So is one whose Deferred or coroutine fails."""

        async def fails() -> None:
            await self.trouble
            raise ZeroDivisionError

        self.trouble: Deferred[None] = Deferred()
        self.outcome = fails()
        self.start()
        self.pass_time(LATEST)
        self.outcome = None
        self.trouble.callback(None)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.pass_time(INTERVAL)
        self.assertGreaterEqual(len(self.passes), 2)

    def test_takes_longer(self) -> None:
        """While a pass is under way no other one runs."""
        work: Deferred[None] = Deferred()
        self.outcome = work
        self.start()
        self.pass_time(5 * INTERVAL)
        self.assertEqual(len(self.passes), 1)
        work.callback(None)
        self.pass_time(INTERVAL)
        self.assertEqual(len(self.passes), 2)

    def test_stop(self) -> None:
        """Stopped before the first pass or between two, it runs no further one, and no timer is left."""
        for moment in (0.0, LATEST + 1):
            self.passes.clear()
            periodic = self.start()
            self.pass_time(moment)
            passes = list(self.passes)
            self.assertIsNone(periodic.stopService())
            self.assertEqual(self.clock.getDelayedCalls(), [])
            self.pass_time(LATEST)
            self.assertEqual(self.passes, passes)

    def test_stop_cancels(self) -> None:
        """A pass that is under way at the stop is cancelled; that is no failure, and no other one follows."""
        self.outcome = Deferred()
        periodic = self.start()
        self.pass_time(LATEST)
        stopped = periodic.stopService()
        assert stopped is not None
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stop_cuts_parts(self) -> None:
        """Nor is it a failure if nested parts are cancelled, or their calls fail; a bug is one."""
        for cause, errors in ((CancelledError(), 0), (CallFailed(), 0), (ZeroDivisionError(), 1)):
            part: Deferred[None] = Deferred(lambda part, cause=cause: part.errback(cause))  # type: ignore[misc]
            self.outcome = gatherResults([gatherResults([part], consumeErrors=True)], consumeErrors=True)
            periodic = self.start()
            self.pass_time(LATEST)
            stopped = periodic.stopService()
            assert stopped is not None
            self.successResultOf(stopped)
            self.assertEqual(len(self.flushLoggedErrors()), errors)

    def test_stop_waits(self) -> None:
        """The stop waits for a pass that takes time to end, also if that fails."""

        async def tidies_up(work: "Deferred[None]") -> None:
            try:
                await Deferred()
            finally:
                await work

        for end in (lambda work: work.callback(None), lambda work: work.errback(ZeroDivisionError())):
            work: Deferred[None] = Deferred()
            self.outcome = tidies_up(work)
            periodic = self.start()
            self.pass_time(LATEST)
            stopped = periodic.stopService()
            assert stopped is not None
            self.assertNoResult(stopped)
            end(work)
            self.successResultOf(stopped)
            self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
