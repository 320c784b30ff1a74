"""Estimates how many nodes the network has, and whether an attacker has put many beside a key.

Ids of honest nodes are spread evenly: within a distance x of any key there are N·x/2^256 of them, as of a
Poisson process. So the distance of the j-th nearest node gives the number N of all nodes, within a fourth for
j = 20. If the j nearest lie within a space that should hold far fewer, somebody searched for their ids.

A node knows its own neighbours best, but an attacker may have put many nodes just there; the range that holds
them is left out then. Lookups elsewhere correct the remaining error. Each gives the density of ids around its
target in proportion to the density around our own id; one proportion is kept for each of 32 regions, so that
no single region weighs much, and the median counts. A proportion stays right while a network grows.
"""

from collections import Counter
from collections.abc import Sequence
from statistics import median_low

from attrs import define, field

from dht14.kademlia.keyspace import ID_BITS, ID_SPACE
from dht14.kademlia.parameters import REGION_FACTOR, REPLICATION, K

REGION_BITS = 5

MIN_NEIGHBOURS = 8
"""Neighbours needed to estimate a density."""

CROWDED = {3: 0.10, 4: 0.24, 6: 0.64, 8: 1.18, 12: 2.48, 16: 3.99, 20: 5.63}
"""A key is crowded if this many nodes (the key of an item) lie within the space where only its value is
expected. Chance makes a place 1.5 times as dense as that for one key in 2,000, for each item; the 1.5 are for
the error of the estimate. All items together, and with the estimate of a node that has just joined, less than
one key in 1,000 is called crowded by mistake."""

_CROWDED_SPACE = sorted((count, expected * ID_SPACE) for count, expected in CROWDED.items())


def density(distances: Sequence[int]) -> float:
    """Return how many nodes the whole space would hold if it were as dense as here; the distances are sorted.

    The result is too high as often as too low: the median of the j-th distance is where j - 1/3 nodes are
    expected.
    """
    return (len(distances) - 1 / 3) * (ID_SPACE / max(distances[-1], 1))


@define
class NetworkSize:
    """The estimate of one node."""

    _proportions: dict[int, float] = field(factory=dict, init=False)
    """By the first bits of the targets of lookups: the density there, relative to that around our own id."""

    _proportion: float = field(default=1.0, init=False)
    """Their median. Every STORE needs it: it is not computed for each."""

    def lookup_found(self, target: int, distances: Sequence[int], home: float) -> None:
        """A lookup found nodes at these distances from `target`. `home`: the density around our own id."""
        if len(distances) >= MIN_NEIGHBOURS:
            self._proportions[target >> ID_BITS - REGION_BITS] = density(distances) / home
            self._proportion = median_low([1.0, *self._proportions.values()])

    def estimate(self, home: float) -> float:
        """Return the number of nodes."""
        return home * self._proportion


def is_crowded(distances: Sequence[int], size: float) -> bool:
    """Whether nodes at these distances, sorted, are too near to a key for a network of this size."""
    known = len(distances)
    for count, space in _CROWDED_SPACE:
        if count > known:
            return False
        if distances[count - 1] * size < space:
            return True
    return False


def region_radius(size: float, replication: int) -> int:
    """Return the distance from a key within which enough nodes are expected that enough of them are honest.

    If the key is crowded, all nodes within it are asked, and given the record.
    """
    return int(min(REGION_FACTOR * max(replication, REPLICATION) / size, 1.0) * ID_SPACE)


def density_at_home(distances: Sequence[int]) -> float | None:
    """Return the density around our own id, from our contacts' distances, sorted; None while too few are
    known.

    The contacts form ranges by the number of bits they share with us. The range with the largest surplus of
    nodes is left out: an attacker that puts many nodes beside a key puts them into one range of each node
    near that key. It is left out even if chance explains it: when it had to exceed three standard
    deviations, the attackers of `eclipse-4` took keys with three of ten seeds. The price: the estimate is too
    low at times, and a normal key of a small network looks crowded.
    """
    if len(distances) < K:
        return None
    farthest = distances[-1]
    counts = Counter(distance.bit_length() for distance in distances)
    widths = {bits: min(farthest, (1 << bits) - 1) - (1 << bits >> 1) + 1 for bits in counts}
    mean = sum(counts.values()) / sum(widths.values())
    fullest = max(counts, key=lambda bits: counts[bits] - mean * widths[bits])
    rest = sum(counts.values()) - counts[fullest]
    return max(rest, 1) * (ID_SPACE / (farthest - widths[fullest] + 1))
