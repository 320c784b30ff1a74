from typing import cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.contact import Address
from dht14.kademlia.routing_table import RoutingTable
from dht14.maintenance.announcer import ANNOUNCE_LIFETIME, ANNOUNCES_AT_ONCE, Announcer
from dht14.wire.messages import Announce
from tests.fakes import RpcRecorder, contact, fields

OWN = 1 << 255
ADDRESS = ("192.0.2.1", 8000)


class AnnouncerTests(SynchronousTestCase):
    """Contacts learn the advertised address of this node."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.table = RoutingTable(OWN)
        self.rpc = RpcRecorder()
        self.addresses: list[Address] = [ADDRESS]
        self.announcer = Announcer(("example.org", 8000), self.table, self.rpc, self.resolve, self.clock)

    def resolve(self, host: str, port: int) -> "Deferred[list[Address]]":
        self.assertEqual((host, port), ("example.org", 8000))
        return succeed(self.addresses)

    def announced_to(self) -> set[int]:
        """The contacts that get an ANNOUNCE in one pass."""
        self.rpc.calls.clear()
        self.successResultOf(Deferred.fromCoroutine(self.announcer.announce()))
        self.assertEqual({request for _, request, _ in self.rpc.calls} - {Announce(ADDRESS)}, set())
        return {callee.node_id for callee in self.rpc.contacts}

    def meet(self, *node_ids: int) -> None:
        for node_id in node_ids:
            self.table.confirmed(contact(node_id), 0, 0.1)

    def test_told(self) -> None:
        """Each contact gets one ANNOUNCE, later ones too, and another one after a while."""
        self.assertEqual(self.announced_to(), set())
        self.meet(1, 2)
        self.assertEqual(self.announced_to(), {1, 2})
        self.meet(3)
        self.assertEqual(self.announced_to(), {3})
        self.clock.advance(ANNOUNCE_LIFETIME)
        self.assertEqual(self.announced_to(), {1, 2, 3})

    def test_paced(self) -> None:
        """Many contacts are served in several passes."""
        self.meet(*range(1, ANNOUNCES_AT_ONCE + 11))
        self.assertEqual((len(self.announced_to()), len(self.announced_to())), (ANNOUNCES_AT_ONCE, 10))

    def test_no_address(self) -> None:
        """While the name does not resolve no contact gets an ANNOUNCE, and this is logged once; later they
        do."""
        events: list[LogEvent] = []
        observer = cast(ILogObserver, events.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.meet(1)
        self.addresses = []
        self.assertEqual((self.announced_to(), self.announced_to()), (set(), set()))
        self.assertEqual(fields(events, "host"), [("example.org",)])
        self.addresses = [ADDRESS]
        self.assertEqual(self.announced_to(), {1})
        self.assertEqual(fields(events, "host"), [("example.org",)])

    def test_unanswered(self) -> None:
        """A contact that does not answer is no error."""
        self.meet(1)
        self.announced_to()
        ((callee, _, observer),) = self.rpc.calls
        observer.call_failed(callee)
