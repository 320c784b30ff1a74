"""Nodes of one subnet count little: whoever rents one has as many nodes there as they like.

Which subnet an address belongs to is told from outside (`security.diversity`); what is limited, and to how
many, stands here and in `parameters`.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from attrs import define, field

from dht14.kademlia.contact import Contact
from dht14.kademlia.parameters import SUBNET_IN_SET

Subnet = bytes
"""The leading bytes of an address."""

SubnetOf = Callable[[str], Subnet | None]
"""From a numeric IP address to its subnet; None where there is no limit."""


def unlimited(host: str) -> Subnet | None:
    """No address has company: for tables and lookups of nodes that all trust each other."""
    return None


@define
class SubnetQuota:
    """The places that each subnet has among contacts that shall not fail, or lie, together."""

    subnet_of: SubnetOf
    limit: int = SUBNET_IN_SET
    _taken: Counter[Subnet] = field(factory=Counter, init=False)

    def take(self, contact: Contact) -> bool:
        """Whether there was a place for this contact; it is taken then."""
        subnet = self.subnet_of(contact.address[0])
        if subnet is None:
            return True
        if self._taken[subnet] >= self.limit:
            return False
        self._taken[subnet] += 1
        return True


def limit_per_subnet(contacts: Iterable[Contact], subnet_of: SubnetOf) -> Iterator[Contact]:
    """The contacts in their order, without those for whose subnet there is no place any more."""
    return filter(SubnetQuota(subnet_of).take, contacts)
