from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.candidate import CandidateState
from dht14.kademlia.contact import Contact
from dht14.kademlia.lookup import Lookup
from dht14.kademlia.parameters import ALPHA, OPERATION_TIMEOUT
from dht14.node.lookup_deadlines import LATE, TIME_AFTER_STOP, LookupDeadlines
from dht14.node.lookup_run import AnyLookup, LookupRun
from dht14.node.ports import CallObserver
from dht14.wire.messages import FindNode, Nodes, Reply, Request
from tests.fakes import RpcRecorder, contact

TARGET = 0
CLUSTER = [contact(number, number) for number in range(1, 31)]


def on_reply(lookup: AnyLookup, contact: Contact, reply: Reply) -> None:
    assert isinstance(reply, Nodes)
    lookup.answered(contact, reply.contacts)


class HastyRpc(RpcRecorder):
    """Every call fails before it returns, as after the end of a node."""

    def call(self, contact: Contact, request: Request, observer: CallObserver) -> None:
        super().call(contact, request, observer)
        observer.call_slow(contact)
        observer.call_failed(contact)


class SearchTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.deadlines = LookupDeadlines(self.clock)
        self.rpc = RpcRecorder()
        self.lookup = Lookup(TARGET, own_id=99, width=3)

    def run_search(self, *known: Contact, rpc: RpcRecorder | None = None):
        self.lookup.heard_of(known)
        return LookupRun(self.lookup, FindNode(TARGET), on_reply, rpc or self.rpc).run(self.deadlines)

    def assert_no_timer(self) -> None:
        """The timer of all lookups is not set again when none is under way."""
        self.clock.pump([OPERATION_TIMEOUT, 0.0])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def answer(self, number: int, *named: Contact) -> None:
        """The call of this number is answered with these contacts."""
        callee, _, observer = self.rpc.calls[number]
        observer.call_answered(callee, Nodes(named))

    def test_nobody(self) -> None:
        """Without contacts a search is over at once, with nothing."""
        found = self.run_search()
        self.assertEqual(self.successResultOf(found).nearest(), [])
        self.assert_no_timer()

    def test_time_over(self) -> None:
        """A search ends after its time as it is."""
        found = self.run_search(*CLUSTER[:2])
        self.answer(0)
        self.clock.advance(OPERATION_TIMEOUT)
        self.assertEqual(self.successResultOf(found).nearest(), CLUSTER[:1])
        self.assertFalse(self.lookup.finished)
        self.assert_no_timer()

    def test_unheard(self) -> None:
        """Contacts that have not answered when the lookup is over are reported at their hard timeout."""
        unheard: list[Contact] = []
        self.lookup.heard_of(CLUSTER[:3])
        run = LookupRun(self.lookup, FindNode(TARGET), on_reply, self.rpc, unheard.append)
        found = run.run(self.deadlines)
        run.call_failed(CLUSTER[0])
        self.clock.advance(OPERATION_TIMEOUT)
        self.successResultOf(found)
        run.call_answered(CLUSTER[1], Nodes(()))
        run.call_failed(CLUSTER[2])
        self.assertEqual(unheard, CLUSTER[2:3])

    def test_stopped(self) -> None:
        """Where the process was stopped meanwhile, the answers that wait are read before the search ends."""
        found = self.run_search(*CLUSTER[:2])
        self.answer(0)
        self.clock.advance(OPERATION_TIMEOUT + 2 * LATE)
        self.assertNoResult(found)
        self.answer(1)
        self.assertEqual(self.successResultOf(found).nearest(), CLUSTER[:2])
        self.assert_no_timer()

    def test_stopped_and_unanswered(self) -> None:
        """It does not wait for ever."""
        found = self.run_search(*CLUSTER[:2])
        self.clock.advance(OPERATION_TIMEOUT + 2 * LATE)
        self.clock.advance(TIME_AFTER_STOP)
        self.assertEqual(self.successResultOf(found).nearest(), [])
        self.assert_no_timer()

    def test_converges(self) -> None:
        """Named nodes are asked, nearest first, until the nearest have answered; no call is left."""
        found = self.run_search(CLUSTER[9])
        self.answer(0, *CLUSTER[3:6])
        self.assertEqual(self.rpc.contacts[1:], CLUSTER[3:6])
        self.answer(1, *CLUSTER[:3])
        for number in range(2, 7):
            self.assertNoResult(found)
            self.answer(number)
        self.assertEqual(self.successResultOf(found).nearest(), CLUSTER[:3])
        self.assertEqual({request for _, request, _ in self.rpc.calls}, {FindNode(TARGET)})
        self.assert_no_timer()

    def test_parallel(self) -> None:
        """As many are asked at once as the lookup wants, and one more for each that is slow."""
        self.lookup.width = 20
        self.run_search(*CLUSTER)
        self.assertEqual(len(self.rpc.calls), ALPHA)
        callee, _, observer = self.rpc.calls[0]
        observer.call_slow(callee)
        self.assertEqual(len(self.rpc.calls), ALPHA + 1)

    def test_facts(self) -> None:
        """The lookup hears of every fact."""
        self.lookup.thorough = True
        self.run_search(*CLUSTER[:3])
        for (callee, _, observer), names in zip(
            self.rpc.calls, (["slow"], ["slow", "silent"], ["failed"]), strict=True
        ):
            for name in names:
                getattr(observer, f"call_{name}")(callee)
        self.assertEqual(
            [
                self.lookup.candidates.count(s)
                for s in (CandidateState.SLOW, CandidateState.SILENT, CandidateState.FAILED)
            ],
            [1, 1, 1],
        )

    def test_fails_at_once(self) -> None:
        """Facts that come while others are still being asked are taken one by one: the search just ends."""
        rpc = HastyRpc()
        found = self.run_search(*CLUSTER, rpc=rpc)
        self.assertEqual(self.successResultOf(found).nearest(), [])
        self.assertEqual(rpc.contacts, CLUSTER)

    def test_deadline(self) -> None:
        """Whatever the peers do, a search ends in time, with what it has; it is not called finished then."""
        self.lookup.thorough = True
        found = self.run_search(*CLUSTER[:3])
        self.answer(0)
        self.clock.advance(OPERATION_TIMEOUT)
        lookup = self.successResultOf(found)
        self.assertEqual((lookup.nearest(), lookup.finished), (CLUSTER[:1], False))

    def test_late_facts(self) -> None:
        """Replies after the end are ignored, and no other contact is asked."""
        found = self.run_search(*CLUSTER[:3])
        self.clock.advance(OPERATION_TIMEOUT)
        self.successResultOf(found)
        self.answer(0, *CLUSTER[3:])
        callee, _, observer = self.rpc.calls[1]
        observer.call_failed(callee)
        self.assertEqual((len(self.rpc.calls), self.lookup.nearest()), (3, []))

    def test_concluded(self) -> None:
        """A lookup that knows enough ends the search while calls are out."""
        found = self.run_search(*CLUSTER)
        self.lookup.conclude()
        self.answer(0)
        self.successResultOf(found)

    def test_cancelled(self) -> None:
        """A cancelled run asks no other contact and leaves no timer behind."""
        found = self.run_search(CLUSTER[9])
        found.cancel()
        self.failureResultOf(found, CancelledError)
        self.answer(0, *CLUSTER)
        self.assertEqual(len(self.rpc.calls), 1)
        self.assert_no_timer()
