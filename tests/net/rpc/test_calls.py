from dht14.errors import CallFailed
from dht14.kademlia.contact import Contact
from dht14.kademlia.parameters import (
    ANSWER_TURNS,
    HARD_TIMEOUT,
    SILENT_TIMEOUT_MAX,
    SOFT_TIMEOUT_MIN,
    SOFT_TIMEOUT_UNKNOWN,
)
from dht14.net.rpc.pacing import MAX_WAIT, SENDING_SHARE
from dht14.wire.datagram import decode
from dht14.wire.messages import Announce, FindNode, Nodes, Ping, Pong
from tests.fakes import CallRecorder, contact, contact_at, proof_of, verify_proof
from tests.net.rpc.case import OTHER, OWN, PEER, TOLERANCE, RpcTestCase


class MatchTests(RpcTestCase):
    """Replies that are accepted."""

    def test_answered(self) -> None:
        """The reply ends the call, and its sender is a contact from then on."""
        rpc_id = self.call()
        self.assertNotIn(PEER.node_id, self.table)
        self.receive(rpc_id, Pong())
        self.assertEqual((self.observer.facts, self.observer.replies), ([("answered", PEER)], [Pong()]))
        self.assertIn(PEER.node_id, self.table)

    def test_forged(self) -> None:
        """A reply with another id, from another address or another node is dropped; the right one counts."""
        rpc_id = self.call()
        for forged, sender in (
            (bytes(8), PEER),
            (rpc_id, contact_at(PEER.node_id, OTHER.address)),
            (rpc_id, contact_at(PEER.node_id, (PEER.address[0], 1))),
            (rpc_id, contact_at(OTHER.node_id, PEER.address)),
        ):
            self.receive(forged, Pong(), sender)
        self.assertEqual((self.observer.facts, len(self.table)), ([], 0))
        self.assertEqual(self.rpc.metrics.unasked, 4)
        self.receive(rpc_id, Pong())
        self.assertEqual(self.observer.names, ["answered"])

    def test_private_contacts(self) -> None:
        """Private addresses that a node on the internet names are removed."""
        named = (Contact(3, ("192.168.0.1", 53), proof_of(3)), Contact(4, ("192.0.2.44", 53), proof_of(4)))
        unknown_peer = contact_at(PEER.node_id, ("198.51.100.1", 8000))
        self.receive(self.call(unknown_peer), Nodes(named), unknown_peer)
        self.assertEqual(self.observer.replies, [Nodes(named[1:])])

    def test_private_announcement(self) -> None:
        """A node on the internet cannot make this node call its loopback or its network by an ANNOUNCE."""
        unknown_peer = contact_at(PEER.node_id, ("198.51.100.1", 8000))
        for number, host in enumerate(("192.168.1.1", "127.0.0.1", "10.0.0.9", "::1", "fe80::1")):
            self.receive(bytes([number]) * 8, Announce((host, 53)), unknown_peer)
        self.assertEqual({address for _, address in self.probe_wire.sent}, {unknown_peer.address})
        self.assertEqual(self.messages(), [(Pong(), unknown_peer.address)] * 5)
        self.receive(bytes(8), Announce(("192.0.2.44", 53)), unknown_peer)
        self.receive(bytes(8), Announce(("192.168.1.1", 53)), PEER)
        probed = {address for _, address in self.probe_wire.sent}
        self.assertEqual(probed - {unknown_peer.address}, {("192.0.2.44", 53), ("192.168.1.1", 53)})

    def test_duplicate(self) -> None:
        """A reply counts once."""
        rpc_id = self.call()
        self.receive(rpc_id, Pong())
        self.receive(rpc_id, Pong())
        self.assertEqual(self.observer.names, ["answered"])
        self.assertEqual((self.rpc.metrics.replies, self.rpc.metrics.unasked), (1, 1))

    def test_too_late(self) -> None:
        """After a call has failed its reply is dropped."""
        rpc_id = self.call()
        self.pass_time(HARD_TIMEOUT + 1)
        self.receive(rpc_id, Pong())
        self.assertEqual(self.observer.names, ["slow", "silent", "failed"])
        self.assertEqual((self.rpc.metrics.unasked, len(self.table)), (1, 0))

    def test_ids(self) -> None:
        """Each call has its own id: replies in any order find their callers."""
        ids = [self.call(), self.call()]
        self.assertNotEqual(*ids)
        self.receive(ids[1], Nodes(()))
        self.receive(ids[0], Pong())
        self.assertEqual(self.observer.replies, [Nodes(()), Pong()])

    def test_ask(self) -> None:
        """A call as a Deferred of its reply."""
        asked = self.rpc.ask(PEER, Ping())
        self.pass_time(2)
        self.assertNoResult(asked)
        self.receive(self.last_rpc_id(), Pong())
        self.assertEqual(self.successResultOf(asked), Pong())

    def test_ask_address(self) -> None:
        """If only the address is known, the node that answers there is a contact; one elsewhere is not."""
        asked = self.rpc.ask_address(PEER.address, FindNode(7))
        rpc_id = self.last_rpc_id()
        self.receive(rpc_id, Nodes(()), OTHER)
        self.assertNoResult(asked)
        self.receive(rpc_id, Nodes(()), PEER)
        self.assertEqual(self.successResultOf(asked), (PEER, Nodes(())))
        self.assertIn(PEER.node_id, self.table)

    def test_ask_own_address(self) -> None:
        """A node that calls itself gets its own answer, and is not its own contact."""
        asked = self.rpc.ask_address(PEER.address, Ping())
        self.receive(self.last_rpc_id(), Pong(), contact_at(OWN, PEER.address))
        self.assertEqual(self.successResultOf(asked)[0].node_id, OWN)
        self.assertEqual(len(self.table), 0)


