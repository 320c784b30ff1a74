"""Whether the copies of this node can be as new as those of other holders.

A node that was away has missed writes. Until the other holders have offered it what it should hold, its
copies count neither for a read nor for a write: three old copies would otherwise outvote a new one. It asks
for that with RESYNC; the others answer by offering their records, and say RESYNCED when they have done so.
"""

from collections.abc import Callable, Iterable

from attrs import define, field

from dht14.bounded import ExpiringSet
from dht14.kademlia.contact import Contact

RESYNC_TIMEOUT = 300.0
"""Seconds after which a node trusts its copies again, whoever has not kept his word."""

MAX_REQUESTS = 64
"""Contacts that may wait at once until this node has offered them what they missed."""

ASKED_FOR = 60.0
"""Seconds for which a contact that is not among the neighbours yet is waited for: it may be on its way into the
table."""


SERVED_AGAIN = 30.0
"""Seconds from one turn of a contact to its next: at each the whole store is gone through."""


@define(eq=False)
class ResyncState:
    """What is known of writes that this node has missed, and of contacts that have missed some."""

    is_current: bool = True
    on_request: Callable[[], object] = lambda: None
    """Called when a contact asks for what it missed."""
    _awaited: set[int] = field(factory=set, init=False)
    """The ids of those that have not offered all that they have, or not said so."""
    _began: float = field(default=0.0, init=False)
    _askers: dict[int, tuple[Contact, float]] = field(factory=dict, init=False)
    """Those that asked for RESYNC, with the time when they did, by id; who asked first comes first."""
    _served: ExpiringSet[int] = field(factory=lambda: ExpiringSet(SERVED_AGAIN, MAX_REQUESTS), init=False)
    """Whose turn it was a moment ago."""

    def missed_writes(self, neighbours: Iterable[int], now: float) -> None:
        """This node was away; it waits for these. Without any it is as good as there is."""
        self._awaited = set(neighbours)
        self._began = now
        self.is_current = not self._awaited

    def lost_touch(self, now: float) -> None:
        """This node is cut off: it misses writes, and cannot know yet who will bring them."""
        self._awaited.clear()
        self._began = now
        self.is_current = False

    def resynced(self, node_id: int) -> None:
        """One of those waited for has offered all that it has, or never will. The word of others counts for
        nothing."""
        if node_id in self._awaited:
            self._awaited.discard(node_id)
            self.is_current = not self._awaited

    def time_passed(self, now: float) -> None:
        """Give up waiting when it has taken too long."""
        if not self.is_current and now - self._began >= RESYNC_TIMEOUT:
            self._awaited.clear()
            self.is_current = True

    def requested(self, contact: Contact, now: float) -> None:
        """A contact asks for what it should hold. Too many are waiting only where most are no neighbours, which are
        served at once: so the one that has waited longest gives way."""
        if contact.node_id not in self._askers and len(self._askers) >= MAX_REQUESTS:
            del self._askers[next(iter(self._askers))]
        self._askers[contact.node_id] = contact, now
        self.on_request()

    def askers(self, neighbours: Iterable[int], now: float) -> dict[int, Contact]:
        """The contacts whose turn it is: those among the neighbours, and those that will hold nothing of ours.
        They are forgotten here."""
        near = set(neighbours)
        self._served.expire(now)
        due = {
            node_id: contact
            for node_id, (contact, asked_at) in self._askers.items()
            if (node_id in near or now - asked_at >= ASKED_FOR) and node_id not in self._served
        }
        for node_id in due:
            del self._askers[node_id]
            self._served.add(node_id, now)
        return due
