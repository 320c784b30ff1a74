"""An RPC protocol on a recording transport, for the tests of RPCs."""

import random
from typing import cast

from attrs import define, field
from twisted.internet.interfaces import IUDPTransport
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.contact import Address, Contact
from dht14.kademlia.neighbourhood import Neighbourhood
from dht14.kademlia.routing_table import RoutingTable
from dht14.net.rpc.pacing import Pacing
from dht14.net.rpc.probe import ProbeProtocol
from dht14.net.rpc.protocol import RpcProtocol
from dht14.net.rpc.standstill import StandstillDetector
from dht14.node.network_clock import NetworkClock
from dht14.node.responder import Responder
from dht14.security.hello_limiter import HelloLimiter
from dht14.security.subnets import parties_of
from dht14.security.tickets import Tickets
from dht14.session.plaintext import PlaintextLayer, PlaintextProbe
from dht14.sim.memory_store import MemoryStore
from dht14.wire.datagram import decode, encode
from dht14.wire.messages import Message, Ping, Pong
from tests.fakes import CallRecorder, contact, proof_of, verify_proof

OWN = 1 << 255
PEER = contact(0b1000, 1)
OTHER = contact(0b1111, 2)
TOLERANCE = 0.02
"""Seconds by which the timer of all calls may be late."""


def datagram_of(sender: Contact, payload: bytes) -> bytes:
    """The datagram that this node would send."""
    datagram = PlaintextLayer.of(proof_of(sender.node_id), verify_proof).seal(sender, payload, 0.0)
    assert datagram is not None
    return datagram


@define(eq=False)
class UdpRecorder:
    """A transport that records datagrams; it cannot send to the `unreachable`."""

    sent: list[tuple[bytes, Address]] = field(factory=list)
    unreachable: set[Address] = field(factory=set)

    def write(self, datagram: bytes, address: Address) -> None:
        if address in self.unreachable:
            raise OSError(101, "Network is unreachable")
        self.sent.append((datagram, address))


class RpcTestCase(SynchronousTestCase):
    """One protocol on a recording transport."""

    peer_rate, peer_burst = 0.0, 1.0
    asking_rate, asking_burst = 0.0, 1.0

    def setUp(self) -> None:
        self.clock = Clock()
        self.table = RoutingTable(OWN)
        self.store = MemoryStore(OWN, 10_000, lambda record: True)
        time = NetworkClock(self.clock.seconds, self.clock.seconds)
        responder = Responder(Neighbourhood(self.table), self.store, 60, Tickets(random.Random(1)), time)
        session = PlaintextLayer.of(proof_of(OWN), verify_proof, self.peer_rate, self.peer_burst)
        reachability = PlaintextProbe(proof_of(OWN), verify_proof, random.Random(2))
        self.probe = ProbeProtocol(self.clock, reachability, self.table, HelloLimiter(), parties_of)
        self.standstill = StandstillDetector(self.clock)
        self.probe_wire = UdpRecorder()
        self.probe.makeConnection(cast(IUDPTransport, self.probe_wire))
        self.rpc = RpcProtocol(
            clock=self.clock,
            rng=random.Random(1),
            session=session,
            verify_proof=verify_proof,
            table=self.table,
            responder=responder,
            probe=self.probe,
            time=time,
            standstill=self.standstill,
            pacing=Pacing(self.asking_rate, self.asking_burst),
        )
        self.wire = UdpRecorder()
        self.rpc.makeConnection(cast(IUDPTransport, self.wire))
        self.observer = CallRecorder()

    def call(self, callee: Contact = PEER) -> bytes:
        """Send a PING; its RPC id."""
        self.rpc.call(callee, Ping(), self.observer)
        return self.last_rpc_id()

    def messages(self) -> list[tuple[Message, Address]]:
        """The messages sent, decoded."""
        return [(decode(datagram[49:], verify_proof)[1], address) for datagram, address in self.wire.sent]

    def last_rpc_id(self) -> bytes:
        return decode(self.wire.sent[-1][0][49:], verify_proof)[0]

    def receive(self, rpc_id: bytes, message: Message, sender: Contact = PEER) -> None:
        self.rpc.datagramReceived(datagram_of(sender, encode(rpc_id, message)), sender.address)

    def pass_time(self, seconds: float) -> None:
        """Advance in steps, like a reactor: a timer that is set in a step counts from then on."""
        self.clock.pump([0.01] * round(seconds / 0.01))

    def get_to_know(self, *contacts: Contact) -> None:
        """Let each of them answer a PING after 10 ms."""
        for one in contacts:
            rpc_id = self.call(one)
            self.pass_time(0.01)
            self.receive(rpc_id, Pong(), one)
        self.observer = CallRecorder()
