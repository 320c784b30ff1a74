"""Which keys need a wider search, because somebody seems to have put nodes beside them."""

from attrs import define, field

from dht14.kademlia.disjoint_lookup import DisjointLookup
from dht14.kademlia.lookup import Lookup
from dht14.kademlia.neighbourhood import Neighbourhood

REMEMBERED = 1_024
"""Keys for which the alarm rings at once, at the most; the one it rang for first is forgotten first."""


@define
class EclipseDetector:
    """Rings for a key from a lookup that made it ring until one that does not."""

    _neighbourhood: Neighbourhood
    _keys: dict[int, None] = field(factory=dict, init=False)
    detections: int = field(default=0, init=False)
    """How often it began to ring because a key was crowded."""

    def lookup_ended(self, lookup: Lookup | DisjointLookup) -> None:
        """A lookup has ended. It was led astray, or found too many nodes near its target, or neither."""
        target = lookup.target
        is_crowded = self._neighbourhood.is_crowded(target, lookup.shortlist())
        self._neighbourhood.lookup_found(target, lookup.nearest())
        if not is_crowded and not lookup.is_suspicious:
            self._keys.pop(target, None)
        elif target not in self._keys:
            self.detections += is_crowded
            self._keys[target] = None
            if len(self._keys) > REMEMBERED:
                del self._keys[next(iter(self._keys))]

    def suspects(self, key: int) -> bool:
        """Whether the latest lookup for this key has made it ring."""
        return key in self._keys
