"""Regions of the key space: one lookup serves all keys that are near to each other."""

from attrs import define, field, frozen

from dht14.kademlia.contact import Contact
from dht14.kademlia.keyspace import shared_prefix
from dht14.kademlia.parameters import K
from dht14.node.node import Node


@frozen
class Region:
    """The result of a lookup: the nodes nearest to a target."""

    target: int
    contacts: tuple[Contact, ...]

    def covers(self, key: int, count: int) -> bool:
        """Whether the `count` nodes nearest to this key are among the contacts.

        The lookup has found every node that shares more bits with the target than the last contact does.
        """
        if len(self.contacts) < K:
            return True
        depth = shared_prefix(self.target, self.contacts[-1].node_id) + 1
        inside = sum(shared_prefix(self.target, contact.node_id) >= depth for contact in self.contacts)
        return shared_prefix(self.target, key) >= depth and inside >= count


@define(eq=False)
class RegionLookups:
    """Finds the nodes near one key after another. Adjacent keys usually share a region, and so a lookup."""

    _node: Node
    _latest: Region | None = field(default=None, init=False)

    async def contacts_near(self, key: int, count: int) -> tuple[Contact, ...] | None:
        """Return contacts among which are the `count` nearest to the key; None where the routing table has
        them, and no lookup is needed."""
        if self._node.neighbourhood.knows_region(key, count):
            return None
        if self._latest is None or not self._latest.covers(key, count):
            lookup = await self._node.find_nodes(key)
            self._latest = Region(key, tuple(lookup.nearest()))
        return self._latest.contacts