class TimeoutTests(RpcTestCase):
    """What is reported to callers, and when, about contacts that do not answer."""

    def test_slow(self) -> None:
        """After the soft timeout the call is slow, and the same bytes are sent again, once."""
        self.call()
        self.pass_time(SOFT_TIMEOUT_UNKNOWN - TOLERANCE)
        self.assertEqual((self.observer.facts, len(self.wire.sent)), ([], 1))
        self.pass_time(2 * TOLERANCE)
        self.assertEqual(self.observer.facts, [("slow", PEER)])
        self.pass_time(HARD_TIMEOUT)
        first, second = self.wire.sent
        self.assertEqual(first, second)
        self.assertEqual(self.observer.names.count("slow"), 1)

    def test_busy(self) -> None:
        """Where a turn of the reactor takes long, a call is slow only after several such turns."""
        self.get_to_know(PEER)
        self.call()
        soft, turn = 0.03, 0.02
        self.clock.callLater(soft + 1e-6, lambda: setattr(self.clock, "rightNow", self.clock.rightNow + turn))
        self.clock.advance(soft + 0.001)
        self.assertEqual((self.observer.names, len(self.wire.sent)), ([], 2))
        self.pass_time(ANSWER_TURNS * turn - (soft + 0.001 + turn) - TOLERANCE)
        self.assertEqual(self.observer.names, [])
        self.pass_time(2 * TOLERANCE)
        self.assertEqual((self.observer.names, len(self.wire.sent)), (["slow"], 3))

    def test_silent(self) -> None:
        """After a resend without a reply the contact is silent, and suspect in the table."""
        self.get_to_know(PEER)
        self.pass_time(10)
        self.call()
        self.pass_time(SILENT_TIMEOUT_MAX + TOLERANCE)
        self.assertEqual(self.observer.facts, [("slow", PEER), ("silent", PEER)])
        self.assertTrue(self.table.is_suspect(PEER.node_id))

    def test_failed(self) -> None:
        """The hard timeout ends the call, and nothing is left of it."""
        self.call()
        self.pass_time(HARD_TIMEOUT - TOLERANCE)
        self.assertNotIn("failed", self.observer.names)
        self.pass_time(2 * TOLERANCE)
        self.assertEqual(self.observer.names, ["slow", "silent", "failed"])
        self.assertEqual(self.rpc.metrics.failed, 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_failed_ask(self) -> None:
        """A Deferred call without a reply fails with CallFailed, by address as by contact."""
        asked = [self.rpc.ask(PEER, Ping()), self.rpc.ask_address(OTHER.address, Ping())]
        self.pass_time(HARD_TIMEOUT + TOLERANCE)
        for one in asked:
            self.failureResultOf(one, CallFailed)

    def test_late(self) -> None:
        """A reply between any two timeouts counts, and ends the call."""
        for seconds, before in ((0.2, ["slow"]), (2.0, ["slow", "silent"])):
            self.setUp()
            self.get_to_know(PEER)
            self.pass_time(10)
            rpc_id = self.call()
            self.pass_time(seconds)
            self.receive(rpc_id, Pong())
            self.pass_time(HARD_TIMEOUT)
            self.assertEqual(self.observer.names, [*before, "answered"])
            self.assertFalse(self.table.is_suspect(PEER.node_id))

    def test_learned(self) -> None:
        """A contact that answers at once gets short timeouts."""
        self.get_to_know(PEER)
        self.call()
        self.pass_time(SOFT_TIMEOUT_MIN + TOLERANCE)
        self.assertEqual(self.observer.names, ["slow"])

    def test_overdue(self) -> None:
        """A call to an unresponsive contact is slow from the start, but is sent; a reply restores the
        contact."""
        owed = self.call()
        self.pass_time(0.4)
        self.observer = CallRecorder()
        rpc_id = self.call()
        self.assertEqual(self.observer.names, ["slow"])
        self.receive(rpc_id, Pong())
        self.receive(owed, Pong())
        self.observer = CallRecorder()
        self.call()
        self.assertEqual(self.observer.names, [])

    def test_overdue_resend(self) -> None:
        """A call that is slow from the start is resent like any other, and reported as slow once."""
        self.call()
        self.pass_time(0.4)
        self.wire.sent.clear()
        self.observer = CallRecorder()
        self.call()
        self.pass_time(0.5)
        again = [sent for sent in self.wire.sent if sent == self.wire.sent[0]]
        self.assertEqual((len(again), self.observer.names), (2, ["slow"]))

    def test_burst_to_an_unresponsive_peer(self) -> None:
        """In a burst of calls to an unresponsive peer only one is sent; the others share its outcome."""
        self.call()
        self.pass_time(HARD_TIMEOUT + TOLERANCE)
        self.wire.sent.clear()
        self.observer = CallRecorder()
        for _ in range(100):
            self.call()
        self.assertEqual((len(self.wire.sent), self.observer.names), (1, 100 * ["slow"]))
        self.pass_time(HARD_TIMEOUT + TOLERANCE)
        self.assertEqual(self.observer.names[-100:], 100 * ["failed"])
        self.assertEqual(len(self.wire.sent), 1)
        self.assertEqual(self.rpc.metrics.sent["PING"].spared, 99)
        self.receive(self.call(), Pong())
        self.wire.sent.clear()
        for _ in range(100):
            self.call()
        self.assertEqual(len(self.wire.sent), 100)

    def test_silent_no_more(self) -> None:
        """When a peer that was silent answers one of a burst of calls, the others are sent, and its answers
        to them count. Those that have waited for too long are not: their lifetimes would be wrong."""
        for waits, sent in ((1.0, 3), (MAX_WAIT + 0.1, 1)):
            self.call()
            self.pass_time(HARD_TIMEOUT + TOLERANCE)
            self.wire.sent.clear()
            self.observer = CallRecorder()
            first = self.call()
            for _ in range(2):
                self.call()
            self.pass_time(waits)
            self.receive(first, Pong())
            ids = [decode(datagram[49:], verify_proof)[0] for datagram, _ in self.wire.sent]
            self.assertEqual((ids[0], len(set(ids))), (first, sent))
            for rpc_id in ids[1:]:
                self.receive(rpc_id, Pong())
            self.assertEqual(self.observer.names.count("answered"), sent)

    def test_silent_before(self) -> None:
        """A contact that was silent last time gets one soft timeout and no resend until it answers."""
        self.call()
        self.pass_time(HARD_TIMEOUT + TOLERANCE)
        self.wire.sent.clear()
        self.observer = CallRecorder()
        rpc_id = self.call()
        self.pass_time(SOFT_TIMEOUT_UNKNOWN + TOLERANCE)
        self.assertEqual((self.observer.names, len(self.wire.sent)), (["slow", "silent"], 1))
        self.receive(rpc_id, Pong())
        self.assertEqual(self.observer.names[-1], "answered")
        self.observer = CallRecorder()
        self.call()
        self.assertEqual(self.observer.names, [])

    def test_one_timer(self) -> None:
        """One timer serves any number of calls; without calls there is none."""
        ids = [self.call(contact(number, number)) for number in range(1, 201)]
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.pass_time(0.1)
        for number, rpc_id in enumerate(ids, 1):
            self.receive(rpc_id, Pong(), contact(number, number))
        self.assertEqual(self.observer.names, ["answered"] * 200)
        self.pass_time(1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_earlier_deadline(self) -> None:
        """A call with an earlier deadline than those before it is processed in time."""
        self.get_to_know(PEER)
        self.call(OTHER)
        self.call(PEER)
        self.pass_time(SOFT_TIMEOUT_MIN + TOLERANCE)
        self.assertEqual(self.observer.facts, [("slow", PEER)])

    def test_stall(self) -> None:
        """If this process itself stood still, a contact still gets the resend and time for its reply."""
        self.call()
        self.clock.advance(60)
        self.assertEqual((self.observer.names, len(self.wire.sent)), (["slow"], 2))
        self.pass_time(HARD_TIMEOUT)
        self.assertEqual(self.observer.names, ["slow", "silent", "failed"])

    def test_unsendable(self) -> None:
        """A datagram that cannot be sent is a lost one: the timeouts report it."""
        self.wire.unreachable.add(PEER.address)
        self.rpc.call(PEER, Ping(), self.observer)
        self.pass_time(HARD_TIMEOUT + TOLERANCE)
        self.assertEqual(self.observer.names, ["slow", "silent", "failed"])
        self.assertEqual(self.rpc.metrics.unsendable, 2)

    def test_no_transport(self) -> None:
        """Calls without a transport fail by the timeouts too."""
        self.rpc.doStop()
        asked = self.rpc.ask(PEER, Ping())
        self.pass_time(HARD_TIMEOUT + TOLERANCE)
        self.failureResultOf(asked, CallFailed)


class StopTests(RpcTestCase):
    """The end of all calls."""

    def test_pending(self) -> None:
        """Pending calls fail at once, in any stage, and no timer is left."""
        asked = self.rpc.ask(OTHER, Ping())
        self.call()
        self.pass_time(0.4)
        self.rpc.stop()
        self.assertEqual(self.observer.names, ["slow", "failed"])
        self.failureResultOf(asked, CallFailed)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_later(self) -> None:
        """Later calls fail at once, and nothing is sent; a second stop does nothing."""
        self.rpc.stop()
        self.rpc.stop()
        self.rpc.call(PEER, Ping(), self.observer)
        self.failureResultOf(self.rpc.ask_address(PEER.address, Ping()), CallFailed)
        self.assertEqual((self.observer.names, self.wire.sent), (["failed"], []))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_late_reply(self) -> None:
        """A reply that comes after the end is dropped."""
        rpc_id = self.call()
        self.rpc.stop()
        self.receive(rpc_id, Pong())
        self.assertEqual(self.observer.names, ["failed"])

    def test_from_within(self) -> None:
        """An observer may make new calls from any report, the end included."""

        class Restless(CallRecorder):
            def call_slow(observer, contact: Contact) -> None:
                super().call_slow(contact)
                self.call(OTHER)

            def call_failed(observer, contact: Contact) -> None:
                super().call_failed(contact)
                self.rpc.call(OTHER, Ping(), self.observer)

        restless = Restless()
        self.rpc.call(PEER, Ping(), restless)
        self.pass_time(0.3)
        self.assertEqual(self.messages()[-1], (Ping(), OTHER.address))
        self.rpc.stop()
        self.assertEqual(restless.names, ["slow", "failed"])
        self.assertEqual(self.observer.names, ["failed", "failed"])


class PacedCallTests(RpcTestCase):
    """Requests to one address are paced below its rate limit."""

    asking_rate, asking_burst = 100.0, 10.0

    def call_often(self, count: int, callee: Contact = PEER) -> None:
        for _ in range(count):
            self.rpc.call(callee, Ping(), self.observer)

    def test_evenly(self) -> None:
        """A burst is sent at once, the rest evenly, and no paced call is reported as slow meanwhile."""
        at_once = round(SENDING_SHARE * self.asking_burst)
        self.call_often(at_once + 8)
        self.assertEqual(len(self.wire.sent), at_once)
        self.pass_time(0.05)
        self.assertEqual(len(self.wire.sent), at_once + 4)
        self.call_often(1, OTHER)
        self.assertEqual(self.wire.sent[-1][1], OTHER.address)
        self.assertEqual(self.observer.facts, [])

    def test_answered(self) -> None:
        """A paced call is like any other: its timeouts count from when it is sent."""
        self.call_often(round(SENDING_SHARE * self.asking_burst) + 1)
        for datagram, _ in self.wire.sent:
            self.receive(decode(datagram[49:], verify_proof)[0], Pong())
        self.wire.sent.clear()
        self.pass_time(0.02)
        self.receive(self.last_rpc_id(), Pong())
        self.assertEqual(set(self.observer.names), {"answered"})
        self.call_often(1)
        self.pass_time(0.02 + SOFT_TIMEOUT_MIN / 2)
        self.assertNotIn("slow", self.observer.names)

    def test_answer_before_the_question(self) -> None:
        """A reply to a call that is not sent yet is dropped."""
        self.call_often(round(SENDING_SHARE * self.asking_burst) + 1)
        last = int.from_bytes(self.last_rpc_id(), "big")
        self.receive((last + 1).to_bytes(8, "big"), Pong())
        self.assertEqual((self.observer.facts, self.rpc.metrics.unasked), ([], 1))

    def test_too_many(self) -> None:
        """A call that must wait too long fails at once, and its contact does not count as dead."""
        self.call_often(1000)
        self.assertEqual(set(self.observer.names), {"failed"})
        sent = 1000 - len(self.observer.names)
        self.assertAlmostEqual(
            sent, SENDING_SHARE * (self.asking_burst + MAX_WAIT * self.asking_rate), delta=1.0
        )
        self.assertEqual(self.rpc.metrics.sent["PING"].over_limit, len(self.observer.names))

    def test_stop(self) -> None:
        """A paced call fails when the node stops, and no timer is left."""
        self.call_often(20)
        self.rpc.stop()
        self.assertEqual(self.observer.names, ["failed"] * 20)
        self.assertEqual(self.clock.getDelayedCalls(), [])
