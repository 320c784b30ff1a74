"""Detects keys that need a wider search, because an attacker seems to have put nodes beside them."""

from collections.abc import Sequence

from attrs import define, field

from dht14.bounded import BoundedDict
from dht14.kademlia.contact import Contact
from dht14.kademlia.disjoint_lookup import DisjointLookup
from dht14.kademlia.lookup import Lookup, Purpose
from dht14.kademlia.neighbourhood import Neighbourhood
from dht14.kademlia.network_size import MIN_NEIGHBOURS
from dht14.kademlia.parameters import REPLICATION

MAX_SUSPECTED = 1_024
"""Keys that are suspected at once; the one suspected first is forgotten first."""


@define
class EclipseDetector:
    """Suspects a key from a suspicious lookup on, until a lookup for it shows nothing suspicious."""

    _neighbourhood: Neighbourhood
    _keys: BoundedDict[int, bool] = field(factory=lambda: BoundedDict(MAX_SUSPECTED), init=False)
    """The suspected keys, and whether the latest lookup for each found a crowd."""
    detections: int = field(default=0, init=False)
    """How often a key became suspect because its lookup found a crowd."""

    def lookup_ended(self, lookup: Lookup | DisjointLookup) -> None:
        """Judge the target of a lookup by its result, and learn the network's size from it."""
        target = lookup.target
        found_crowd = self._is_in_crowd(target, lookup.shortlist())
        is_own_choice = isinstance(lookup, Lookup) and lookup.purpose is Purpose.NODES
        # No size is learned from a few nodes: a read has mostly asked no more than that.
        shows_size = lookup.asked_count + lookup.counts_self >= MIN_NEIGHBOURS
        if shows_size and (is_own_choice or not found_crowd):
            # An attacker can surround a key and make this node read it: that must not change the estimate.
            # The random targets of this node's own lookups cannot be foreseen.
            self._neighbourhood.lookup_found(target, lookup.nearest())
        if not found_crowd and not lookup.is_suspicious:
            self._keys.pop(target, None)
            return
        self.detections += found_crowd and target not in self._keys
        self._keys[target] = found_crowd

    def _is_in_crowd(self, target: int, found: Sequence[Contact]) -> bool:
        """Whether a crowd lies beside the target, or beside the nearest node that was found.

        An attacker that surrounds another key catches lookups that pass by: each of its nodes names only its
        nodes, and these become all of the nearest.
        """
        if self._neighbourhood.is_crowded(target, found):
            return True
        centre = found[0].node_id if found else target
        others = sorted(found[1:REPLICATION], key=lambda contact: contact.node_id ^ centre)
        return self._neighbourhood.is_crowded(centre, others)

    def suspects(self, key: int) -> bool:
        """Whether the latest lookup for this key was suspicious."""
        return key in self._keys

    def found_crowd(self, key: int) -> bool:
        """Whether the latest lookup for this key found a crowd, beside the key or elsewhere."""
        return self._keys.get(key, False)
