"""Announcer: sends ANNOUNCE with the advertised address, for a node whose own address is translated on the
way.

Runs every ANNOUNCE_INTERVAL (5 s), only in a node with an advertised address. A pass resolves the host name
and sends at most ANNOUNCES_AT_ONCE requests; without new contacts it does nothing.
"""

from attrs import define, field
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from dht14.errors import CallFailed
from dht14.kademlia.contact import Address
from dht14.kademlia.routing_table import RoutingTable
from dht14.node.ports import Resolver, Rpc
from dht14.wire.messages import Announce

ANNOUNCE_INTERVAL = 5.0
"""Seconds between two passes."""
ANNOUNCES_AT_ONCE = 20
"""Contacts that get an ANNOUNCE in one pass."""
ANNOUNCE_LIFETIME = 1_800.0
"""Seconds after which a contact gets another ANNOUNCE: it may have dropped this node meanwhile, or
restarted."""


@define(eq=False)
class Announcer:
    """Announces to each contact of the table, from time to time, the address at which others reach this node.

    The contact probes that address from a port that no translation knows, and accepts it when this node
    answers.
    """

    log = Logger()

    _advertised: Address
    """May be a host name."""
    _table: RoutingTable
    _rpc: Rpc
    _resolve: Resolver
    _clock: IReactorTime
    _announced_at: dict[int, float] = field(factory=dict, init=False)
    """When each contact got its ANNOUNCE, by node id."""
    _is_resolved: bool = field(default=True, init=False)
    """At the last pass. Logged once when it becomes false, not in every pass."""

    async def announce(self) -> None:
        """One pass."""
        now = self._clock.seconds()
        self._announced_at = {
            node_id: announced_at
            for node_id, announced_at in self._announced_at.items()
            if 0 <= now - announced_at < ANNOUNCE_LIFETIME
        }
        waiting = [contact for contact in self._table.contacts() if contact.node_id not in self._announced_at]
        if not waiting:
            return
        addresses = await self._resolve(*self._advertised)
        if not addresses:
            self._log_unresolved()
            return
        self._is_resolved = True
        for contact in waiting[:ANNOUNCES_AT_ONCE]:
            self._announced_at[contact.node_id] = now
            asked = self._rpc.ask(contact, Announce(addresses[0]))
            asked.addErrback(lambda failure: failure.trap(CallFailed))

    def _log_unresolved(self) -> None:
        if self._is_resolved:
            self._is_resolved = False
            self.log.warn(
                "The advertised host name {host} does not resolve; will retry.",
                event="address.unresolved",
                host=self._advertised[0],
            )
