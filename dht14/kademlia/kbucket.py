"""One k-bucket: contacts of one range of the id space, and its replacement cache.

Paper, sections 2.2 and 4.1. Departures: a contact enters only after it answered us; a full bucket never
drops a live contact for a newcomer; all spares of the replacement cache have answered too.
"""

from attrs import define, field

from dht14.kademlia.contact import Contact
from dht14.kademlia.parameters import MISS_SPACING, MISSES_TO_DROP, K

NEVER = float("-inf")


@define
class Entry:
    """What is known about one contact of a bucket or of its replacement cache."""

    contact: Contact
    last_seen: float
    """When it last answered us."""
    rtt: float
    """Seconds its last answer took."""
    misses: int = 0
    """Calls that failed since it last answered; those close to each other count once."""
    last_missed: float = NEVER
    """When the last of the misses was counted."""

    def answered(self, contact: Contact, now: float, rtt: float) -> None:
        """It answered a call."""
        self.contact, self.last_seen, self.rtt = contact, now, rtt
        self.misses, self.last_missed = 0, NEVER


@define
class KBucket:
    """At most `capacity` contacts that answered us and, while it is full, at most K spares."""

    capacity: int
    entries: dict[int, Entry] = field(factory=dict)
    """By node id, those first that have been here longest."""
    spares: dict[int, Entry] = field(factory=dict)
    """The replacement cache: contacts that answered while the bucket was full, by node id."""
    last_lookup: float = NEVER
    """When a lookup for an id of this range last ended."""

    @property
    def has_room(self) -> bool:
        """Whether another contact may enter."""
        return len(self.entries) < self.capacity

    def confirmed(self, contact: Contact, now: float, rtt: float) -> Entry | None:
        """The contact answered. Its entry when it is new in the bucket, else None."""
        entry = self.entries.get(contact.node_id)
        if entry is not None:
            # Who answers elsewhere under the id of a contact that is well changes nothing: neither may the
            # known one be pushed out so, nor be taken for alive because of it.
            if entry.contact.address == contact.address or entry.misses:
                entry.answered(contact, now, rtt)
            return None
        newcomer = Entry(contact, now, rtt)
        if self.has_room:
            self.entries[contact.node_id] = newcomer
            return newcomer
        self._keep_spare(newcomer)
        return None

    def _keep_spare(self, newcomer: Entry) -> None:
        self.spares.pop(newcomer.contact.node_id, None)
        if len(self.spares) >= K:
            slowest = max(self.spares.values(), key=_rtt)
            if slowest.rtt <= newcomer.rtt:
                return
            del self.spares[slowest.contact.node_id]
        self.spares[newcomer.contact.node_id] = newcomer

    def failed(
        self, contact: Contact, now: float, may_leave: bool = True
    ) -> tuple[Entry | None, Entry | None]:
        """The contact did not answer. Who left the bucket for it, and who took the place.

        Nobody leaves unless `may_leave`: a failure may be the fault of this node.
        """
        node_id = contact.node_id
        spare = self.spares.get(node_id)
        if spare is not None and spare.contact.is_same(contact):
            del self.spares[node_id]
        entry = self.entries.get(node_id)
        if entry is None or not entry.contact.is_same(contact):
            return None, None
        if now - entry.last_missed >= MISS_SPACING:
            entry.misses += 1
            entry.last_missed = now
        if not may_leave or not (self.spares or entry.misses >= MISSES_TO_DROP):
            return None, None
        del self.entries[node_id]
        return entry, self._promote_fastest()

    def _promote_fastest(self) -> Entry | None:
        if not self.spares:
            return None
        fastest = min(self.spares.values(), key=_rtt)
        node_id = fastest.contact.node_id
        del self.spares[node_id]
        self.entries[node_id] = fastest
        return fastest


def _rtt(entry: Entry) -> float:
    return entry.rtt
