"""Telling contacts where this node is to be called, where its own address is translated on the way."""

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
AT_ONCE = 20
"""Contacts that are told in one pass."""
TOLD_FOR = 1_800.0
"""Seconds after which a contact is told again: it may have dropped us meanwhile, or begun anew."""


@define(eq=False)
class Announcer:
    """Tells each contact of the table, once in a while, under which address others reach this node.

    Whoever is told calls that address, from a port of which no translation knows, and takes it for ours
    when it hears us there.
    """

    log = Logger()

    _advertised: Address
    """May be a host name."""
    _table: RoutingTable
    _rpc: Rpc
    _resolve: Resolver
    _clock: IReactorTime
    _told_at: dict[int, float] = field(factory=dict, init=False)
    """When contacts were told, by node id."""
    _is_resolved: bool = field(default=True, init=False)
    """As of the last look; said once when it ends, not every pass."""

    async def announce(self) -> None:
        """One pass."""
        now = self._clock.seconds()
        self._told_at = {
            node_id: told for node_id, told in self._told_at.items() if 0 <= now - told < TOLD_FOR
        }
        untold = [contact for contact in self._table.contacts() if contact.node_id not in self._told_at]
        if not untold:
            return
        addresses = await self._resolve(*self._advertised)
        if not addresses:
            self._say_unresolved()
            return
        self._is_resolved = True
        for contact in untold[:AT_ONCE]:
            self._told_at[contact.node_id] = now
            asked = self._rpc.ask(contact, Announce(addresses[0]))
            asked.addErrback(lambda failure: failure.trap(CallFailed))

    def _say_unresolved(self) -> None:
        if self._is_resolved:
            self._is_resolved = False
            self.log.warn(
                "The advertised {host} has no address yet; others are told once it has.",
                host=self._advertised[0],
            )
