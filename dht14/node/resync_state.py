"""Whether the copies of this node can be as new as those of other holders.

A node that was away has missed writes. Until the other holders have offered it what it should hold, its
copies count neither for a read nor for a write: otherwise three old copies would outvote a new one. The node
asks with RESYNC. The other holders then offer it their records, and send RESYNCED when they have done so.
"""

from collections.abc import Callable, Container, Iterable

from attrs import define, field

from dht14.bounded import BoundedDict, ExpiringSet
from dht14.kademlia.contact import Contact
from dht14.records.store import BEGINNING

RESYNC_TIMEOUT = 300.0
"""Seconds after which a node trusts its copies again, even if holders have not sent RESYNCED."""

MAX_REQUESTS = 64
"""Contacts that may wait at once until this node has offered them what they missed."""

NEIGHBOUR_TIMEOUT = 60.0
"""Seconds for which the request of a contact that is no neighbour waits: it may be about to become one."""

MAX_SERVES = 3
"""How often a contact is served that does not answer what it is offered."""

SERVE_SPACING = 30.0
"""Seconds before a contact is served again: each time the whole store is scanned."""


@define(eq=False)
class ResyncState:
    """The writes that this node has missed, and the contacts that have missed writes."""

    _is_current: bool = True
    on_request: Callable[[], object] = lambda: None
    """Called when a contact asks for what it missed."""
    stands_still: Callable[[], bool] = field(default=lambda: False, init=False)
    """Whether this process has just stood still: what was sent to it meanwhile is still being thrown away."""
    disk_hangs: Callable[[], bool] = field(default=lambda: False, init=False)
    """Whether writes do not end: other nodes have what still waits for the disk here."""
    has_company: Callable[[], bool] = field(default=lambda: False, init=False)
    """Whether any contact answers."""
    _is_alone: bool = field(default=False, init=False)
    """Whether there was none when this node last asked for what it missed."""
    _has_stood_still: bool = field(default=False, init=False)
    _awaited: set[int] = field(factory=set, init=False)
    """Ids of the contacts that have not sent RESYNCED yet."""
    _began: float = field(default=0.0, init=False)
    _requests: BoundedDict[int, tuple[Contact, float]] = field(
        factory=lambda: BoundedDict(MAX_REQUESTS), init=False
    )
    """The contacts that sent RESYNC and when, by id."""
    _served: ExpiringSet[int] = field(factory=lambda: ExpiringSet(SERVE_SPACING, MAX_REQUESTS), init=False)
    """Ids of the contacts that were served last."""
    _vain_turns: BoundedDict[int, int] = field(factory=lambda: BoundedDict(MAX_REQUESTS), init=False)
    """How often contacts were served in vain since their last RESYNC, by id."""
    _put_off: BoundedDict[int, tuple[bytes, float]] = field(
        factory=lambda: BoundedDict(MAX_REQUESTS), init=False
    )
    """Where in the store of this node contacts were put off that were slow, and when for the first time, by
    id."""

    # What this node missed

    @property
    def is_current(self) -> bool:
        """Whether this node's copies may vote. Those of a node that was alone may not from the moment on in
        which it meets another: it has asked nobody yet. Those on a disk that hangs may not until it has
        written what waits."""
        if not self._is_current or (self._is_alone and self.has_company()):
            return False
        return not (self.stands_still() or self.disk_hangs())

    def stood_still(self, now: float) -> None:
        """This process stood still: other nodes have stored records without it, and what they sent it was
        thrown away."""
        self._has_stood_still = True
        self.lost_touch(now)

    def take_standstill(self) -> bool:
        """Whether it stood still since the last call."""
        had_one, self._has_stood_still = self._has_stood_still, False
        return had_one

    @property
    def awaited(self) -> frozenset[int]:
        """The ids of the contacts that have been asked and have not sent RESYNCED yet."""
        return frozenset(self._awaited)

    def missed_writes(self, neighbours: Iterable[int], now: float) -> None:
        """This node was away, and waits for these neighbours. Without any, no copies are newer."""
        self._awaited = set(neighbours)
        self._began = now
        self._is_current = self._is_alone = not self._awaited

    def lost_touch(self, now: float) -> None:
        """This node is cut off: it misses writes, and cannot know yet which nodes will bring them."""
        self._awaited.clear()
        self._began = now
        self._is_current = self._is_alone = False

    def resynced(self, node_id: int) -> None:
        """A neighbour has offered all its records, or never will. Other nodes are ignored."""
        if node_id in self._awaited:
            self._awaited.discard(node_id)
            self._is_current = not self._awaited

    def time_passed(self, now: float) -> None:
        """Stop waiting after RESYNC_TIMEOUT."""
        if not self._is_current and now - self._began >= RESYNC_TIMEOUT:
            self._awaited.clear()
            self._is_current, self._is_alone = True, False

    # What others missed

    def requested(self, contact: Contact, now: float) -> None:
        """A contact asks for what it should hold.

        Neighbours are served at once, so too many wait only if most are no neighbours: the one that has
        waited longest is dropped.
        """
        self._vain_turns.pop(contact.node_id, None)
        self._put_off.pop(contact.node_id, None)
        self._requests[contact.node_id] = contact, now
        self.on_request()

    def not_served(self, contact: Contact, now: float) -> None:
        """A contact that was to be served did not answer, or was not told: its turn comes again, MAX_SERVES
        times in all. It has a request again already if it has asked meanwhile."""
        self._put_off.pop(contact.node_id, None)
        turns = self._vain_turns.get(contact.node_id, 0) + 1
        if turns < MAX_SERVES and contact.node_id not in self._requests:
            self._vain_turns[contact.node_id] = turns
            self._requests[contact.node_id] = contact, now

    def put_off(self, contact: Contact, mark: bytes, now: float) -> None:
        """A contact has been offered the records up to a mark, and others wait: its turn comes again after
        theirs, until it trusts its copies in any case."""
        _, began = self._put_off.get(contact.node_id, (mark, now))
        if contact.node_id in self._requests:
            return  # It has asked meanwhile: what it has got may be lost.
        if now - began < RESYNC_TIMEOUT:
            self._put_off.renew(contact.node_id, (mark, began))
            self._requests[contact.node_id] = contact, now

    def mark_of(self, node_id: int) -> bytes:
        """Return the mark up to which a contact has been offered all records since its RESYNC."""
        return self._put_off[node_id][0] if node_id in self._put_off else BEGINNING

    def has_asked_since(self, node_id: int, since: float) -> bool:
        """Whether a contact waits for its turn that has asked at this time or later."""
        return node_id in self._requests and self._requests[node_id][1] >= since

    @property
    def has_requests(self) -> bool:
        """Whether a contact waits for what it missed."""
        return bool(self._requests)

    def has_requests_of_others(self, node_ids: Container[int]) -> bool:
        """Whether a contact waits that is none of these."""
        return any(node_id not in node_ids for node_id in self._requests)

    def take_requests(self, neighbours: Iterable[int], now: float) -> dict[int, Contact]:
        """Remove and return the contacts to serve now: neighbours, and those that waited
        NEIGHBOUR_TIMEOUT.

        One that did not answer its offers, or was put off, and is no neighbour any more, is dropped: nothing
        would be brought to it.
        """
        near = set(neighbours)
        self._served.expire(now)
        due = {
            node_id: contact
            for node_id, (contact, requested_at) in self._requests.items()
            if (node_id in near or now - requested_at >= NEIGHBOUR_TIMEOUT)
            and (node_id not in self._served or node_id in self._put_off)
        }
        for node_id in due:
            del self._requests[node_id]
        unfinished = self._vain_turns.keys() | self._put_off.keys()
        to_serve = {i: contact for i, contact in due.items() if i in near or i not in unfinished}
        for node_id in to_serve:
            self._served.add(node_id, now)
        return to_serve
