"""Who is responsible for a key, as far as one node can tell from its own contacts."""

from collections.abc import Sequence

from attrs import define, field

from dht14.kademlia.contact import Contact
from dht14.kademlia.network_size import NetworkSize, density_at_home, is_crowded, region_radius
from dht14.kademlia.parameters import MAX_SPARSENESS, K
from dht14.kademlia.routing_table import RoutingTable
from dht14.kademlia.subnet_limits import limit_per_subnet


@define(eq=False)
class Neighbourhood:
    """What the density of the contacts in `table` says about the nodes near a key."""

    table: RoutingTable
    _network_size: NetworkSize = field(factory=NetworkSize, init=False)
    _home: tuple[int, float | None] = field(default=(-1, None), init=False)
    """The density around our own id, and the `revision` of the table from which it was computed."""

    def knows_region(self, target: int, count: int) -> bool:
        """Estimate whether most of the `count` nodes nearest to `target` are in the table.

        Ids are spread evenly, and around our own id we know every node. So we do around the target where our
        contacts are about as dense. A few may be missing: a caller must accept corrections from the nodes
        near the target (`wire.messages.Stored.nearer`).
        """
        table = self.table
        if len(table) <= max(count, K):
            return len(table) > 0
        home = table.neighbours()[:K][-1].node_id ^ table.own_id
        there = table.closest(target, count)[-1].node_id ^ target
        return there * K <= home * count * MAX_SPARSENESS

    def is_near(self, target: int, count: int) -> bool:
        """Whether this node is one of the `count` nodes nearest to `target`, as far as it can tell."""
        if not count:
            return False
        table = self.table
        own_distance = table.own_id ^ target
        nearest = table.holders(target, count)
        if len(nearest) < count or own_distance < nearest[-1].node_id ^ target:
            return True
        return own_distance <= self.region(count) and self.is_crowded(target)

    def may_hold(self, target: int, count: int) -> bool:
        """Whether a writer that knows slightly different nodes near `target` may count this node among the
        `count` that should hold it."""
        return self.table.own_id ^ target <= self.region(count) or self.is_near(target, count)

    def lookup_found(self, target: int, nearest: list[Contact]) -> None:
        """A lookup found these nodes nearest to `target`: learn the network's size from them."""
        home = self._home_density()
        if home is not None:
            self._network_size.lookup_found(target, [contact.node_id ^ target for contact in nearest], home)

    def _home_density(self) -> float | None:
        revision, known = self._home
        table = self.table
        if revision != table.revision:
            known = density_at_home([c.node_id ^ table.own_id for c in table.holders(table.own_id, 2 * K)])
            self._home = table.revision, known
        return known

    def network_size(self) -> float | None:
        """Estimate the number of nodes in the network; None while too few are known."""
        home = self._home_density()
        return None if home is None else self._network_size.estimate(home)

    def is_crowded(self, target: int, nearest: Sequence[Contact] | None = None) -> bool:
        """Whether more nodes lie near `target` than chance puts there.

        `nearest` are the nodes that a lookup found, nearest first; by default, those in the table.
        """
        size = self.network_size()
        if size is None:
            return False
        if nearest is None:
            nearest = self.table.closest(target, 2 * K, live_only=True)
        if not is_crowded([contact.node_id ^ target for contact in nearest], size):
            return False
        limited = limit_per_subnet(nearest, self.table.subnet_of)
        return is_crowded([contact.node_id ^ target for contact in limited], size)

    def region(self, replication: int) -> int:
        """Return the distance from a crowded key within which all nodes hold its record; 0 if unknown."""
        size = self.network_size()
        return 0 if size is None else region_radius(size, replication)
