"""One k-bucket: contacts of one range of the id space, and its replacement cache.

Paper, sections 2.2 and 4.1. Departures: a contact enters only after it answered us; a full bucket never drops
a live contact for a new one; the contacts in the replacement cache have answered too; each subnet has only a
few entries and replacements.
"""

from collections import Counter

from attrs import define, field

from dht14.kademlia.contact import Contact
from dht14.kademlia.parameters import MISS_SPACING, MISSES_TO_DROP, SUBNET_IN_BUCKET, K
from dht14.kademlia.subnet_limits import Subnet

NEVER = float("-inf")

LOWEST_RTT_MEMORY = 256
"""Answers over which the lowest round trip to a contact is forgotten. On a busy host hundreds of answers in a
row are late."""


@define
class Entry:
    """What is known about one contact of a bucket or of its replacement cache."""

    contact: Contact
    last_seen: float
    """When it last answered us."""
    rtt: float
    """Seconds its last answer took."""
    subnet: Subnet | None = None
    """The subnet of its address; None if subnets do not count."""
    misses: int = 0
    """Calls that failed since it last answered; failures close together count once."""
    last_missed: float = NEVER
    """When the last of the misses was counted."""
    holds_values: bool = True
    """Whether it holds values, as far as is known: a bootstrap node does not."""
    lowest_rtt: float = field(init=False)
    """Its shortest round trip, in seconds: the path without the work of both hosts. It rises very slowly, in
    case the path has become longer."""

    def __attrs_post_init__(self) -> None:
        self.lowest_rtt = self.rtt

    def answered(self, contact: Contact, now: float, rtt: float) -> None:
        """It answered a call."""
        if rtt < self.lowest_rtt or contact.address != self.contact.address:
            self.lowest_rtt = rtt
        else:
            self.lowest_rtt += (rtt - self.lowest_rtt) / LOWEST_RTT_MEMORY
        self.contact, self.last_seen, self.rtt = contact, now, rtt
        self.misses, self.last_missed = 0, NEVER


@define
class KBucket:
    """At most `capacity` contacts that answered us and, while it is full, at most K replacements."""

    capacity: int
    entries: dict[int, Entry] = field(factory=dict)
    """By node id, the oldest first."""
    replacements: dict[int, Entry] = field(factory=dict)
    """The replacement cache: contacts that answered while the bucket was full, by node id."""
    last_lookup: float = NEVER
    """When the last lookup for an id of this range ended."""
    _subnets: Counter[Subnet] = field(factory=Counter, init=False)
    """The number of entries and replacements of each subnet."""

    @property
    def has_room(self) -> bool:
        """Whether another contact can enter."""
        return len(self.entries) < self.capacity

    def count_in(self, subnet: Subnet) -> int:
        """Return the number of entries and replacements in this subnet."""
        return self._subnets[subnet]

    def contains(self, contact: Contact) -> bool:
        """Whether the contact is an entry or a replacement, at this address."""
        node_id = contact.node_id
        entry = self.entries.get(node_id) or self.replacements.get(node_id)
        return entry is not None and entry.contact.address == contact.address

    def confirmed(
        self, contact: Contact, now: float, rtt: float, subnet: Subnet | None = None
    ) -> Entry | None:
        """The contact answered. Return its entry if it is new in the bucket, else None."""
        entry = self.entries.get(contact.node_id)
        if entry is not None:
            # A node that answers at another address under the id of a responsive contact changes nothing: it
            # can neither push the known one out nor keep it alive.
            if entry.contact.address == contact.address or entry.misses:
                entry.answered(contact, now, rtt)
                if entry.subnet != subnet:
                    self._uncount(entry)
                    entry.subnet = subnet
                    self._count(entry)
            return None
        newcomer = Entry(contact, now, rtt, subnet)
        if self.has_room:
            self.add(newcomer)
            return newcomer
        self._keep_replacement(newcomer)
        return None

    def add(self, entry: Entry) -> None:
        """Add an entry to this bucket."""
        self.entries[entry.contact.node_id] = entry
        self._count(entry)

    def remove(self, node_id: int) -> Entry:
        """Remove the entry of this id from the bucket, and return it."""
        entry = self.entries.pop(node_id)
        self._uncount(entry)
        return entry

    def add_replacement(self, entry: Entry) -> None:
        """Add an entry to the replacement cache."""
        self.replacements[entry.contact.node_id] = entry
        self._count(entry)

    def _drop_replacement(self, node_id: int) -> Entry:
        replacement = self.replacements.pop(node_id)
        self._uncount(replacement)
        return replacement

    def _count(self, entry: Entry) -> None:
        if entry.subnet is not None:
            self._subnets[entry.subnet] += 1

    def _uncount(self, entry: Entry) -> None:
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
        """The contact did not answer. Return the entry that left the bucket for that, and the one that
        replaced it.

        No entry leaves unless `may_leave`: a failure may be the fault of this node.
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
        self.add(self._drop_replacement(fastest.contact.node_id))
        return fastest

    def check_invariants(self) -> None:
        """Raise AssertionError if the bucket contradicts itself."""
        both = [*self.entries.values(), *self.replacements.values()]
        assert self._subnets == Counter(entry.subnet for entry in both if entry.subnet is not None)
        assert all(count <= SUBNET_IN_BUCKET for count in self._subnets.values())


def _rtt(entry: Entry) -> float:
    return entry.rtt
