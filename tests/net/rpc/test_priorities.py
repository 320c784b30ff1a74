from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.routing_table import RoutingTable
from dht14.net.rpc.priorities import PeerPriorities
from dht14.security.hello_limiter import HelloLimiter
from dht14.security.shares import Priority
from tests.fakes import contact


class PriorityTests(SynchronousTestCase):
    """The priority of an address."""

    def setUp(self) -> None:
        self.table, self.hello_limiter = RoutingTable(1 << 255), HelloLimiter()
        self.priority_of = PeerPriorities(self.table, self.hello_limiter).of

    def test_stranger(self) -> None:
        """An address is unknown if no node, or only another one of the same host, has answered from it."""
        self.assertIs(self.priority_of(("203.0.113.1", 8000)), Priority.UNKNOWN)
        self.hello_limiter.proved(("203.0.113.1", 8001))
        self.assertIs(self.priority_of(("203.0.113.1", 8000)), Priority.UNKNOWN)

    def test_proven(self) -> None:
        """An address that a node has proven stays proven."""
        self.hello_limiter.proved(("203.0.113.1", 8000))
        self.assertIs(self.priority_of(("203.0.113.1", 8000)), Priority.PROVEN)

    def test_contact(self) -> None:
        """A contact has priority from entering the table until it leaves it."""
        one = contact(7, 1)
        self.assertIs(self.priority_of(one.address), Priority.UNKNOWN)
        self.table.confirmed(one, 0.0, 0.1)
        self.assertIs(self.priority_of(one.address), Priority.CONTACT)
        self.table.confirmed(contact(8, 2), 0.0, 0.1)
        self.assertIs(self.priority_of(one.address), Priority.CONTACT)
