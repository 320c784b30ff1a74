"""Repair: when a node comes or goes near to us, those who have become holders by that are given their copies.

What a record's holders were and what they are now is told from the two sets of neighbours, then and now; a
newcomer, a death, a thousand newcomers when a partition ends, and this node's own return after a restart
are the same thing. The three nearest holders do it for all; what they miss, republish finds.
"""

from collections.abc import Mapping
from itertools import islice

from attrs import define, field
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from dht14.errors import CallFailed
from dht14.kademlia.contact import Contact
from dht14.kademlia.parameters import K
from dht14.kademlia.routing_table import RoutingTable
from dht14.kademlia.subnet_limits import limit_per_subnet
from dht14.maintenance.replicator import Replicator
from dht14.maintenance.store_scan import scan
from dht14.node.concurrency import run_limited
from dht14.node.ports import Rpc
from dht14.node.republish_times import RepublishTimes
from dht14.node.resync_state import ResyncState
from dht14.records.record import Record
from dht14.records.store import LocalStore
from dht14.wire.messages import Resynced

NEIGHBOURS = 3 * K
"""Nodes nearest to us that are watched: among them are all holders of all that we hold."""

REPAIR_INTERVAL = 5.0
"""Seconds between two looks at them."""

LONGEST_WAIT = 3
"""Looks for which a change is waited out, while there is another one at each: many come and go at once."""

ELECTED = 3
"""Holders that give copies to a newcomer: the nearest. A write is on most of the group, so one of them has it."""

AT_ONCE = 8
"""Records that are seen to at the same time."""


@define(eq=False)
class Repair:
    """Watches the neighbours, and walks through the store when they have changed."""

    log = Logger()

    _table: RoutingTable
    _store: LocalStore
    _copies: Replicator
    _republish_times: RepublishTimes
    _rpc: Rpc
    _clock: IReactorTime
    _resync_state: ResyncState
    _before: Mapping[int, Contact] = field(factory=dict, init=False)
    """The neighbours whom all records have been brought to. At the start nobody: what we hold from an earlier
    run may be lacking elsewhere, or be outdated by now."""
    _at_last_look: frozenset[int] = field(default=frozenset(), init=False)
    _waited: int = field(default=0, init=False)
    """Looks since they began to change."""

    async def one_pass(self) -> None:
        """Look at the neighbours; if they have changed, and it is quiet again, see to all records."""
        neighbours = self._neighbours()
        if not self._before and not self._resync_state.is_current:
            return  # First the others bring what was missed here; the rest may be lacking elsewhere.
        now = frozenset(neighbours)
        if now == self._before.keys() or self._table.is_cut_off:
            return
        if now != self._at_last_look and self._waited < LONGEST_WAIT:
            self._at_last_look = now
            self._waited += 1
            return
        before, self._before, self._waited = self._before, neighbours, 0
        await self._walk(before, neighbours)

    def _neighbours(self) -> dict[int, Contact]:
        return {c.node_id: c for c in self._table.closest(self._table.own_id, NEIGHBOURS)}

    async def serve_askers(self) -> None:
        """Offer the contacts that have missed writes, and ask, all that they should hold, and say so."""
        neighbours = self._neighbours()
        askers = self._resync_state.take_requests(neighbours, self._clock.seconds())
        if not askers:
            return
        others = {node_id: contact for node_id, contact in neighbours.items() if node_id not in askers}
        await self._walk(others, neighbours, askers)
        for contact in askers.values():
            self._rpc.ask(contact, Resynced()).addErrback(lambda failure: failure.trap(CallFailed) and None)

    async def _walk(
        self,
        before: Mapping[int, Contact],
        neighbours: Mapping[int, Contact],
        askers: Mapping[int, Contact] | None = None,
    ) -> None:
        """Offer each record to those who have become its holders: all of them, or only the `askers`."""
        began, given = self._clock.seconds(), 0
        async for records in scan(self._store, self._clock):
            newcomers = [
                (r, self._newcomers(r, before, neighbours, askers)) for r in records if not r.is_cached
            ]
            due = [(record, contacts) for record, contacts in newcomers if contacts]
            await run_limited((self._copies.offer(record, contacts) for record, contacts in due), AT_ONCE)
            given += len(due)
        if given:
            self.log.debug(
                "The neighbours have changed: {records} records were offered to new holders in {seconds:.1f} s.",
                records=given,
                seconds=self._clock.seconds() - began,
            )

    def _newcomers(
        self,
        record: Record,
        before: Mapping[int, Contact],
        neighbours: Mapping[int, Contact],
        askers: Mapping[int, Contact] | None,
    ) -> list[Contact]:
        """Who has become a holder of the record, if it is for us to give it to them."""
        own_id = self._table.own_id
        former = self._nearest(record, before)
        remaining = [i for i in former if i == own_id or i in neighbours]
        is_known = askers is None and not before and self._republish_times.was_republished(record.key)
        if own_id not in remaining[:ELECTED] or is_known:
            return []
        now = self._nearest(record, neighbours)
        return [
            neighbours[i] for i in now if i != own_id and i not in former and (askers is None or i in askers)
        ]

    def _nearest(self, record: Record, neighbours: Mapping[int, Contact]) -> list[int]:
        """Who of these, and of us, hold the record, nearest first: of a subnet no more than count."""
        takers = [c for node_id, c in neighbours.items() if self._copies.takes_copies(node_id)]
        takers.append(Contact(self._table.own_id, ("", 0)))
        takers.sort(key=lambda contact: contact.node_id ^ record.key)
        return [
            c.node_id for c in islice(limit_per_subnet(takers, self._table.subnet_of), record.replication)
        ]
