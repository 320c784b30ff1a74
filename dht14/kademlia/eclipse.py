"""Detects keys that need a wider search, because an attacker seems to have put nodes beside them."""

from attrs import define, field

from dht14.bounded import BoundedDict
from dht14.kademlia.disjoint_lookup import DisjointLookup
from dht14.kademlia.lookup import Lookup
from dht14.kademlia.neighbourhood import Neighbourhood

MAX_SUSPECTED = 1_024
"""Keys that are suspected at once; the one suspected first is forgotten first."""


@define
class EclipseDetector:
    """Suspects a key from a suspicious lookup on, until a lookup for it shows nothing suspicious."""

    _neighbourhood: Neighbourhood
    _keys: BoundedDict[int, None] = field(factory=lambda: BoundedDict(MAX_SUSPECTED), init=False)
    detections: int = field(default=0, init=False)
    """How often a key became suspect because it was crowded."""

    def lookup_ended(self, lookup: Lookup | DisjointLookup) -> None:
        """Judge the target of a lookup by its result, and learn the network's size from it."""
        target = lookup.target
        is_crowded = self._neighbourhood.is_crowded(target, lookup.shortlist())
        self._neighbourhood.lookup_found(target, lookup.nearest())
        if not is_crowded and not lookup.is_suspicious:
            self._keys.pop(target, None)
        elif target not in self._keys:
            self.detections += is_crowded
            self._keys[target] = None

    def suspects(self, key: int) -> bool:
        """Whether the latest lookup for this key was suspicious."""
        return key in self._keys
