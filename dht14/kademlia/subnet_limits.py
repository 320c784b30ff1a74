"""Limits on nodes of one subnet: an attacker that rents a subnet can run any number of nodes there.

`security.subnets` says which subnet an address belongs to. Here and in `parameters` stands what is limited,
and to how many.
"""

from collections.abc import Callable, Iterable, Iterator

from attrs import define, field

from dht14.kademlia.contact import Contact
from dht14.kademlia.parameters import SUBNET_IN_SET

Subnet = bytes
"""The leading bytes of an address."""

SubnetOf = Callable[[str], Subnet | None]
"""From a numeric IP address to its subnet; None if the address is not limited."""


def unlimited(host: str) -> Subnet | None:
    """Return None: for tables and lookups of nodes that all trust each other."""
    return None


@define
class SubnetQuota:
    """How many contacts of each subnet count among contacts that must not fail, or lie, together."""

    subnet_of: SubnetOf
    limit: int = SUBNET_IN_SET
    _taken: dict[Subnet, int] = field(factory=dict, init=False)

    def take(self, contact: Contact) -> bool:
        """Count the contact if its subnet's quota allows it. Return whether it did."""
        subnet = self.subnet_of(contact.address[0])
        return subnet is None or self.take_of(subnet)

    def take_of(self, subnet: Subnet) -> bool:
        """Count a contact of this subnet, as `take` does."""
        taken = self._taken.get(subnet, 0)
        self._taken[subnet] = taken + 1
        return taken < self.limit


def limit_per_subnet(contacts: Iterable[Contact], subnet_of: SubnetOf) -> Iterator[Contact]:
    """Yield the contacts in their order, without those over their subnet's quota."""
    return filter(SubnetQuota(subnet_of).take, contacts)
