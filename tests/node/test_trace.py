from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from dht14.errors import CallFailed
from dht14.kademlia.contact import Contact
from dht14.node.trace import CallOutcome, TracedCall, TracingRpc
from dht14.records.store import Refusal
from dht14.wire.messages import FindNode, FindValue, Lapsed, Nodes, Outranked, Refused, Reply, Stored, Value
from tests.fakes import BulkRecorder, CallRecorder, RpcRecorder, contact

NEAR, FAR, FARTHER = (contact(number, number) for number in (1, 2, 3))
REQUEST = FindValue(7)
OUTRANKED = Outranked(9, ())


def value(*nearer: Contact) -> Value:
    return Value(version=1, ttl_ms=1_000, replication=8, current=True, value=b"v", nearer=nearer)


class TraceTests(SynchronousTestCase):
    """What is written down of the calls of one operation, and what is passed on."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.rpc = RpcRecorder()
        self.ended: list[tuple[TracedCall, CallOutcome]] = []
        self.tracing = TracingRpc(self.rpc, self.clock.seconds, self.has_ended)
        self.observer = CallRecorder()

    def has_ended(self, call: TracedCall) -> None:
        self.ended.append((call, call.outcome))

    def call(self, callee: Contact) -> TracedCall:
        self.tracing.call(callee, REQUEST, self.observer)
        return self.tracing.calls[-1]

    def answer(self, reply: Reply) -> None:
        """Answer the last call after a second."""
        self.clock.advance(1)
        callee, _, observer = self.rpc.calls[-1]
        observer.call_answered(callee, reply)

    def test_passed_on(self) -> None:
        """Requests and facts reach those they are for, as without a trace."""
        self.call(FAR)
        callee, request, observer = self.rpc.calls[0]
        self.assertEqual((callee, request), (FAR, REQUEST))
        observer.call_slow(FAR)
        observer.call_silent(FAR)
        observer.call_failed(FAR)
        self.assertEqual(self.observer.names, ["slow", "silent", "failed"])
        self.call(NEAR)
        self.answer(reply := Nodes((FAR,)))
        self.assertEqual(self.observer.replies, [reply])

    def test_namers(self) -> None:
        """A contact is one hop behind the one that named it first; a contact of the table has no namer."""
        first = self.call(FARTHER)
        self.assertEqual((first.hop, first.named_by), (0, None))
        self.answer(Nodes((FAR,)))
        second = self.call(FAR)
        self.assertEqual((second.hop, second.named_by), (1, FARTHER))
        self.answer(Nodes((FAR, NEAR)))
        third = self.call(NEAR)
        self.assertEqual((third.hop, third.named_by, second.contacts_named), (2, FAR, 2))
        self.answer(value(FAR))
        self.assertEqual(self.call(FAR).named_by, FARTHER, "who named it first")

    def test_outcomes(self) -> None:
        """One word stands for each reply; contacts count that come with a value, too."""
        for reply, outcome, named in (
            (value(FAR), CallOutcome.HOLDS, 1),
            (Nodes((FAR, NEAR)), CallOutcome.NOTHING, 2),
            (Lapsed((FAR,), 0, 1), CallOutcome.NOTHING, 1),
            (Stored(()), CallOutcome.STORED, 0),
            (OUTRANKED, CallOutcome.OUTRANKED, 0),
            (Refused(reason=Refusal.NO_ROOM, nearer=()), CallOutcome.REFUSED, 0),
        ):
            call = self.call(NEAR)
            self.answer(reply)
            facts = call.outcome, call.contacts_named, (call.ended_at or 0) - call.sent_at
            self.assertEqual(facts, (outcome, named, 1), reply)

    def test_slow(self) -> None:
        """A slow call has not ended; a late answer is its end. One without an answer is pending."""
        call = self.call(NEAR)
        self.assertEqual((call.outcome, call.ended_at), (CallOutcome.PENDING, None))
        self.rpc.calls[0][2].call_slow(NEAR)
        self.assertEqual((call.outcome, call.ended_at), (CallOutcome.SLOW, None))
        self.answer(Nodes(()))
        self.assertEqual((call.outcome, call.ended_at), (CallOutcome.NOTHING, 1))
        self.assertEqual(self.ended, [(call, CallOutcome.NOTHING)])

    def test_failed(self) -> None:
        """A call that failed ends when it failed."""
        call = self.call(NEAR)
        self.clock.advance(3)
        self.rpc.calls[0][2].call_failed(NEAR)
        self.assertEqual((call.outcome, call.ended_at), (CallOutcome.FAILED, 3))

    def test_ask(self) -> None:
        """What is asked outside of a lookup is passed on, and not traced."""
        self.tracing.ask(NEAR, REQUEST)
        self.tracing.ask_address(FAR.address, FindNode(1))
        self.assertEqual([request for _, request, _ in self.rpc.calls], [REQUEST, FindNode(1)])
        self.assertEqual(self.tracing.calls, [])


class BulkTests(SynchronousTestCase):
    """Fetches of large values are steps, too."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.bulk = BulkRecorder()
        self.tracing = TracingRpc(RpcRecorder(), self.clock.seconds)
        self.traced = self.tracing.over_bulk(self.bulk)
        self.fetched = self.traced.fetch(NEAR, b"ticket", 5_000)
        (self.call,) = self.tracing.calls
        _, _, _, self.transfer = self.bulk.fetches[0]
        self.clock.advance(2)

    def test_came(self) -> None:
        """A value that came ends its step."""
        self.assertEqual(self.bulk.fetches[0][:3], (NEAR, b"ticket", 5_000))
        self.assertEqual((self.call.request, self.call.ended_at), ("Fetch", None))
        self.transfer.callback(b"value")
        self.assertEqual(self.successResultOf(self.fetched), b"value")
        self.assertEqual((self.call.outcome, self.call.ended_at), (CallOutcome.HOLDS, 2))

    def test_failed(self) -> None:
        """A transfer that failed ends its step; the failure goes on."""
        self.transfer.errback(Failure(CallFailed()))
        self.failureResultOf(self.fetched, CallFailed)
        self.assertEqual((self.call.outcome, self.call.ended_at), (CallOutcome.FAILED, 2))

    def test_cancelled(self) -> None:
        """A transfer that is cancelled, because another one was faster, has no outcome."""
        self.fetched.cancel()
        self.failureResultOf(self.fetched, CancelledError)
        self.assertEqual((self.call.outcome, self.call.ended_at), (CallOutcome.PENDING, None))

    def test_push(self) -> None:
        """A push is passed on, and not traced."""
        self.traced.push(FAR, b"ticket", b"value")
        self.assertEqual(self.bulk.pushes[0][:3], (FAR, b"ticket", b"value"))
        self.assertEqual(len(self.tracing.calls), 1)
