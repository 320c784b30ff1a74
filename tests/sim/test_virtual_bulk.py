import random

from twisted.internet.defer import Deferred
from twisted.internet.protocol import DatagramProtocol
from twisted.trial.unittest import SynchronousTestCase

from dht14.errors import CallFailed
from dht14.kademlia.contact import Contact
from dht14.kademlia.neighbourhood import Neighbourhood
from dht14.kademlia.parameters import MAX_VALUE
from dht14.kademlia.routing_table import RoutingTable
from dht14.node.network_clock import NetworkClock
from dht14.node.responder import Responder
from dht14.node.transfers import Download, Transfer, Upload
from dht14.records.record import Record
from dht14.security.identity import public_key_in
from dht14.security.tickets import Tickets
from dht14.sim.clock import HeapClock
from dht14.sim.conditions import Conditions
from dht14.sim.memory_store import MemoryStore
from dht14.sim.network import VirtualNetwork
from dht14.sim.virtual_bulk import MAX_RESENDS, VirtualBulk
from dht14.wire.messages import Offer, Reply, Stored
from tests.fakes import BEGINNING, address_of, contact, proof_of, verify_proof

HOLDER, ASKER = contact(1, 1), contact(2, 2)
VALUE = random.Random(3).randbytes(MAX_VALUE)


class VirtualBulkCase(SynchronousTestCase):
    """Two nodes with inactive RPC layers."""

    conditions = Conditions()

    def setUp(self) -> None:
        self.clock = HeapClock(BEGINNING)
        self.network = VirtualNetwork(self.clock, random.Random(1), self.conditions)
        self.tickets: Tickets[Transfer] = Tickets(random.Random(2))
        self.store = MemoryStore(1, 1 << 28, lambda record: True)
        self.holder, self.asker = self.end(HOLDER), self.end(ASKER)

    def end(self, who: Contact) -> VirtualBulk:
        bulk = VirtualBulk(proof_of(who.node_id), verify_proof, self.clock)
        responder = Responder(
            Neighbourhood(RoutingTable(who.node_id)),
            self.store,
            86_400.0,
            self.tickets,
            NetworkClock(self.clock.seconds, self.clock.seconds),
        )
        bulk.serve(DatagramProtocol(), responder)
        self.network.listen(address_of(who.node_id), bulk)
        return bulk

    def ticket(self, errand: Transfer) -> bytes:
        return self.tickets.issue(public_key_in(ASKER.proof), errand, 1, self.clock.seconds())

    def push(self, key: int = 5) -> "Deferred[Reply]":
        record = Record(key=key, value=VALUE, version=7, expires_at=0.0, replication=8)
        offer = Offer(key, 7, 60_000, 8, 0, False, len(VALUE), record.digest)
        ticket = self.ticket(Upload(offer, ASKER, self.clock.seconds()))
        return self.asker.push(HOLDER, ticket, VALUE)

    def fetch(self) -> "Deferred[bytes]":
        return self.asker.fetch(HOLDER, self.ticket(Download(5, 7, len(VALUE))), len(VALUE))

    def wait(self, seconds: float = 5.0) -> None:
        self.clock.run_until(self.clock.seconds() + seconds)


class VirtualBulkTests(VirtualBulkCase):
    def test_both_ways(self) -> None:
        """A value is pushed, and fetched again."""
        pushed = self.push()
        self.wait()
        self.assertEqual(self.successResultOf(pushed), Stored((), replication=8))
        fetched = self.fetch()
        self.wait()
        self.assertEqual(self.successResultOf(fetched), VALUE)

    def test_worthless_ticket(self) -> None:
        """An unknown ticket, or a value that is gone, fails the transfer at once."""
        for failed in (self.asker.fetch(HOLDER, bytes(16), 1), self.fetch()):
            self.wait(1)
            self.failureResultOf(failed, CallFailed)

    def test_dead(self) -> None:
        """A dead holder fails it after some resends."""
        fetched = self.asker.fetch(contact(9, 9), bytes(16), 1)
        self.wait(1)
        self.assertNoResult(fetched)
        self.wait(2.0**MAX_RESENDS)
        self.failureResultOf(fetched, CallFailed)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_given_up(self) -> None:
        """A cancelled transfer is not resent."""
        fetched = self.asker.fetch(contact(9, 9), bytes(16), 1)
        fetched.cancel()
        self.failureResultOf(fetched)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class BadNetworkTests(VirtualBulkCase):
    """A fifth of all datagrams is lost, others arrive twice."""

    conditions = Conditions(loss=0.2, duplicate=0.3)

    def test_once(self) -> None:
        """A ticket is used once however often it arrives, and each transfer has a response."""
        pushes = [self.push(key) for key in range(30)]
        self.wait(20)
        self.assertEqual(
            [self.successResultOf(pushed) for pushed in pushes], [Stored((), replication=8)] * 30
        )
        self.assertEqual(len(self.store), 30)
