from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.parameters import OPERATION_TIMEOUT
from dht14.net.api.readiness import DATABASE_TIMEOUT, WAKES_PER_TURN, Readiness, StartStep
from dht14.records.receipt import NoRecord, PutOutcome, PutReason, Receipt
from tests.net.api.case import STORED, record

NOT_READY = Receipt(PutOutcome.NOT_STORED, 0, 3, PutReason.NOT_READY)


class TimedNode:
    """Records its calls and their timeouts; the test answers."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.answers: list[Deferred[Any]] = []

    def put(
        self, key: int, value: bytes, ttl: int, replication: int, timeout: float = OPERATION_TIMEOUT
    ) -> Deferred[Any]:
        return self._asked("put", key, value, ttl, replication, timeout)

    def get(self, key: int, content: bool = False, timeout: float = OPERATION_TIMEOUT) -> Deferred[Any]:
        return self._asked("get", key, content, timeout)

    def watch(self, key: int, on_change: object) -> Deferred[Any]:
        return self._asked("watch", key)

    def _asked(self, *what: Any) -> Deferred[Any]:
        self.asked.append(what)
        self.answers.append(Deferred())
        return self.answers[-1]


class StrictClock(Clock):
    """A clock that takes no time in the past, as reactors do not."""

    def callLater(
        self, delay: float, callable: Callable[..., object], *args: object, **kw: object
    ) -> IDelayedCall:
        assert delay >= 0
        return super().callLater(delay, callable, *args, **kw)


class ReadinessTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = StrictClock()
        self.node = TimedNode()
        self.readiness = Readiness(self.clock)

    def begin(self, *but_for: StartStep) -> None:
        """All steps are done but this one."""
        self.readiness.node_started(self.node)
        for what in {StartStep.VALUES, StartStep.JOIN} - {*but_for}:
            self.readiness.step_done(what)

    def test_ready(self) -> None:
        """A node that is ready is called at once, with the full timeout."""
        self.begin()
        self.readiness.get(1, True)
        self.readiness.put(2, b"v", 60, 3)
        self.assertEqual(
            self.node.asked,
            [("get", 1, True, OPERATION_TIMEOUT), ("put", 2, b"v", 60, 3, OPERATION_TIMEOUT)],
        )
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_waits(self) -> None:
        """Before that, requests wait in their order, and keep the rest of their time."""
        got, put = self.readiness.get(1), self.readiness.put(2, b"v", 60, 3)
        self.readiness.node_started(self.node)
        self.clock.advance(1)
        self.readiness.step_done(StartStep.VALUES)
        self.assertEqual(self.node.asked, [])
        self.clock.advance(0.5)
        self.readiness.step_done(StartStep.JOIN)
        self.assertEqual(self.node.asked, [("get", 1, False, 3.0), ("put", 2, b"v", 60, 3, 3.0)])
        self.node.answers[0].callback(record(1, b"v"))
        self.node.answers[1].callback(STORED)
        self.assertEqual((self.successResultOf(got), self.successResultOf(put)), (record(1, b"v"), STORED))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stood_still(self) -> None:
        """A request at a node that stood still while it started is "not ready" when its time is over, or is
        passed on; it does not fail."""
        self.begin(StartStep.JOIN)
        got, joined = self.readiness.get(1), self.readiness.get(2)
        self.clock.rightNow += 20
        self.clock.advance(0)
        self.assertIs(self.successResultOf(got), NoRecord.NOT_READY)
        self.assertIs(self.successResultOf(joined), NoRecord.NOT_READY)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_no_node(self) -> None:
        """If the identity is still being searched when the time is over, the reason is "not ready"."""
        got, put = self.readiness.get(1), self.readiness.put(2, b"v", 60, 3)
        self.clock.advance(DATABASE_TIMEOUT)
        self.assertNoResult(got)
        self.clock.advance(OPERATION_TIMEOUT - DATABASE_TIMEOUT)
        self.assertIs(self.successResultOf(got), NoRecord.NOT_READY)
        self.assertEqual(self.successResultOf(put), NOT_READY)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_long_check(self) -> None:
        """During the check of a large database a GET waits for a while, then asks the other nodes; a PUT
        keeps waiting."""
        self.begin(StartStep.VALUES)
        got, put = self.readiness.get(1), self.readiness.put(2, b"v", 60, 3)
        self.clock.advance(DATABASE_TIMEOUT)
        self.assertEqual(self.node.asked, [("get", 1, False, OPERATION_TIMEOUT - DATABASE_TIMEOUT)])
        self.node.answers[0].callback(record(1, b"v"))
        self.assertEqual(self.successResultOf(got), record(1, b"v"))
        self.clock.advance(OPERATION_TIMEOUT - DATABASE_TIMEOUT)
        self.assertEqual(self.successResultOf(put), NOT_READY)

    def test_perhaps_among_the_own(self) -> None:
        """A value that the other nodes lack may be in the database that is not open yet: that is not "not
        found"."""
        self.begin(StartStep.VALUES)
        for found, answer in (
            (NoRecord.NOT_FOUND, NoRecord.NOT_READY),
            (NoRecord.UNANSWERED, NoRecord.NOT_READY),
            (NoRecord.DELETED, NoRecord.DELETED),
        ):
            got = self.readiness.get(1)
            self.clock.advance(DATABASE_TIMEOUT)
            self.node.answers[-1].callback(found)
            self.assertIs(self.successResultOf(got), answer)

    def test_opened_meanwhile(self) -> None:
        """Once the database is open, "not found" is final."""
        self.begin(StartStep.VALUES)
        got = self.readiness.get(1)
        self.clock.advance(DATABASE_TIMEOUT)
        self.readiness.step_done(StartStep.VALUES)
        self.node.answers[0].callback(NoRecord.NOT_FOUND)
        self.assertIs(self.successResultOf(got), NoRecord.NOT_FOUND)

    def test_gives_up(self) -> None:
        """A node that fails to start, or that stops, keeps no request waiting, now and later."""
        got = self.readiness.get(1)
        self.readiness.give_up()
        put = self.readiness.put(2, b"v", 60, 3)
        self.assertIs(self.successResultOf(got), NoRecord.NOT_READY)
        self.assertEqual(self.successResultOf(put), NOT_READY)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_gives_up_working(self) -> None:
        """A node that stops still answers what it can."""
        self.begin()
        self.readiness.give_up()
        self.readiness.get(1)
        self.assertEqual(len(self.node.asked), 1)

    def test_put_under_way(self) -> None:
        """The stop of a node cuts its calls short: a put that then lacks receipts may be stored. What holders
        have said stands."""
        self.begin()
        receipts = [Receipt(PutOutcome.NOT_STORED, 2, 8, reason) for reason in PutReason]
        puts = [self.readiness.put(number, b"v", 60, 8) for number in range(len(receipts))]
        self.readiness.give_up()
        for answer, receipt in zip(self.node.answers, receipts, strict=True):
            answer.callback(receipt)
        for put, receipt in zip(map(self.successResultOf, puts), receipts, strict=True):
            is_cut = receipt.reason is PutReason.TOO_FEW_HOLDERS
            self.assertIs(put.reason, PutReason.UNFINISHED if is_cut else receipt.reason)
            self.assertEqual((put.outcome, put.stored), (receipt.outcome, receipt.stored))

    def test_awaited(self) -> None:
        """It reports the pending steps."""
        seen = [self.readiness.pending_steps]
        self.readiness.node_started(self.node)
        seen.append(self.readiness.pending_steps)
        self.readiness.step_done(StartStep.JOIN)
        seen.append(self.readiness.pending_steps)
        self.assertEqual(seen, [{*StartStep}, {StartStep.VALUES, StartStep.JOIN}, {StartStep.VALUES}])

    def test_crowd(self) -> None:
        """Many waiting requests continue some in each turn, and all of them continue."""
        for n in range(2 * WAKES_PER_TURN + 1):
            self.readiness.get(n)
        self.begin()
        self.assertEqual(len(self.node.asked), WAKES_PER_TURN)
        self.clock.advance(0)
        self.clock.advance(0)
        self.assertEqual([what[1] for what in self.node.asked], [*range(2 * WAKES_PER_TURN + 1)])
