"""Resync: after an absence, asks the neighbours for the writes that this node has missed.

Checks every RESYNC_LOOK (2.5 s) whether the node was away: just started, cut off, stopped, or asleep. An
absence costs one RESYNC to each of NEIGHBOURS_ASKED contacts; their repair then offers the records. Other
passes cost nothing.
"""

from collections.abc import Callable

from attrs import define, field
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from dht14.errors import CallFailed
from dht14.kademlia.contact import Contact
from dht14.kademlia.parameters import GROUP
from dht14.kademlia.routing_table import RoutingTable
from dht14.node.ports import Rpc
from dht14.node.resync_state import ResyncState
from dht14.wire.messages import Refused, Reply, Resync

RESYNC_LOOK = 2.5
"""Seconds between two passes."""

NEIGHBOURS_ASKED = 2 * GROUP
"""The nearest contacts get a RESYNC: most of the group of each key that this node holds is among them."""


@define(eq=False)
class ResyncRequests:
    """Sends RESYNC after this node was away: just started, cut off, stopped, or asleep."""

    _resync_state: ResyncState
    _table: RoutingTable
    _rpc: Rpc
    _clock: IReactorTime
    _is_settled: Callable[[], bool]
    """Whether the first attempt to join has ended."""
    _was_away: bool = field(default=True, init=False)

    def one_pass(self) -> None:
        """Ask the neighbours, if this node was away and is back."""
        now = self._clock.seconds()
        self._resync_state.time_passed(now)
        stood_still = self._resync_state.take_standstill()
        if stood_still or self._table.is_cut_off or not self._table.has_live_contact():
            self._was_away = True
        if self._table.is_cut_off:
            self._resync_state.lost_touch(now)
        if self._was_away and self._is_settled() and not self._table.is_cut_off:
            # A node that is alone has all there is. That changes when the first contact comes.
            self._was_away = not self._table.has_live_contact()
            self._ask(now)

    def _ask(self, now: float) -> None:
        nearest = self._table.closest(self._table.own_id, NEIGHBOURS_ASKED, live_only=True)
        self._resync_state.missed_writes((contact.node_id for contact in nearest), now)
        for contact in nearest:
            asked = self._rpc.ask(contact, Resync())
            asked.addCallback(self._answered, contact).addErrback(self._failed, contact)

    def _answered(self, reply: Reply, contact: Contact) -> None:
        if isinstance(reply, Refused):
            self._resync_state.resynced(contact.node_id)

    def _failed(self, failure: Failure, contact: Contact) -> None:
        failure.trap(CallFailed)
        self._resync_state.resynced(contact.node_id)
