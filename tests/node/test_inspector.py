import random

from twisted.internet.defer import Deferred

from dht14.kademlia.keyspace import hash_id, random_id
from dht14.kademlia.parameters import MAX_INLINE_VALUE, K
from dht14.node.inspector import GetTrace, HolderReport, Inspector
from dht14.node.trace import CallOutcome
from dht14.records.receipt import NoRecord
from dht14.records.record import Record
from dht14.records.store import Refusal
from dht14.sim.conditions import Conditions
from dht14.sim.world import World
from dht14.wire.messages import FindValue, Nodes, Refused
from tests.fakes import LATENCY, FakeRpc, Peer
from tests.node.node_case import KEY, TTL, NodeTestCase
from tests.outcomes import acknowledged

LARGE = random.Random(1).randbytes(MAX_INLINE_VALUE + 1)


class InspectorCase(NodeTestCase):
    def inspector(self, peer: Peer) -> Inspector:
        return peer.node.inspector(FakeRpc(self.network, peer.contact, peer.table, peer.time))

    def trace(self, peer: Peer, key: int = KEY) -> GetTrace:
        traced: GetTrace = self.network.result(Deferred.fromCoroutine(self.inspector(peer).trace(key)))
        return traced


class TraceTests(InspectorCase):
    """A get, call by call."""

    def test_named(self) -> None:
        """A contact that a reply named is one hop on, and its namer is in the trace."""
        peers = self.cluster(12)
        self.put(peers[11], b"value")
        reader = self.network.peer(random_id(self.rng))
        reader.table.confirmed(peers[11].contact, self.now, LATENCY)
        trace = self.trace(reader)
        self.assertIsInstance(trace.found, Record)
        first, *others = trace.calls
        self.assertEqual((first.contact, first.hop, first.named_by), (peers[11].contact, 0, None))
        self.assertEqual(first.outcome, CallOutcome.NOTHING)
        self.assertEqual({(call.hop, call.named_by) for call in others}, {(1, peers[11].contact)})
        self.assertGreaterEqual(sum(call.outcome is CallOutcome.HOLDS for call in others), 3)
        self.assertEqual({call.request for call in trace.calls}, {"FindValue"})

    def test_times(self) -> None:
        """Each call has its own beginning and end, on the clock of the trace."""
        peers = self.cluster(12)
        self.put(peers[11], b"value")
        trace = self.trace(peers[11])
        for call in trace.calls:
            if call.ended_at is not None:
                self.assertAlmostEqual(call.ended_at - call.sent_at, LATENCY)
        self.assertAlmostEqual(trace.ended_at, max(call.ended_at or 0 for call in trace.calls))

    def test_not_found(self) -> None:
        """A get of nothing has the calls that showed it."""
        trace = self.trace(self.cluster(12)[11])
        self.assertIs(trace.found, NoRecord.NOT_FOUND)
        self.assertEqual({call.outcome for call in trace.calls}, {CallOutcome.NOTHING})

    def test_failed_call(self) -> None:
        """A dead contact is in the trace, and has named nobody."""
        peers = self.cluster(12)
        peers[0].fall_silent()
        (dead,) = [call for call in self.trace(peers[11]).calls if call.contact == peers[0].contact]
        self.assertIn(dead.outcome, (CallOutcome.SLOW, CallOutcome.FAILED))
        self.assertEqual(dead.contacts_named, 0)

    def test_large_value(self) -> None:
        """Fetching a large value is a step of its own, of a holder that advertised it."""
        peers = self.cluster(12)
        self.put(peers[11], LARGE)
        trace = self.trace(peers[11])
        assert isinstance(trace.found, Record)
        self.assertEqual(trace.found.value, LARGE)
        *calls, fetch = trace.calls
        self.assertEqual((fetch.request, fetch.outcome), ("Fetch", CallOutcome.HOLDS))
        holders = [call.contact for call in calls if call.outcome is CallOutcome.HOLDS]
        self.assertIn(fetch.contact, holders)
        self.assertEqual(fetch.ended_at, trace.ended_at)

    def test_own_record(self) -> None:
        """Content that this node holds takes no call and no time."""
        peers = self.cluster(3)
        key = hash_id(b"content")
        self.give(peers[0], b"content", key)
        trace = self.trace(peers[0], key)
        self.assertIsInstance(trace.found, Record)
        self.assertEqual((trace.calls, trace.ended_at - trace.began_at), ([], 0))

    def test_changes_nothing(self) -> None:
        """Once traced, the node's own gets are not: the reader of the trace is another one."""
        peers = self.cluster(12)
        self.put(peers[11], b"value")
        trace = self.trace(peers[11])
        calls = len(trace.calls)
        self.get(peers[11])
        self.assertEqual(len(trace.calls), calls)


