"""The priority of addresses when there are too many handshakes: contacts first, then other proven
addresses."""

from attrs import define, field

from dht14.kademlia.contact import Address
from dht14.kademlia.routing_table import RoutingTable
from dht14.security.hello_limiter import HelloLimiter
from dht14.security.shares import Priority


@define(eq=False)
class PeerPriorities:
    """What this node knows of an address before a handshake."""

    _table: RoutingTable
    _hello_limiter: HelloLimiter
    _contacts: frozenset[Address] = field(default=frozenset(), init=False)
    """The addresses of all contacts of the table."""
    _revision: int = field(default=-1, init=False)
    """The table's revision at that time."""

    def of(self, address: Address) -> Priority:
        """Return the priority of an address. Cheap: it is called for each datagram of a flood."""
        if self._revision != self._table.revision:
            self._revision = self._table.revision
            self._contacts = frozenset(entry.contact.address for entry in self._table.entries())
        if address in self._contacts:
            return Priority.CONTACT
        return Priority.PROVEN if self._hello_limiter.is_proven(address) else Priority.UNKNOWN
