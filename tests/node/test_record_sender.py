from hashlib import sha256

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from dht14.errors import CallFailed, Interrupted
from dht14.kademlia.parameters import MAX_INLINE_VALUE, OPERATION_TIMEOUT, PUSH_SILENT, PUSH_SLOW
from dht14.node.record_sender import LARGE_AT_ONCE, RecordSender
from dht14.records.record import Record
from dht14.wire.messages import (
    MAX_TTL_MS,
    NO_TICKET,
    Offer,
    Outranked,
    Ping,
    Pong,
    Refused,
    Reply,
    Store,
    Stored,
    Wanted,
)
from tests.fakes import BulkRecorder, CallRecorder, RpcRecorder, contact
from tests.owners import Owner

HOLDER = contact(7)
TICKET = bytes(range(16))
SMALL, LARGE = bytes(MAX_INLINE_VALUE), bytes(MAX_INLINE_VALUE + 1)


def store(value: bytes, copy: bool = False) -> Store:
    return Store(3, 5, 60_000, 8, 77, value, copy)


def offer(value: bytes, copy: bool = False, owned: bool = False) -> Offer:
    return Offer(3, 5, 60_000, 8, 77, owned, len(value), sha256(value).digest(), copy)


class CourierCase(SynchronousTestCase):
    """A record sender over recorders."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.rpc = RpcRecorder()
        self.bulk = BulkRecorder()
        self.record_sender = RecordSender(self.rpc, self.bulk, self.clock)
        self.caller = CallRecorder()

    def answer(self, number: int, reply: Reply) -> None:
        """The call of this number is answered."""
        callee, _, observer = self.rpc.calls[number]
        observer.call_answered(callee, reply)


class RecordSenderTests(CourierCase):
    def push_large(self) -> None:
        """A large STORE is called for, and the contact wants the value."""
        self.record_sender.call(HOLDER, store(LARGE), self.caller)
        self.answer(0, Wanted((), TICKET))

    def test_small_passes(self) -> None:
        """What fits a datagram, and every other request, is called as it is, for the very same observer."""
        for request in (store(SMALL), Ping()):
            self.record_sender.call(HOLDER, request, self.caller)
        self.assertEqual(self.rpc.calls, [(HOLDER, store(SMALL), self.caller), (HOLDER, Ping(), self.caller)])

    def test_large_is_offered(self) -> None:
        """A STORE that fits no datagram is offered without its value."""
        self.record_sender.call(HOLDER, store(LARGE, copy=True), self.caller)
        [(callee, request, _)] = self.rpc.calls
        self.assertEqual((callee, request), (HOLDER, offer(LARGE, copy=True)))
        self.assertEqual(self.bulk.pushes, [])

    def test_owned_is_told(self) -> None:
        """Of an owner's envelope the offer says so."""
        value = Owner().says(LARGE, 5)
        self.record_sender.call(HOLDER, store(value), self.caller)
        self.assertEqual(self.rpc.calls[0][1], offer(value, owned=True))

    def test_unwanted(self) -> None:
        """Whatever else than WANTED is said of the offer is the answer to the STORE."""
        for reply in (Stored(()), Outranked(9, ()), Refused(())):
            self.record_sender.call(HOLDER, store(LARGE), self.caller)
            self.answer(-1, reply)
        self.assertEqual(self.caller.replies, [Stored(()), Outranked(9, ()), Refused(())])
        self.assertEqual(self.bulk.pushes, [])

    def test_wanted(self) -> None:
        """The value is pushed with the ticket, and what the holder says then is the answer."""
        self.push_large()
        [(callee, ticket, value, pushed)] = self.bulk.pushes
        self.assertEqual((callee, ticket, value), (HOLDER, TICKET, LARGE))
        self.assertEqual(self.caller.facts, [])
        pushed.callback(Stored((contact(9),)))
        self.assertEqual(self.caller.facts, [("answered", HOLDER)])
        self.assertEqual(self.caller.replies, [Stored((contact(9),))])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_push_fails(self) -> None:
        """A push that fails is a call that failed."""
        self.push_large()
        self.bulk.pushes[0][-1].errback(CallFailed())
        self.assertEqual(self.caller.names, ["failed"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_push_interrupted(self) -> None:
        """A value whose connection was cut is offered once more, for the time that it still has to live."""
        self.push_large()
        self.clock.advance(PUSH_SLOW)
        self.bulk.pushes[0][-1].errback(Interrupted())
        self.assertEqual(self.caller.names, ["slow"])
        offered = [request for _, request, _ in self.rpc.calls if isinstance(request, Offer)]
        self.assertEqual([offered[0].ttl_ms - again.ttl_ms for again in offered], [0, PUSH_SLOW * 1000])
        self.answer(1, Wanted((), TICKET))
        self.clock.pump([PUSH_SLOW, PUSH_SILENT])
        self.bulk.pushes[1][-1].callback(Stored(()))
        self.assertEqual(self.caller.names, ["slow", "silent", "answered"])

    def test_interrupted_again(self) -> None:
        """Where that is cut, too, the call has failed."""
        self.push_large()
        self.bulk.pushes[0][-1].errback(Interrupted())
        self.answer(1, Wanted((), TICKET))
        self.bulk.pushes[1][-1].errback(Interrupted())
        self.assertEqual((self.caller.names, len(self.rpc.calls)), (["failed"], 2))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_interrupted_late(self) -> None:
        """So it has where nobody waits for it any more."""
        self.push_large()
        self.clock.pump([PUSH_SLOW, OPERATION_TIMEOUT])
        self.bulk.pushes[0][-1].errback(Interrupted())
        self.assertEqual((self.caller.names[-1], len(self.rpc.calls)), ("failed", 1))

    def test_many_large(self) -> None:
        """To one contact some large values are on their way at once; each of the others waits, with what it
        still has to live, until one of them has ended. Other contacts and small values do not wait."""
        callers = [CallRecorder() for _ in range(LARGE_AT_ONCE + 2)]
        for caller in callers:
            self.record_sender.call(HOLDER, store(LARGE), caller)
        self.assertEqual(len(self.rpc.calls), LARGE_AT_ONCE)
        self.record_sender.call(HOLDER, store(SMALL), self.caller)
        self.record_sender.call(contact(9), store(LARGE), self.caller)
        self.assertEqual(len(self.rpc.calls), LARGE_AT_ONCE + 2)
        self.clock.pump([PUSH_SLOW, PUSH_SILENT])
        self.assertEqual([caller.names for caller in callers[-3:]], [[], *2 * [["slow", "silent"]]])
        self.answer(0, Stored(()))
        waited = self.rpc.calls[-1][1]
        assert isinstance(waited, Offer)
        self.assertEqual(store(LARGE).ttl_ms - waited.ttl_ms, (PUSH_SLOW + PUSH_SILENT) * 1000)
        self.answer(-1, Stored(()))
        self.assertEqual(callers[-2].names, ["slow", "silent", "answered"])
        self.assertEqual(len(self.rpc.calls), LARGE_AT_ONCE + 4)

    def again(self) -> CallRecorder:
        """The same value is wanted by the same contact, in another attempt."""
        caller = CallRecorder()
        self.record_sender.call(HOLDER, store(LARGE), caller)
        self.answer(-1, Wanted((), TICKET))
        return caller

    def test_sent_once(self) -> None:
        """What an earlier attempt is still sending is not sent beside it, but offered again after it."""
        self.push_large()
        again = self.again()
        self.clock.advance(PUSH_SLOW)
        self.assertEqual(len(self.bulk.pushes), 1)
        self.bulk.pushes[0][-1].callback(Stored(()))
        self.assertEqual((self.caller.names, again.names), (["slow", "answered"], ["slow"]))
        self.answer(-1, Stored(()))
        self.assertEqual(again.names, ["slow", "answered"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_sent_after_all(self) -> None:
        """It is sent where the earlier attempt has failed; not where nobody waits for it any more."""
        self.push_large()
        again = self.again()
        self.bulk.pushes[0][-1].errback(CallFailed())
        self.answer(-1, Wanted((), TICKET))
        late = self.again()
        self.clock.pump([PUSH_SLOW, OPERATION_TIMEOUT])
        self.bulk.pushes[1][-1].callback(Stored(()))
        self.assertEqual(
            (self.caller.names, again.names[-1], late.names[-1]), (["failed"], "answered", "failed")
        )
        self.assertEqual((len(self.bulk.pushes), self.clock.getDelayedCalls()), (2, []))

    def test_waited_in_vain(self) -> None:
        """One for which nobody waits any more when its turn comes is not offered."""
        callers = [CallRecorder() for _ in range(LARGE_AT_ONCE + 1)]
        for caller in callers:
            self.record_sender.call(HOLDER, store(LARGE), caller)
        self.clock.pump([PUSH_SLOW, OPERATION_TIMEOUT])
        self.rpc.calls[0][2].call_failed(HOLDER)
        self.assertEqual(callers[-1].names[-1], "failed")
        self.assertEqual(len(self.rpc.calls), LARGE_AT_ONCE)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_push_breaks(self) -> None:
        """A push that ends in a bug of ours is a call that failed, and is said in the log."""
        self.push_large()
        self.bulk.pushes[0][-1].errback(ZeroDivisionError())
        self.assertEqual(self.caller.names, ["failed"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_push_takes_time(self) -> None:
        """A push that takes long is slow, then silent, and its answer counts all the same."""
        self.push_large()
        self.clock.advance(PUSH_SLOW)
        self.assertEqual(self.caller.names, ["slow"])
        self.clock.advance(PUSH_SILENT - PUSH_SLOW)
        self.bulk.pushes[0][-1].callback(Stored(()))
        self.assertEqual(self.caller.names, ["slow", "silent", "answered"])

    def test_each_fact_once(self) -> None:
        """Where the offer was slow already, a slow push is no news."""
        self.record_sender.call(HOLDER, store(LARGE), self.caller)
        self.rpc.calls[0][2].call_slow(HOLDER)
        self.rpc.calls[0][2].call_silent(HOLDER)
        self.answer(0, Wanted((), TICKET))
        self.clock.pump([PUSH_SLOW, PUSH_SILENT])
        self.assertEqual(self.caller.names, ["slow", "silent"])

    def test_offer_fails(self) -> None:
        """An offer that is not answered is a call that failed."""
        self.record_sender.call(HOLDER, store(LARGE), self.caller)
        self.rpc.calls[0][2].call_failed(HOLDER)
        self.assertEqual(self.caller.names, ["failed"])

    def test_asks(self) -> None:
        """A question is a call whose end is a Deferred; of an address too."""
        asked = self.record_sender.ask(HOLDER, Ping())
        self.answer(0, Pong())
        self.assertEqual(self.successResultOf(asked), Pong())
        asked_there = self.record_sender.ask_address(HOLDER.address, Ping())
        self.answer(1, Pong())
        self.assertEqual(self.successResultOf(asked_there)[1], Pong())


class SendCopyTests(CourierCase):
    def send_copy(self, value: bytes, ttl: float = 60):
        record = Record(key=3, value=value, version=5, expires_at=self.clock.seconds() + ttl, replication=8)
        return self.record_sender.send_copy(HOLDER, record, neighbours=77)

    def test_offered_first(self) -> None:
        """A copy of any size is offered before its value is sent."""
        for value in (SMALL, LARGE):
            delivered = self.send_copy(value)
            self.assertEqual(self.rpc.calls[-1][1], offer(value, copy=True))
            self.answer(-1, Stored(()))
            self.assertEqual(self.successResultOf(delivered), Stored(()))
        self.assertEqual(self.bulk.pushes, [])

    def test_far_expiry(self) -> None:
        """A record that lives longer than a message can say, by a clock that was set back, is offered for
        that time."""
        self.send_copy(SMALL, ttl=10 * 86_400)
        request = self.rpc.calls[0][1]
        assert isinstance(request, Offer)
        self.assertEqual(request.ttl_ms, MAX_TTL_MS)

    def test_small_is_stored(self) -> None:
        """A small one that is wanted follows in a STORE."""
        delivered = self.send_copy(SMALL)
        self.answer(0, Wanted((), NO_TICKET))
        self.assertEqual(self.rpc.calls[1][:2], (HOLDER, store(SMALL, copy=True)))
        self.answer(1, Stored(()))
        self.assertEqual(self.successResultOf(delivered), Stored(()))

    def test_large_is_pushed(self) -> None:
        """A large one that is wanted is pushed."""
        delivered = self.send_copy(LARGE)
        self.answer(0, Wanted((), TICKET))
        self.bulk.pushes[0][-1].callback(Outranked(6, ()))
        self.assertEqual(self.successResultOf(delivered), Outranked(6, ()))

    def test_not_delivered(self) -> None:
        """A contact that does not answer makes it fail."""
        delivered = self.send_copy(SMALL)
        self.rpc.calls[0][2].call_failed(HOLDER)
        self.failureResultOf(delivered, CallFailed)