class LocateTests(InspectorCase):
    """Who holds a key."""

    def locate(self, peer: Peer) -> list[HolderReport]:
        found: list[HolderReport] = self.network.result(
            Deferred.fromCoroutine(self.inspector(peer).locate(KEY))
        )
        return found

    def test_holders(self) -> None:
        """The nodes nearest to the key say what they hold, nearest first."""
        peers = self.cluster(30)
        self.put(peers[29], b"value")
        reports = self.locate(peers[29])
        self.assertEqual([report.contact for report in reports], [peer.contact for peer in peers[:K]])
        for report, peer in zip(reports, peers, strict=False):
            record = peer.store.get(KEY, self.now) if peer.store else None
            if record is None:
                self.assertEqual((report.outcome, report.version), (CallOutcome.NOTHING, None))
            else:
                facts = report.outcome, report.version, report.length, report.kind
                self.assertEqual(facts, (CallOutcome.HOLDS, record.version, 5, "open"))
                self.assertTrue(TTL - 1 < (report.ttl or 0) <= TTL)
        self.assertEqual([report.outcome for report in reports[:3]], [CallOutcome.HOLDS] * 3)

    def test_large_value(self) -> None:
        """Of a large value its holders say version and length; nobody has to send it."""
        peers = self.cluster(12)
        self.put(peers[11], LARGE)
        first = self.locate(peers[11])[0]
        self.assertEqual((first.outcome, first.length, first.kind), (CallOutcome.HOLDS, len(LARGE), "open"))

    def test_no_answer(self) -> None:
        """A dead node and a bootstrap node are distinguished from those that hold nothing."""
        peers = self.cluster(12)
        answers = peers[1].answer, peers[2].answer

        def refuses(request, sender):
            return (
                Refused(reason=Refusal.NO_VALUES, nearer=())
                if isinstance(request, FindValue)
                else answers[0](request, sender)
            )

        def routes(request, sender):
            return (
                Nodes((), holds_values=False)
                if isinstance(request, FindValue)
                else answers[1](request, sender)
            )

        def dies(request, sender):
            return None if isinstance(request, FindValue) else alive(request, sender)

        alive = peers[0].answer
        peers[0].answer, peers[1].answer, peers[2].answer = dies, refuses, routes
        outcomes = [report.outcome for report in self.locate(peers[11])[:4]]
        router = CallOutcome.ROUTES
        self.assertEqual(outcomes, [CallOutcome.FAILED, router, router, CallOutcome.NOTHING])


class WorldTests(NodeTestCase):
    def test_adds_up(self) -> None:
        """Over a wide-area network, the steps of a trace end when the get has ended, within 5 % of its time;
        and each step behind another one begins when that one has ended."""
        world = World(nodes=40, seed=7, conditions=Conditions.worldwide())
        world.join()
        world.wait(30)
        nodes = [world.nodes[number] for number in range(2, 12)]
        for number, node in enumerate(nodes):
            key, value = hash_id(b"%d" % number), (b"value", LARGE)[number % 2]
            put = node.stack.node.put(key, value, TTL, 0).addCallback(acknowledged)
            world.wait(10)
            self.assertTrue(self.successResultOf(put))
            reader = nodes[number - 1]
            inspector = reader.stack.node.inspector(reader.stack.rpc)
            traced = Deferred.fromCoroutine(inspector.trace(key))
            world.wait(10)
            trace = self.successResultOf(traced)
            self.assertIsInstance(trace.found, Record)
            total = trace.ended_at - trace.began_at
            last = max(call.ended_at for call in trace.calls if call.ended_at is not None)
            self.assertGreater(total, 0.01)
            self.assertLessEqual(abs(trace.ended_at - last), 0.05 * total)
            ends = {
                call.contact.node_id: call.ended_at or trace.ended_at
                for call in trace.calls
                if call.request == "FindValue"
            }
            for call in trace.calls:
                if call.named_by is not None:
                    self.assertLessEqual(ends[call.named_by.node_id], call.sent_at)
