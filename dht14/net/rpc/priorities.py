"""Which addresses come first when there are too many handshakes: those of contacts, then those of other nodes."""

from attrs import define, field

from dht14.kademlia.contact import Address
from dht14.kademlia.routing_table import RoutingTable
from dht14.security.hello_limiter import HelloLimiter
from dht14.security.shares import Priority


@define(eq=False)
class PeerPriorities:
    """What a node knows of addresses before anybody there has proven anything today."""

    _table: RoutingTable
    _hello_limiter: HelloLimiter
    _contacts: frozenset[Address] = field(default=frozenset(), init=False)
    """The addresses of the table."""
    _revision: int = field(default=-1, init=False)
    """Of the table that they were taken from."""

    def of(self, address: Address) -> Priority:
        """What is known of this address. Costs next to nothing: a flood asks for each of its datagrams."""
        if self._revision != self._table.revision:
            self._revision = self._table.revision
            self._contacts = frozenset(contact.address for contact in self._table.contacts())
        if address in self._contacts:
            return Priority.CONTACT
        return Priority.PROVEN if self._hello_limiter.is_proven(address) else Priority.UNKNOWN
