"""The order in which a node pings its contacts: those that it heard of longest ago come first.

Contacts near a key come sooner if another node takes this one for a holder of the key, and this one does not.
"""

from collections.abc import Mapping
from heapq import nsmallest
from operator import attrgetter

from attrs import define, field

from dht14.kademlia.kbucket import NEVER, Entry

AHEAD = 32
"""Entries whose turn comes next that are remembered: so that not every pass looks at all of the table."""

DISPUTE_SPACING = 30.0
"""Seconds between two disputes that count, and after which a contact near the key is asked again: each brings
up to 2 K PINGs."""


@define
class PingOrder:
    """The responsive entries of the routing table that answered longest ago."""

    _next: list[tuple[float, Entry]] = field(factory=list, init=False)
    """Each with when it had answered last. All other responsive entries have answered since the last one of
    these did."""
    _disputed: int | None = field(default=None, init=False)
    """The key of a dispute that has not been looked into."""
    _last_dispute: float = field(default=NEVER, init=False)

    def disputed(self, key: int, now: float) -> None:
        """Another node takes fewer of the nodes near this key for alive than this one does."""
        if now - self._last_dispute >= DISPUTE_SPACING:
            self._last_dispute = now
            self._disputed = key

    def take_disputed(self) -> int | None:
        """Return the key of the last dispute, once."""
        key, self._disputed = self._disputed, None
        return key

    def entered(self, entry: Entry) -> None:
        """The entry is new in a bucket. It may have waited in the replacement cache."""
        if self._next and entry.last_seen < self._next[-1][0]:
            self._next.clear()

    def first(self, count: int, entries: Mapping[int, Entry]) -> list[Entry]:
        """Return the `count` responsive entries that answered longest ago. `entries` are those of all
        buckets."""
        found: list[Entry] = []
        for last_seen, entry in self._next:
            if len(found) == count:
                break
            if (
                entry.last_seen == last_seen
                and not entry.misses
                and entries.get(entry.contact.node_id) is entry
            ):
                found.append(entry)
        if len(found) < count:
            responsive = (entry for entry in entries.values() if not entry.misses)
            oldest = nsmallest(max(count, AHEAD), responsive, key=attrgetter("last_seen"))
            self._next = [(entry.last_seen, entry) for entry in oldest]
            found = oldest[:count]
        return found
