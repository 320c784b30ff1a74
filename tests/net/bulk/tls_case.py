"""Shared by the tests of the bulk channel: identities, and both ends of a connection in memory."""

import random
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.test.iosim import FakeTransport, IOPump, connect
from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.contact import Contact
from dht14.kademlia.neighbourhood import Neighbourhood
from dht14.kademlia.routing_table import RoutingTable
from dht14.net.bulk.server import BulkServer
from dht14.net.bulk.tls import NodeTls
from dht14.node.network_clock import NetworkClock
from dht14.node.responder import Responder
from dht14.node.transfers import Download, Transfer, Upload
from dht14.records.record import Record
from dht14.security.identity import Identity, Puzzle, public_key_in
from dht14.security.subnets import parties_of
from dht14.security.tickets import Tickets
from dht14.sim.memory_store import MemoryStore
from dht14.wire.messages import Offer
from tests.fakes import BEGINNING

PUZZLE = Puzzle("tests", 0)
HOLDER, ASKER, STRANGER = (Identity.made_up(PUZZLE, random.Random(number)) for number in range(3))
HOLDER_CONTACT = Contact(HOLDER.node_id, ("10.0.0.1", 8000), HOLDER.proof)
ASKER_CONTACT = Contact(ASKER.node_id, ("10.0.0.2", 8000), ASKER.proof)
KEY, VERSION = 5, 7
VALUE = bytes(range(256)) * 255


class BulkCase(SynchronousTestCase):
    """A holder with its server, on a manual clock."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.reactor.advance(BEGINNING)
        self.tickets: Tickets[Transfer] = Tickets(random.Random(1))
        self.store: Any = MemoryStore(HOLDER.node_id, 1 << 28, lambda record: True)
        self.server = self.serve(self.store)

    def serve(self, store: Any, parties_of: Any = parties_of) -> BulkServer:
        """A server on this store."""
        responder = Responder(
            Neighbourhood(RoutingTable(HOLDER.node_id)),
            store,
            86_400.0,
            self.tickets,
            NetworkClock(self.reactor.seconds, self.reactor.seconds),
        )
        return BulkServer(responder, NodeTls(HOLDER.private_key), parties_of, self.reactor)

    def now(self) -> float:
        return self.reactor.seconds()

    def hold(self, value: bytes = VALUE) -> None:
        """Store this value at the holder."""
        self.store.offer(
            Record(key=KEY, value=value, version=VERSION, expires_at=self.now() + 60, replication=8),
            self.now(),
            lambda _: None,
        )

    def ticket(self, errand: Transfer, identity: Identity = ASKER) -> bytes:
        length = errand.length if isinstance(errand, Download) else errand.offer.length
        return self.tickets.issue(public_key_in(identity.proof), errand, length, self.now())

    def ticket_to_fetch(self, value: bytes = VALUE) -> bytes:
        return self.ticket(Download(KEY, VERSION, len(value)))

    def ticket_to_push(self, value: bytes = VALUE, key: int = KEY) -> bytes:
        record = Record(key=key, value=value, version=VERSION, expires_at=0.0, replication=8)
        offer = Offer(key, VERSION, 60_000, 8, 0, False, len(value), record.digest)
        return self.ticket(Upload(offer, ASKER_CONTACT, self.now()))

    def accept(self, host: str = "10.0.0.2") -> Any:
        """The server's side of a new connection; None if it is not accepted."""
        return self.server.buildProtocol(IPv4Address("TCP", host, 40_000))


class Talker(Protocol):
    """One side of a connection, played by a test: records data and the end."""

    transport: Any

    def __init__(self) -> None:
        self.received = b""
        self.lost = False

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: object = None) -> None:
        self.lost = True

    def say(self, data: bytes) -> None:
        self.transport.write(data)


def wrapped(protocol: Protocol, tls: Any, reactor: Any, is_client: bool) -> Any:
    """This protocol inside TLS."""
    factory = Factory()
    factory.buildProtocol = lambda addr: protocol  # type: ignore[method-assign]
    return TLSMemoryBIOFactory(tls, is_client, factory, reactor).buildProtocol(None)


def join(server: Any, client: Any) -> IOPump:
    """Both sides on a cable; `flush` delivers what they have written."""
    pump: IOPump = connect(
        server, FakeTransport(server, True), client, FakeTransport(client, False), debug=False
    )
    pump.flush()
    return pump
