import random
from collections.abc import Iterable
from typing import cast

from attrs import define, field
from twisted.internet.interfaces import IUDPTransport
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from dht14.errors import CallFailed
from dht14.kademlia.contact import Address, Contact
from dht14.kademlia.parameters import (
    HARD_TIMEOUT,
    SILENT_TIMEOUT_MAX,
    SOFT_TIMEOUT_MIN,
    SOFT_TIMEOUT_UNKNOWN,
)
from dht14.kademlia.routing_table import RoutingTable
from dht14.net.rpc.pacing import MOST_WAIT, PART, Pacing
from dht14.net.rpc.probe import AT_ONCE, CALLED_LATELY, ProbeProtocol
from dht14.net.rpc.protocol import RpcProtocol
from dht14.net.rpc.pulse import STANDSTILL, Pulse
from dht14.node.network_time import NetworkTime
from dht14.node.responder import Responder
from dht14.security.hello_limiter import HelloLimiter
from dht14.security.subnets import parties_of
from dht14.security.tickets import Tickets
from dht14.session.plaintext import PROBE, PROBE_REPLY, PlaintextLayer, PlaintextProbe
from dht14.sim.memory_store import MemoryStore
from dht14.wire.datagram import decode, encode
from dht14.wire.messages import Announce, FindNode, Message, Nodes, Ping, Pong, Store, Stored
from tests.fakes import CallRecorder, address_of, contact, contact_at, fields, proof_of, verify_proof

OWN = 1 << 255
PEER = contact(0b1000, 1)
OTHER = contact(0b1111, 2)
TOLERANCE = 0.02
"""Seconds by which the one timer of all calls may be late."""


def datagram_of(sender: Contact, payload: bytes) -> bytes:
    """What this node would send."""
    datagram = PlaintextLayer.of(proof_of(sender.node_id), verify_proof).seal(sender, payload, 0.0)
    assert datagram is not None
    return datagram


@define(eq=False)
class UdpRecorder:
    """A transport that notes the datagrams; it cannot send those to the `unreachable`."""

    sent: list[tuple[bytes, Address]] = field(factory=list)
    unreachable: set[Address] = field(factory=set)

    def write(self, datagram: bytes, address: Address) -> None:
        if address in self.unreachable:
            raise OSError(101, "Network is unreachable")
        self.sent.append((datagram, address))


class RpcTestCase(SynchronousTestCase):
    """One protocol on a transport that notes what it sends."""

    peer_rate, peer_burst = 0.0, 1.0
    asking_rate, asking_burst = 0.0, 1.0

    def setUp(self) -> None:
        self.clock = Clock()
        self.table = RoutingTable(OWN)
        self.store = MemoryStore(OWN, 10_000, lambda record: True)
        time = NetworkTime(self.clock.seconds, self.clock.seconds)
        responder = Responder(self.table, self.store, 60, Tickets(random.Random(1)), time)
        session = PlaintextLayer.of(proof_of(OWN), verify_proof, self.peer_rate, self.peer_burst)
        questions = PlaintextProbe(proof_of(OWN), verify_proof, random.Random(2))
        self.probe = ProbeProtocol(self.clock, questions, self.table, HelloLimiter(), parties_of)
        self.pulse = Pulse(self.clock)
        self.probe_wire = UdpRecorder()
        self.probe.makeConnection(cast(IUDPTransport, self.probe_wire))
        self.rpc = RpcProtocol(
            self.clock,
            random.Random(1),
            session,
            verify_proof,
            self.table,
            responder,
            self.probe,
            time,
            self.pulse,
            Pacing(self.asking_rate, self.asking_burst),
        )
        self.wire = UdpRecorder()
        self.rpc.makeConnection(cast(IUDPTransport, self.wire))
        self.observer = CallRecorder()

    def call(self, callee: Contact = PEER) -> bytes:
        """A PING; its RPC id."""
        self.rpc.call(callee, Ping(), self.observer)
        return self.last_rpc_id()

    def messages(self) -> list[tuple[Message, Address]]:
        """What was sent, decoded."""
        return [(decode(datagram[49:], verify_proof)[1], address) for datagram, address in self.wire.sent]

    def last_rpc_id(self) -> bytes:
        return decode(self.wire.sent[-1][0][49:], verify_proof)[0]

    def receive(self, rpc_id: bytes, message: Message, sender: Contact = PEER) -> None:
        self.rpc.datagramReceived(datagram_of(sender, encode(rpc_id, message)), sender.address)

    def pass_time(self, seconds: float) -> None:
        """In steps, as a reactor does: what a timer sets is due from then on."""
        self.clock.pump([0.01] * round(seconds / 0.01))

    def get_to_know(self, *contacts: Contact) -> None:
        """Each of them answers a PING after 10 ms."""
        for one in contacts:
            rpc_id = self.call(one)
            self.pass_time(0.01)
            self.receive(rpc_id, Pong(), one)
        self.observer = CallRecorder()


