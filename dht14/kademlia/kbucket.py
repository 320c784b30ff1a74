"""One k-bucket: contacts of one range, least recently seen first, and its replacement cache.

Paper, section 2.2 and 4.1. Departures: a contact enters only after it answered us; a full bucket never
drops a live contact for a newcomer; the replacement cache prefers spares that have answered.
"""

from attrs import define, field

from dht14.kademlia.contact import Contact
from dht14.kademlia.parameters import MISS_SPACING, MISSES_TO_DROP, K


@define
class Entry:
    """What is known about one contact of a bucket or of its replacement cache."""

    contact: Contact
    last_seen: float
    """When it last answered us."""
    rtt: float
    """Seconds its last answer took."""
    misses: int = 0
    """Calls that failed since it last answered."""
    last_missed: float = float("-inf")


@define
class KBucket:
    """At most `capacity` contacts that answered us, and at most K spares."""

    capacity: int
    entries: dict[int, Entry] = field(factory=dict)
    """By node id, least recently seen or tried first."""
    spares: dict[int, Entry] = field(factory=dict)
    """Contacts that answered while the bucket was full, longest waiting first."""
    last_lookup: float = float("-inf")
    """When a lookup for an id of this range last ended."""

    @property
    def has_room(self) -> bool:
        """Whether another contact may enter."""
        return len(self.entries) < self.capacity

    def confirmed(self, contact: Contact, now: float, rtt: float) -> Entry | None:
        """The contact answered. Its entry when it is new in the bucket, else None."""
        node_id = contact.node_id
        entry = self.entries.pop(node_id, None)
        if entry is not None:
            if entry.contact.address != contact.address and entry.misses == 0:
                # Somebody answers elsewhere under the id of a contact that is well: the known one stays.
                contact = entry.contact
            self.entries[node_id] = entry
            entry.contact, entry.last_seen, entry.rtt, entry.misses = contact, now, rtt, 0
            return None
        newcomer = Entry(contact, now, rtt)
        if self.has_room:
            self.spares.pop(node_id, None)
            self.entries[node_id] = newcomer
            return newcomer
        self._keep_spare(newcomer)
        return None

    def _keep_spare(self, newcomer: Entry) -> None:
        self.spares.pop(newcomer.contact.node_id, None)
        if len(self.spares) >= K:
            slowest = max(self.spares.values(), key=lambda spare: spare.rtt)
            if slowest.rtt <= newcomer.rtt:
                return
            del self.spares[slowest.contact.node_id]
        self.spares[newcomer.contact.node_id] = newcomer

    def failed(self, contact: Contact, now: float) -> tuple[Entry | None, Entry | None]:
        """The contact did not answer. Who left the bucket, and who took its place."""
        self.spares.pop(contact.node_id, None)
        entry = self.entries.get(contact.node_id)
        if entry is None or entry.contact.address != contact.address:
            return None, None
        # It goes to the back: the front stays with the contact that nobody has tried for longest.
        self.entries[contact.node_id] = self.entries.pop(contact.node_id)
        if now - entry.last_missed >= MISS_SPACING:
            entry.misses += 1
            entry.last_missed = now
        if not self.spares and entry.misses < MISSES_TO_DROP:
            return None, None
        del self.entries[contact.node_id]
        return entry, self._promote_fastest()

    def _promote_fastest(self) -> Entry | None:
        if not self.spares:
            return None
        fastest = min(self.spares.values(), key=lambda spare: spare.rtt)
        del self.spares[fastest.contact.node_id]
        self.entries[fastest.contact.node_id] = fastest
        return fastest

    def least_recently_seen(self) -> Entry | None:
        """The contact whose last answer is oldest; None of an empty bucket."""
        return next(iter(self.entries.values()), None)
