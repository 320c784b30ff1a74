"""One k-bucket: contacts of one range of the id space, and its replacement cache.

Paper, sections 2.2 and 4.1. Departures: a contact enters only after it answered us; a full bucket never
drops a live contact for a newcomer; all spares of the replacement cache have answered too; no subnet has
more than a few of all these.
"""

from collections import Counter

from attrs import define, field

from dht14.kademlia.contact import Contact
from dht14.kademlia.parameters import MISS_SPACING, MISSES_TO_DROP, SUBNET_IN_BUCKET, K
from dht14.kademlia.subnet_limits import Subnet

NEVER = float("-inf")


@define
class Entry:
    """What is known about one contact of a bucket or of its replacement cache."""

    contact: Contact
    last_seen: float
    """When it last answered us."""
    rtt: float
    """Seconds its last answer took."""
    subnet: Subnet | None = None
    """Where it is; None where subnets do not count."""
    misses: int = 0
    """Calls that failed since it last answered; those close to each other count once."""
    last_missed: float = NEVER
    """When the last of the misses was counted."""
    holds_values: bool = True
    """Whether it does, as far as is known: a bootstrap node does not."""

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
    replacements: dict[int, Entry] = field(factory=dict)
    """The replacement cache: contacts that answered while the bucket was full, by node id."""
    last_lookup: float = NEVER
    """When a lookup for an id of this range last ended."""
    _subnets: Counter[Subnet] = field(factory=Counter, init=False)
    """Of all entries and spares."""

    @property
    def has_room(self) -> bool:
        """Whether another contact may enter."""
        return len(self.entries) < self.capacity

    def count_in(self, subnet: Subnet) -> int:
        """Entries and spares that are in this subnet."""
        return self._subnets[subnet]

    def contains(self, contact: Contact) -> bool:
        """Whether it is an entry or a spare, at this address."""
        node_id = contact.node_id
        entry = self.entries.get(node_id) or self.replacements.get(node_id)
        return entry is not None and entry.contact.address == contact.address

    def confirmed(
        self, contact: Contact, now: float, rtt: float, subnet: Subnet | None = None
    ) -> Entry | None:
        """The contact answered. Its entry when it is new in the bucket, else None."""
        entry = self.entries.get(contact.node_id)
        if entry is not None:
            # Who answers elsewhere under the id of a contact that is well changes nothing: neither may the
            # known one be pushed out so, nor be taken for alive because of it.
            if entry.contact.address == contact.address or entry.misses:
                entry.answered(contact, now, rtt)
                if entry.subnet != subnet:
                    self._left(entry)
                    entry.subnet = subnet
                    self._came(entry)
            return None
        newcomer = Entry(contact, now, rtt, subnet)
        if self.has_room:
            self.take(newcomer)
            return newcomer
        self._keep_replacement(newcomer)
        return None

    def take(self, entry: Entry) -> None:
        """It is an entry of this bucket now."""
        self.entries[entry.contact.node_id] = entry
        self._came(entry)

    def remove(self, node_id: int) -> Entry:
        """The entry of this id, which is not of this bucket any more."""
        entry = self.entries.pop(node_id)
        self._left(entry)
        return entry

    def add_replacement(self, entry: Entry) -> None:
        """It is a spare of this bucket now."""
        self.replacements[entry.contact.node_id] = entry
        self._came(entry)

    def _drop_replacement(self, node_id: int) -> Entry:
        replacement = self.replacements.pop(node_id)
        self._left(replacement)
        return replacement

    def _came(self, entry: Entry) -> None:
        if entry.subnet is not None:
            self._subnets[entry.subnet] += 1

    def _left(self, entry: Entry) -> None:
        if entry.subnet is not None:
            self._subnets[entry.subnet] -= 1
            if not self._subnets[entry.subnet]:
                del self._subnets[entry.subnet]

    def _keep_replacement(self, newcomer: Entry) -> None:
        if newcomer.contact.node_id in self.replacements:
            self._drop_replacement(newcomer.contact.node_id)
        if len(self.replacements) >= K:
            slowest = max(self.replacements.values(), key=_rtt)
            if slowest.rtt <= newcomer.rtt:
                return
            self._drop_replacement(slowest.contact.node_id)
        self.add_replacement(newcomer)

    def failed(
        self, contact: Contact, now: float, may_leave: bool = True
    ) -> tuple[Entry | None, Entry | None]:
        """The contact did not answer. Who left the bucket for it, and who took the place.

        Nobody leaves unless `may_leave`: a failure may be the fault of this node.
        """
        node_id = contact.node_id
        replacement = self.replacements.get(node_id)
        if replacement is not None and replacement.contact.is_same(contact):
            self._drop_replacement(node_id)
        entry = self.entries.get(node_id)
        if entry is None or not entry.contact.is_same(contact):
            return None, None
        if now - entry.last_missed >= MISS_SPACING:
            entry.misses += 1
            entry.last_missed = now
        if not may_leave or not (self.replacements or entry.misses >= MISSES_TO_DROP):
            return None, None
        return self.remove(node_id), self._promote_fastest()

    def _promote_fastest(self) -> Entry | None:
        if not self.replacements:
            return None
        fastest = min(self.replacements.values(), key=_rtt)
        self.take(self._drop_replacement(fastest.contact.node_id))
        return fastest

    def check_invariants(self) -> None:
        """Raise AssertionError where the bucket contradicts itself."""
        everybody = [*self.entries.values(), *self.replacements.values()]
        assert self._subnets == Counter(entry.subnet for entry in everybody if entry.subnet is not None)
        assert all(count <= SUBNET_IN_BUCKET for count in self._subnets.values())


def _rtt(entry: Entry) -> float:
    return entry.rtt
