"""Resync: after an absence, asks the neighbours for the writes that this node has missed.

Checks every RESYNC_LOOK (2.5 s) whether the node was away: just started, cut off, stopped, or asleep. An
absence costs one RESYNC to each of NEIGHBOURS_ASKED contacts, and before that, unless the node has just
joined, a lookup of its neighbours; their repair then offers the records. Other passes cost nothing.
"""

from collections.abc import Callable
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
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
class _Round:
    """One RESYNC to each of several contacts."""

    pending: int
    """Contacts that have neither answered nor failed."""
    serving: int = 0
    """Contacts that go through their records for this node."""
    silent: list[int] = field(factory=list)
    """The ids of those that have failed."""


@define(eq=False)
class ResyncRequests:
    """Sends RESYNC after this node was away: just started, cut off, stopped, or asleep."""

    log = Logger()

    _resync_state: ResyncState
    _table: RoutingTable
    _rpc: Rpc
    _clock: IReactorTime
    _is_settled: Callable[[], bool]
    """Whether the first attempt to join has ended."""
    _look_around: "Callable[[], Deferred[Any]]"
    """Looks up the neighbours of this node."""
    _was_away: bool = field(default=True, init=False)
    _has_looked: bool = field(default=True, init=False)
    """Whether it has looked up its neighbours since it was away. To join is to do that."""
    _is_looking: bool = field(default=False, init=False)
    _last_round: _Round | None = field(default=None, init=False)

    def one_pass(self) -> None:
        """Ask the neighbours, if this node was away and is back."""
        now = self._clock.seconds()
        self._resync_state.time_passed(now)
        self._give_up_gone()
        stood_still = self._resync_state.take_standstill()
        if stood_still or self._table.is_cut_off or not self._table.has_live_contact():
            self._was_away = True
            # Others may have joined meanwhile, and stored records without this node.
            self._has_looked &= not self._is_settled()
        if self._table.is_cut_off:
            self._resync_state.lost_touch(now)
        elif self._resync_state.stands_still():
            pass  # What others offered now would be thrown away.
        elif self._was_away and self._is_settled() and not self._is_looking:
            if self._has_looked or not self._table.has_live_contact():
                self._ask(now)
            else:
                self._is_looking = True
                self._look_around().addErrback(self._look_failed).addCallback(self._looked)

    def _ask_again(self) -> None:
        """Nobody brings what this node has missed: ask all at the next pass."""
        self._was_away = True
        self._resync_state.lost_touch(self._clock.seconds())

    def _give_up_gone(self) -> None:
        """Wait no longer for contacts that have left the table. If none is left that has brought anything,
        ask again."""
        awaited = self._resync_state.awaited
        gone = [node_id for node_id in awaited if node_id not in self._table]
        if self._last_round is None or self._last_round.pending or not gone:
            return
        if len(gone) == len(awaited) >= self._last_round.serving:
            self._ask_again()
        for node_id in gone:
            self._resync_state.resynced(node_id)

    def _look_failed(self, failure: Failure) -> None:
        self.log.failure("To look up the neighbours has failed; this is a bug.", failure, event="resync.bug")

    def _looked(self, _: object) -> None:
        self._is_looking, self._has_looked = False, True
        self.one_pass()

    def _ask(self, now: float) -> None:
        # A node that is alone has all there is. That changes when the first contact comes.
        self._was_away = not self._table.has_live_contact()
        nearest = self._table.closest(self._table.own_id, NEIGHBOURS_ASKED, live_only=True)
        self._resync_state.missed_writes((contact.node_id for contact in nearest), now)
        asking = self._last_round = _Round(len(nearest))
        for contact in nearest:
            asked = self._rpc.ask(contact, Resync())
            asked.addCallback(self._answered, contact, asking).addErrback(self._failed, contact, asking)

    def _answered(self, reply: Reply, contact: Contact, asking: _Round) -> None:
        if isinstance(reply, Refused):
            self._resync_state.resynced(contact.node_id)
        else:
            asking.serving += 1
        self._ended(asking)

    def _failed(self, failure: Failure, contact: Contact, asking: _Round) -> None:
        failure.trap(CallFailed)
        asking.silent.append(contact.node_id)
        self._ended(asking)

    def _ended(self, asking: _Round) -> None:
        """One call of a round has ended. Those that are silent are waited for no longer, unless nobody else
        brings what was missed: then all are asked again. An earlier round decides nothing any more."""
        asking.pending -= 1
        if asking.pending or asking is not self._last_round:
            return
        if asking.silent and not asking.serving and not self._was_away:
            self._ask_again()
            return
        for node_id in asking.silent:
            self._resync_state.resynced(node_id)