class MatchTests(RpcTestCase):
    """Which replies are believed."""

    def test_answered(self) -> None:
        """The reply ends the call, and its sender is a contact from then on."""
        rpc_id = self.call()
        self.assertNotIn(PEER.node_id, self.table)
        self.receive(rpc_id, Pong())
        self.assertEqual((self.observer.facts, self.observer.replies), ([("answered", PEER)], [Pong()]))
        self.assertIn(PEER.node_id, self.table)

    def test_forged(self) -> None:
        """A reply with another id, from another address or another node is nothing; the right one counts."""
        rpc_id = self.call()
        for forged, sender in (
            (bytes(8), PEER),
            (rpc_id, contact_at(PEER.node_id, OTHER.address)),
            (rpc_id, contact_at(PEER.node_id, (PEER.address[0], 1))),
            (rpc_id, contact_at(OTHER.node_id, PEER.address)),
        ):
            self.receive(forged, Pong(), sender)
        self.assertEqual((self.observer.facts, len(self.table)), ([], 0))
        self.assertEqual(self.rpc.counters["unasked"], 4)
        self.receive(rpc_id, Pong())
        self.assertEqual(self.observer.names, ["answered"])

    def test_private_contacts(self) -> None:
        """Private addresses that a node on the internet names are not even heard of."""
        named = (Contact(3, ("192.168.0.1", 53), proof_of(3)), Contact(4, ("192.0.2.44", 53), proof_of(4)))
        stranger = contact_at(PEER.node_id, ("198.51.100.1", 8000))
        self.receive(self.call(stranger), Nodes(named), stranger)
        self.assertEqual(self.observer.replies, [Nodes(named[1:])])

    def test_private_announcement(self) -> None:
        """A node on the internet has us call nobody on our loopback or in our network, whatever it announces."""
        stranger = contact_at(PEER.node_id, ("198.51.100.1", 8000))
        for number, host in enumerate(("192.168.1.1", "127.0.0.1", "10.0.0.9", "::1", "fe80::1")):
            self.receive(bytes([number]) * 8, Announce((host, 53)), stranger)
        self.assertEqual({address for _, address in self.probe_wire.sent}, {stranger.address})
        self.assertEqual(self.messages(), [(Pong(), stranger.address)] * 5)
        self.receive(bytes(8), Announce(("192.0.2.44", 53)), stranger)
        self.receive(bytes(8), Announce(("192.168.1.1", 53)), PEER)
        probed = {address for _, address in self.probe_wire.sent}
        self.assertEqual(probed - {stranger.address}, {("192.0.2.44", 53), ("192.168.1.1", 53)})

    def test_duplicate(self) -> None:
        """A reply counts once."""
        rpc_id = self.call()
        self.receive(rpc_id, Pong())
        self.receive(rpc_id, Pong())
        self.assertEqual(self.observer.names, ["answered"])
        self.assertEqual((self.rpc.counters["answered"], self.rpc.counters["unasked"]), (1, 1))

    def test_too_late(self) -> None:
        """After the last word on a call nothing is heard of it any more."""
        rpc_id = self.call()
        self.pass_time(HARD_TIMEOUT + 1)
        self.receive(rpc_id, Pong())
        self.assertEqual(self.observer.names, ["slow", "silent", "failed"])
        self.assertEqual((self.rpc.counters["unasked"], len(self.table)), (1, 0))

    def test_ids(self) -> None:
        """Each call has an id of its own, by which replies in any order find their callers."""
        ids = [self.call(), self.call()]
        self.assertNotEqual(*ids)
        self.receive(ids[1], Nodes(()))
        self.receive(ids[0], Pong())
        self.assertEqual(self.observer.replies, [Nodes(()), Pong()])

    def test_ask(self) -> None:
        """A call can be had as a Deferred of its reply."""
        asked = self.rpc.ask(PEER, Ping())
        self.pass_time(2)
        self.assertNoResult(asked)
        self.receive(self.last_rpc_id(), Pong())
        self.assertEqual(self.successResultOf(asked), Pong())

    def test_ask_address(self) -> None:
        """Where only the address is known, whoever answers there is a contact; from elsewhere nobody is."""
        asked = self.rpc.ask_address(PEER.address, FindNode(7))
        rpc_id = self.last_rpc_id()
        self.receive(rpc_id, Nodes(()), OTHER)
        self.assertNoResult(asked)
        self.receive(rpc_id, Nodes(()), PEER)
        self.assertEqual(self.successResultOf(asked), (PEER, Nodes(())))
        self.assertIn(PEER.node_id, self.table)

    def test_ask_own_address(self) -> None:
        """A node that calls itself hears so, and is no contact of its own."""
        asked = self.rpc.ask_address(PEER.address, Ping())
        self.receive(self.last_rpc_id(), Pong(), contact_at(OWN, PEER.address))
        self.assertEqual(self.successResultOf(asked)[0].node_id, OWN)
        self.assertEqual(len(self.table), 0)


