import random
from typing import cast

from twisted.internet.interfaces import IUDPTransport
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.contact import Address, Contact
from dht14.kademlia.parameters import HARD_TIMEOUT, K
from dht14.kademlia.routing_table import RoutingTable
from dht14.net.rpc.metrics import ProbeMetrics
from dht14.net.rpc.probe import (
    FIRST_PROBE_SPACING,
    MAX_CALLERS,
    MAX_PROBES,
    PROBE_LIMITS,
    RESEND_AFTER,
    RETURN_PATH_LIFETIME,
    ProbeProtocol,
)
from dht14.security.hello_limiter import HelloLimiter
from dht14.security.prekey_clock import PrekeyClock
from dht14.security.subnets import Scope, parties_of
from dht14.session.encrypted import HelloProbe
from dht14.session.layer import ReachabilityProbe
from dht14.session.plaintext import PROBE, PROBE_REPLY, PlaintextProbe
from tests.fakes import contact, contact_at, proof_of, verify_proof
from tests.net.rpc.case import UdpRecorder
from tests.session.pair import BEGINNING, PUZZLE, Side

OWN = 1 << 255
CALLER, OTHER = contact(7, 1), contact(8, 2)


class ProbeTestCase(SynchronousTestCase):
    """One protocol on a recording transport."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(BEGINNING)
        self.table = RoutingTable(OWN)
        self.probe = ProbeProtocol(self.clock, self.reachability(), self.table, HelloLimiter(), parties_of)
        self.wire = UdpRecorder()
        self.probe.makeConnection(cast(IUDPTransport, self.wire))

    def reachability(self) -> ReachabilityProbe:
        return PlaintextProbe(proof_of(OWN), verify_proof, random.Random(1))

    def called_by(self, caller: Contact = CALLER) -> None:
        self.probe.called_by(caller, self.clock.seconds())

    def probed(self) -> list[Address]:
        """The addresses of datagrams since the last call."""
        addresses = [address for _, address in self.wire.sent]
        self.wire.sent.clear()
        return addresses


class ProbeTests(ProbeTestCase):
    """Callers that become contacts."""

    def answer(self, question: bytes, caller: Contact = CALLER) -> None:
        self.probe.datagramReceived(PROBE_REPLY + caller.proof + question[-8:], caller.address)

    def last(self) -> bytes:
        return self.wire.sent[-1][0]

    def test_answered(self) -> None:
        """A caller is probed, and becomes a contact when it answers; its round-trip time is known then."""
        self.called_by()
        ((question, address),) = self.wire.sent
        self.assertEqual((question, address), (PROBE + proof_of(OWN) + question[-8:], CALLER.address))
        self.assertEqual(len(self.table), 0)
        self.clock.advance(0.1)
        self.answer(question)
        self.assertEqual(self.table.contacts(), [CALLER])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.probe.metrics, ProbeMetrics(sent=1, answered=1))

    def test_announced(self) -> None:
        """A node that announces another address is probed there, and becomes a contact when it answers
        from there."""
        there = contact_at(CALLER.node_id, OTHER.address)
        self.probe.announced(there, self.clock.seconds())
        question = self.last()
        self.assertEqual(self.probed(), [OTHER.address])
        self.answer(question)
        self.assertEqual(len(self.table), 0)
        self.answer(question, there)
        self.assertEqual(self.table.contacts(), [there])

    def test_victim(self) -> None:
        """An address that many nodes announce gets two datagrams in ten minutes."""
        for node_id in range(1, 100):
            self.probe.announced(contact_at(node_id, OTHER.address), self.clock.seconds())
            self.clock.advance(5)
        self.assertEqual(self.probed(), [OTHER.address] * 2)
        self.clock.advance(600)
        self.probe.announced(contact_at(1, OTHER.address), self.clock.seconds())
        self.assertEqual(self.probed(), [OTHER.address])

    def test_unanswered(self) -> None:
        """A caller that does not answer is probed once more, and forgotten after the hard timeout."""
        self.called_by()
        self.assertEqual(len(self.probed()), 1)
        self.clock.advance(RESEND_AFTER)
        self.assertEqual(self.probed(), [CALLER.address])
        self.clock.advance(HARD_TIMEOUT)
        self.assertEqual((self.probed(), self.clock.getDelayedCalls()), ([], []))
        self.assertEqual(self.probe.metrics.unanswered, 1)

    def test_late(self) -> None:
        """An answer that comes too late does not count."""
        self.called_by()
        question = self.last()
        self.clock.pump([HARD_TIMEOUT / 2] * 2 + [1.0])
        self.answer(question)
        self.assertEqual(len(self.table), 0)

    def test_others_answer(self) -> None:
        """An answer from another address, of another node or to no probe does not count."""
        self.called_by()
        question = self.last()
        self.answer(question, contact_at(CALLER.node_id, OTHER.address))
        self.answer(question, contact_at(OTHER.node_id, CALLER.address))
        self.answer(bytes(60))
        self.assertEqual((len(self.table), self.probe.metrics.unasked), (0, 3))
        self.answer(question)
        self.answer(question)
        self.assertEqual((len(self.table), self.probe.metrics.unasked), (1, 4))

    def test_junk(self) -> None:
        """Nothing is answered."""
        rng = random.Random(1)
        self.called_by()
        self.wire.sent.clear()
        for datagram in [b"", PROBE, PROBE_REPLY, self.reachability().ask(CALLER, bytes(8))] + [
            rng.randbytes(size) for size in range(100)
        ]:
            self.probe.datagramReceived(datagram, CALLER.address)
        self.assertEqual((self.wire.sent, len(self.table)), ([], 0))
        self.assertEqual(self.probe.metrics.malformed + self.probe.metrics.unasked, 104)

    def test_spacing(self) -> None:
        """A caller that does not answer is probed less and less often, however often it calls; in the end
        once a minute."""
        for first, last, probes in ((0, 5, 1), (6, 23, 1), (24, 77, 1), (78, 377, 5)):
            for _ in range(first, last + 1):
                self.called_by()
                self.clock.advance(1.0)
            self.assertEqual(len(self.probed()), 2 * probes, f"seconds {first} to {last}")

    def test_lost(self) -> None:
        """A caller whose probe was lost, twice, becomes a contact a few seconds later, when it calls
        again."""
        self.called_by()
        self.clock.pump([RESEND_AFTER, HARD_TIMEOUT])
        self.clock.advance(FIRST_PROBE_SPACING - HARD_TIMEOUT)
        self.called_by()
        self.answer(self.last())
        self.assertEqual(self.table.contacts(), [CALLER])

    def test_at_once(self) -> None:
        """The number of probes under way is limited; the oldest gives way to the newest caller."""
        callers = [contact_at(n, (f"198.51.{n}.1", 8000)) for n in range(1, MAX_PROBES + 3)]
        for caller in callers:
            self.called_by(caller)
        self.assertEqual(len(self.probe._probes), MAX_PROBES)
        self.assertEqual(self.probe.metrics, ProbeMetrics(sent=MAX_PROBES + 2, displaced=2))
        self.clock.pump([RESEND_AFTER, HARD_TIMEOUT])
        self.assertEqual(self.probe.metrics.unanswered, MAX_PROBES)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_of_one_host(self) -> None:
        """One host has few probes at a time, whatever its ports and ids; so have the hosts of a subnet or a
        provider together. A private host may have half of all. When probes have ended there is room for
        others."""
        for host, scope in (
            ("203.0.113.1", Scope.HOST),
            ("203.0.114.{}", Scope.SUBNET),
            ("2001:db8:{:x}::1", Scope.PROVIDER),
            ("10.0.0.1", Scope.PRIVATE_HOST),
        ):
            for turn in (0, 100):
                for number in range(1, MAX_PROBES + 1):
                    self.called_by(contact_at(number, (host.format(number), 8000 + number + turn)))
                self.assertEqual(len(self.probed()), PROBE_LIMITS[scope])
                self.assertEqual(len(self.probe._probes), PROBE_LIMITS[scope])
                self.clock.pump([RESEND_AFTER, HARD_TIMEOUT])
                self.probed()

    def test_flood_of_callers(self) -> None:
        """One host that calls from 20 new ports a second does not keep a newcomer from being probed."""
        probed = 0
        for turn in range(400):
            self.called_by(contact_at(1000 + turn, ("203.0.113.1", 1000 + turn)))
            self.probed()
            if turn % 10 == 0:
                newcomer = contact_at(1 + turn, (f"198.51.{turn // 10}.1", 8000))
                self.called_by(newcomer)
                probed += self.probed() == [newcomer.address]
            self.clock.advance(0.05)
            self.probed()
        self.assertEqual(probed, 40)

    def test_many_hosts(self) -> None:
        """Hosts that take all slots give way to a newcomer from elsewhere, which gives way to none of
        them."""
        for number in range(MAX_PROBES):
            self.called_by(contact_at(number + 1, (f"198.51.{number // 4}.{number % 4}", 8000)))
        newcomer = contact_at(77, ("203.0.113.1", 8000))
        self.called_by(newcomer)
        for number in range(MAX_PROBES):
            self.called_by(contact_at(number + 100, (f"198.51.{number // 4}.{number % 4 + 9}", 8000)))
        self.assertIn(newcomer, [probe.contact for probe in self.probe._probes.values()])

    def test_not_wanted(self) -> None:
        """A caller that the table does not want is not probed, but remembered."""
        for number in range(1, 17 * K):
            self.table.confirmed(contact(number, number), self.clock.seconds(), 0.1)
        self.table.confirmed(contact(OWN | 1, 1), self.clock.seconds(), 0.1)
        unknown_peer = contact(1 << 200, 5)
        self.called_by(unknown_peer)
        self.assertEqual(self.probed(), [])
        self.assertTrue(self.probe.may_be_unreachable(unknown_peer, self.clock.seconds()))

    def test_contacts(self) -> None:
        """Contacts and this node itself are not probed; a contact that missed the last call is."""
        self.table.confirmed(CALLER, self.clock.seconds(), 0.1)
        self.called_by()
        self.called_by(contact(OWN, 3))
        self.assertEqual(self.probed(), [])
        self.table.failed(CALLER, self.clock.seconds())
        self.called_by()
        self.answer(self.last())
        self.assertFalse(self.table.is_suspect(CALLER.node_id))

    def test_may_be_unreachable(self) -> None:
        """For ten minutes after its last call a caller may be unreachable."""
        self.called_by()
        now = self.clock.seconds()
        self.assertTrue(self.probe.may_be_unreachable(CALLER, now + RETURN_PATH_LIFETIME - 1))
        self.assertFalse(self.probe.may_be_unreachable(CALLER, now + RETURN_PATH_LIFETIME))
        self.assertFalse(self.probe.may_be_unreachable(OTHER, now))
        self.answer(self.last())
        self.assertFalse(self.probe.may_be_unreachable(CALLER, now))

    def test_bounded(self) -> None:
        """The number of callers remembered is limited."""
        for number in range(1, MAX_CALLERS + 50):
            self.called_by(contact(number, number))
        self.assertEqual(len(self.probe._callers), MAX_CALLERS)

    def test_unsendable(self) -> None:
        """A probe that cannot be sent does no harm."""
        self.wire.unreachable.add(CALLER.address)
        self.called_by()
        self.clock.pump([RESEND_AFTER, HARD_TIMEOUT])
        self.assertEqual(self.probe.metrics, ProbeMetrics(sent=1, unsendable=2, unanswered=1))

    def test_stop(self) -> None:
        """After the stop no timer is left, and nothing is probed."""
        self.called_by()
        self.probe.stop()
        self.called_by(OTHER)
        self.assertEqual((self.probed(), self.clock.getDelayedCalls()), ([CALLER.address], []))


class HelloProbeTests(ProbeTestCase):
    """Probes with encrypted datagrams."""

    def setUp(self) -> None:
        self.checked: list[bytes] = []
        super().setUp()

    def reachability(self) -> ReachabilityProbe:
        return HelloProbe(self.verify_proof, random.Random(1), PrekeyClock(self.clock.seconds))

    def verify_proof(self, proof: bytes) -> int:
        self.checked.append(proof)
        return PUZZLE.verify_proof(proof)

    def test_challenge(self) -> None:
        """The probe is a HELLO; only the CHALLENGE of the probed node answers it."""
        side, third = Side(1, ("192.0.2.1", 8000)), Side(2, ("192.0.2.1", 8000))
        self.called_by(side.contact)
        ((hello, address),) = self.wire.sent
        self.assertEqual((len(hello), address), (256, side.address))
        (wrong,) = third.take(hello, ("198.51.100.1", 49_152))
        (right,) = side.take(hello, ("198.51.100.1", 49_152))
        self.probe.datagramReceived(wrong, side.address)
        self.probe.datagramReceived(right[:-1] + bytes([right[-1] ^ 1]), side.address)
        self.probe.datagramReceived(right, ("192.0.2.7", 8000))
        self.assertEqual(len(self.table), 0)
        self.probe.datagramReceived(right, side.address)
        self.assertEqual(self.table.contacts(), [side.contact])

    def test_unasked(self) -> None:
        """The proof and the signature of a CHALLENGE that answers no probe, or comes from elsewhere, are not
        checked: the check is expensive, and anyone can repeat a CHALLENGE."""
        side = Side(1, ("192.0.2.1", 8000))
        self.called_by(side.contact)
        (challenge,) = side.take(self.wire.sent[0][0], ("198.51.100.1", 49_152))
        self.probe.datagramReceived(challenge[:1] + bytes(8) + challenge[9:], side.address)
        self.probe.datagramReceived(challenge, ("192.0.2.7", 8000))
        self.assertEqual(self.checked, [])
        self.assertEqual(self.probe.metrics.unasked, 2)

    def test_fresh(self) -> None:
        """No two HELLOs are the same."""
        self.called_by(Side(1, ("192.0.2.1", 8000)).contact)
        self.called_by(Side(2, ("192.0.2.2", 8000)).contact)
        first, second = (datagram for datagram, _ in self.wire.sent)
        self.assertNotEqual(first[1:9], second[1:9])
        self.assertNotEqual(first[9:41], second[9:41])