class TimeoutTests(RpcTestCase):
    """What callers hear, and when, of contacts that do not answer."""

    def test_slow(self) -> None:
        """After the soft timeout the caller is told, and the same bytes are sent once more, and only once."""
        self.call()
        self.pass_time(SOFT_TIMEOUT_UNKNOWN - TOLERANCE)
        self.assertEqual((self.observer.facts, len(self.wire.sent)), ([], 1))
        self.pass_time(2 * TOLERANCE)
        self.assertEqual(self.observer.facts, [("slow", PEER)])
        self.pass_time(HARD_TIMEOUT)
        first, second = self.wire.sent
        self.assertEqual(first, second)
        self.assertEqual(self.observer.names.count("slow"), 1)

    def test_silent(self) -> None:
        """After the resend was in vain the contact is silent, and suspect to the table."""
        self.get_to_know(PEER)
        self.pass_time(10)
        self.call()
        self.pass_time(SILENT_TIMEOUT_MAX + TOLERANCE)
        self.assertEqual(self.observer.facts, [("slow", PEER), ("silent", PEER)])
        self.assertTrue(self.table.is_suspect(PEER.node_id))

    def test_failed(self) -> None:
        """The hard timeout is the last word, and nothing is left of the call."""
        self.call()
        self.pass_time(HARD_TIMEOUT - TOLERANCE)
        self.assertNotIn("failed", self.observer.names)
        self.pass_time(2 * TOLERANCE)
        self.assertEqual(self.observer.names, ["slow", "silent", "failed"])
        self.assertEqual(self.rpc.counters["unanswered"], 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_failed_ask(self) -> None:
        """A Deferred call that is not answered fails with CallFailed, by address as by contact."""
        asked = [self.rpc.ask(PEER, Ping()), self.rpc.ask_address(OTHER.address, Ping())]
        self.pass_time(HARD_TIMEOUT + TOLERANCE)
        for one in asked:
            self.failureResultOf(one, CallFailed)

    def test_late(self) -> None:
        """A reply between two timeouts counts, whichever they are, and is the last word."""
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
        """Of a contact that answers at once nobody waits for long."""
        self.get_to_know(PEER)
        self.call()
        self.pass_time(SOFT_TIMEOUT_MIN + TOLERANCE)
        self.assertEqual(self.observer.names, ["slow"])

    def test_overdue(self) -> None:
        """A contact that owes an answer is slow from the start, but is asked; an answer makes that good."""
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
        """A call that is slow from the start is sent once more like any other, and told as slow once."""
        self.call()
        self.pass_time(0.4)
        self.wire.sent.clear()
        self.observer = CallRecorder()
        self.call()
        self.pass_time(0.5)
        again = [sent for sent in self.wire.sent if sent == self.wire.sent[0]]
        self.assertEqual((len(again), self.observer.names), (2, ["slow"]))

    def test_burst_to_a_debtor(self) -> None:
        """Of a burst of calls to one that owes an answer one is sent; the others end as it does."""
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
        self.assertEqual(self.rpc.counters["spared"], 99)
        self.receive(self.call(), Pong())
        self.wire.sent.clear()
        for _ in range(100):
            self.call()
        self.assertEqual(len(self.wire.sent), 100)

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
        """However many calls are out, one timer serves them; with none out there is none."""
        ids = [self.call(contact(number, number)) for number in range(1, 201)]
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.pass_time(0.1)
        for number, rpc_id in enumerate(ids, 1):
            self.receive(rpc_id, Pong(), contact(number, number))
        self.assertEqual(self.observer.names, ["answered"] * 200)
        self.pass_time(1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_earlier_deadline(self) -> None:
        """A call that may wait less than those before it is looked at in its own time."""
        self.get_to_know(PEER)
        self.call(OTHER)
        self.call(PEER)
        self.pass_time(SOFT_TIMEOUT_MIN + TOLERANCE)
        self.assertEqual(self.observer.facts, [("slow", PEER)])

    def test_stall(self) -> None:
        """Where the process itself slept through the timeouts, a contact still gets the resend and its chance."""
        self.call()
        self.clock.advance(60)
        self.assertEqual((self.observer.names, len(self.wire.sent)), (["slow"], 2))
        self.pass_time(HARD_TIMEOUT)
        self.assertEqual(self.observer.names, ["slow", "silent", "failed"])

    def test_unsendable(self) -> None:
        """What cannot be sent is a lost datagram: the caller hears of it by the timeouts."""
        self.wire.unreachable.add(PEER.address)
        self.rpc.call(PEER, Ping(), self.observer)
        self.pass_time(HARD_TIMEOUT + TOLERANCE)
        self.assertEqual(self.observer.names, ["slow", "silent", "failed"])
        self.assertEqual(self.rpc.counters["unsendable"], 2)

    def test_no_transport(self) -> None:
        """Calls when there is no transport fail by the timeouts too."""
        self.rpc.doStop()
        asked = self.rpc.ask(PEER, Ping())
        self.pass_time(HARD_TIMEOUT + TOLERANCE)
        self.failureResultOf(asked, CallFailed)


class StopTests(RpcTestCase):
    """The end of all calls."""

    def test_pending(self) -> None:
        """Calls that wait fail at once, whatever they have waited through, and no timer is left."""
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
        """A reply that comes after the end finds nobody."""
        rpc_id = self.call()
        self.rpc.stop()
        self.receive(rpc_id, Pong())
        self.assertEqual(self.observer.names, ["failed"])

    def test_from_within(self) -> None:
        """A caller may make new calls out of any fact, the end included."""

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


class RequestTests(RpcTestCase):
    """Requests of others."""

    def probed(self) -> list[Address]:
        """Where probes went."""
        return [address for _, address in self.probe_wire.sent]

    def answer_probe(self, contact: Contact = PEER) -> None:
        """The contact answers the latest probe."""
        question = self.probe_wire.sent[-1][0]
        self.assertEqual(question[:1], PROBE)
        self.probe.datagramReceived(PROBE_REPLY + contact.proof + question[-8:], contact.address)

    def test_answered(self) -> None:
        """A request is answered with its own id, to the address it came from and to nobody else."""
        self.get_to_know(PEER, OTHER)
        self.pass_time(1)
        self.wire.sent.clear()
        self.receive(b"12345678", FindNode(0))
        self.assertEqual(self.messages(), [(Nodes((OTHER,)), PEER.address)])
        self.assertEqual(self.last_rpc_id(), b"12345678")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_proves_nothing(self) -> None:
        """Who asks is answered but is no contact; it is probed, and becomes one when it answers that."""
        self.receive(b"12345678", Ping())
        self.assertEqual((self.messages(), self.probed()), ([(Pong(), PEER.address)], [PEER.address]))
        self.assertEqual(len(self.table), 0)
        self.answer_probe()
        self.assertIn(PEER.node_id, self.table)

    def test_answer_through_a_hole(self) -> None:
        """Who called us first becomes no contact by an answer: it may have come through a way that only its
        call opened. It is probed; later, when that way must have closed, an answer does."""
        self.receive(b"12345678", Ping())
        self.pass_time(61)
        self.probe_wire.sent.clear()
        self.get_to_know(PEER)
        self.assertEqual((len(self.table), self.probed()), (0, [PEER.address]))
        self.clock.advance(CALLED_LATELY)
        self.get_to_know(PEER)
        self.assertIn(PEER.node_id, self.table)

    def test_named_address(self) -> None:
        """Whoever answers at an address that the operator named becomes a contact, called or not."""
        self.receive(b"12345678", Ping())
        self.rpc.ask_address(PEER.address, Ping())
        self.receive(self.last_rpc_id(), Pong())
        self.assertIn(PEER.node_id, self.table)

    def test_not_a_reply(self) -> None:
        """A request with the id of a call of ours does not answer it."""
        rpc_id = self.call()
        self.receive(rpc_id, Ping())
        self.assertEqual(self.observer.facts, [])

    def test_known(self) -> None:
        """A contact that asks is not probed; nor is who bears our own id."""
        self.get_to_know(PEER)
        self.receive(b"12345678", Ping())
        self.receive(b"12345678", Ping(), contact_at(OWN, OTHER.address))
        self.assertEqual(self.probed(), [])

    def test_flood_of_strangers(self) -> None:
        """However many strangers ask, each is probed once, and few probes are out at a time: no more is sent than
        has come."""
        strangers = [contact(number, number) for number in range(1, 101)]
        for stranger in strangers:
            self.receive(b"12345678", Ping(), stranger)
            self.receive(b"12345678", Ping(), stranger)
        self.assertEqual(self.probed(), [stranger.address for stranger in strangers])
        self.assertEqual(self.probe.counters["displaced"], 100 - AT_ONCE)
        self.pass_time(HARD_TIMEOUT + TOLERANCE)
        self.assertEqual(self.probe.counters["unanswered"], AT_ONCE)

    def test_stored(self) -> None:
        """A record that came in a datagram is held, and its receipt goes to the writer."""
        self.receive(b"12345678", Store(5, 1, 60_000, 1, 0, b"value"))
        reply, address = self.messages()[0]
        self.assertEqual((type(reply), address), (Stored, PEER.address))
        held = self.store.get(5, self.clock.seconds())
        assert held is not None
        self.assertEqual(held.value, b"value")

    def test_waited(self) -> None:
        """A record that may have waited while this process stood still is not held: it would live too long. What
        does not say how long something lives is read as ever."""
        self.pulse.startService()
        self.addCleanup(self.pulse.stopService)
        self.clock.rightNow += STANDSTILL + 0.1
        self.receive(b"12345678", Store(5, 1, 60_000, 1, 0, b"value"))
        self.assertEqual((self.messages(), self.rpc.counters["read too late"]), ([], 1))
        self.receive(b"12345678", Ping())
        self.assertEqual([(type(reply), to) for reply, to in self.messages()], [(Pong, PEER.address)])

    def test_unsendable(self) -> None:
        """An answer that cannot be sent is counted, and harms nobody."""
        self.wire.unreachable.add(PEER.address)
        self.receive(b"12345678", Ping())
        self.receive(b"12345678", Ping(), OTHER)
        self.assertEqual(self.messages()[0], (Pong(), OTHER.address))
        self.assertGreaterEqual(self.rpc.counters["unsendable"], 1)


class LimitTests(RpcTestCase):
    """How much one peer may ask for."""

    peer_rate, peer_burst = 10.0, 20.0

    def test_requests(self) -> None:
        """What one peer asks above its rate is not answered, and counted; others do not feel it."""
        for _ in range(50):
            self.receive(b"12345678", Ping())
        self.receive(b"12345678", Ping(), OTHER)
        self.assertEqual([address for _, address in self.wire.sent], [PEER.address] * 20 + [OTHER.address])
        self.assertEqual(self.rpc.counters["requests over the limit"], 30)
        self.pass_time(1)
        self.wire.sent.clear()
        for _ in range(50):
            self.receive(b"12345678", Ping())
        self.assertEqual(len(self.wire.sent), 10)

    def test_replies(self) -> None:
        """A reply that was asked for is taken, whatever its sender has asked for before."""
        for _ in range(50):
            self.receive(b"12345678", Ping())
        rpc_id = self.call()
        self.receive(rpc_id, Pong())
        self.assertEqual(self.observer.names, ["answered"])


class PacingTests(RpcTestCase):
    """Who is asked much is asked no faster than it answers."""

    asking_rate, asking_burst = 100.0, 10.0

    def call_often(self, count: int, callee: Contact = PEER) -> None:
        for _ in range(count):
            self.rpc.call(callee, Ping(), self.observer)

    def test_evenly(self) -> None:
        """A burst is sent at once, the rest evenly, and nobody is told meanwhile that its call is slow."""
        at_once = round(PART * self.asking_burst)
        self.call_often(at_once + 8)
        self.assertEqual(len(self.wire.sent), at_once)
        self.pass_time(0.05)
        self.assertEqual(len(self.wire.sent), at_once + 4)
        self.call_often(1, OTHER)
        self.assertEqual(self.wire.sent[-1][1], OTHER.address)
        self.assertEqual(self.observer.facts, [])

    def test_answered(self) -> None:
        """What was paced is a call like any other: it is timed from when it was sent."""
        self.call_often(round(PART * self.asking_burst) + 1)
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
        """A reply to a call that is not sent yet answers nothing."""
        self.call_often(round(PART * self.asking_burst) + 1)
        last = int.from_bytes(self.last_rpc_id(), "big")
        self.receive((last + 1).to_bytes(8, "big"), Pong())
        self.assertEqual((self.observer.facts, self.rpc.counters["unasked"]), ([], 1))

    def test_too_many(self) -> None:
        """What would have to wait for too long fails at once, and nobody is taken for dead for that."""
        self.call_often(1000)
        self.assertEqual(set(self.observer.names), {"failed"})
        sent = 1000 - len(self.observer.names)
        self.assertAlmostEqual(sent, PART * (self.asking_burst + MOST_WAIT * self.asking_rate), delta=1.0)
        self.assertEqual(self.rpc.counters["too many at once"], len(self.observer.names))

    def test_stop(self) -> None:
        """What waits for its turn when the node stops fails, and nothing stays on the clock."""
        self.call_often(20)
        self.rpc.stop()
        self.assertEqual(self.observer.names, ["failed"] * 20)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class MalformedTests(RpcTestCase):
    """Datagrams that are no messages."""

    def receive_junk(self, sources: Iterable[Address]) -> list[tuple[str, int, str]]:
        """Host, port and reason of each line that was logged."""
        with capturedLogs() as events:
            for source in sources:
                self.rpc.datagramReceived(b"junk", source)
        return fields(events, "host", "port", "reason")

    def test_once_a_host(self) -> None:
        """They are counted, get no answer, and are logged once for each host, with the reason."""
        lines = self.receive_junk([("10.0.0.1", 1), ("10.0.0.1", 2), ("10.0.0.2", 3), ("10.0.0.1", 1)])
        self.assertEqual([line[:2] for line in lines], [("10.0.0.1", 1), ("10.0.0.2", 3)])
        self.assertTrue(all(reason for _, _, reason in lines))
        self.assertEqual((self.rpc.counters["malformed"], self.wire.sent), (4, []))

    def test_forged_sources(self) -> None:
        """A flood under ever new addresses, the same ones twice, does not fill the log."""
        sources = [address_of(number) for number in range(3000)]
        lines = self.receive_junk(sources + sources)
        self.assertLessEqual(len(lines), 1000)
        self.assertEqual(self.rpc.counters["malformed"], 6000)

    def test_every_border(self) -> None:
        """Whatever is wrong with a datagram, it is Malformed and nothing else."""
        good = datagram_of(PEER, encode(b"12345678", Ping()))
        rng = random.Random(3)
        junk = [b"", good[:1], good[:49], good[:-1], good + b"\0", b"\0" + good, bytes(1500)]
        junk += [good[:49] + rng.randbytes(rng.randrange(1, 60)) for _ in range(200)]
        for datagram in junk:
            self.rpc.datagramReceived(datagram, PEER.address)
        self.assertEqual((self.rpc.counters["malformed"], self.wire.sent), (len(junk), []))
