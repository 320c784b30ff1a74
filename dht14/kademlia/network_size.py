"""How many nodes the network has, and where it looks as if somebody had put many beside a key.

Ids of honest nodes are spread evenly: within a distance x of any key there are, as of a Poisson process,
N·x/2^256 of them. So the distance of the j-th nearest tells the number N of all nodes, within a fourth for
j = 20; and where the j nearest lie within a space that should hold far fewer, they were searched for.

Own neighbours are known best, but may be the very place where many were put; then the range they are in does
not count. Lookups elsewhere put right what is still wrong: each tells how dense the ids are there in proportion to those around our own, one for each of 32 regions, so
that no single region weighs much; the median counts. A proportion stays true while a network grows.
"""

from collections import Counter
from collections.abc import Sequence
from statistics import median_low

from attrs import define, field

from dht14.kademlia.keyspace import ID_BITS, ID_SPACE
from dht14.kademlia.parameters import REGION_FACTOR, REPLICATION, K

REGION_BITS = 5

MIN_NEIGHBOURS = 8
"""Neighbours from which a density is told."""

CROWDED = {3: 0.10, 4: 0.24, 6: 0.64, 8: 1.18, 12: 2.48, 16: 3.99, 20: 5.63}
"""The alarm: so many nodes lie within the space where this many are expected. Chance brings 1.5 times as
dense a place to one key in 2,000, for each line; the 1.5 are for the error of the estimate. All together,
and with the estimate of a node that has just joined, less than one key in 1,000 gives false alarm."""


def density(distances: Sequence[int]) -> float:
    """Nodes that the whole space would hold if it were as dense as here; the distances are sorted.

    Too many as often as too few: the median of the j-th distance is where j - 1/3 nodes are expected.
    """
    return (len(distances) - 1 / 3) * (ID_SPACE / max(distances[-1], 1))


@define
class NetworkSize:
    """The estimate of one node."""

    _proportions: dict[int, float] = field(factory=dict, init=False)
    """By the first bits of the targets of lookups: the density there, to that around our own id."""

    def lookup_found(self, target: int, distances: Sequence[int], home: float) -> None:
        """A lookup found nodes at these distances from its target. `home`: the density around our own id."""
        if len(distances) >= MIN_NEIGHBOURS:
            self._proportions[target >> ID_BITS - REGION_BITS] = density(distances) / home

    def estimate(self, home: float) -> float:
        """How many nodes there are."""
        return home * median_low([1.0, *self._proportions.values()])


def is_crowded(distances: Sequence[int], size: float) -> bool:
    """Whether nodes at these distances, sorted, are too near to a key for a network of this size."""
    return any(
        distances[count - 1] * size < expected * ID_SPACE
        for count, expected in CROWDED.items()
        if count <= len(distances)
    )


def region_radius(size: float, replication: int) -> int:
    """The distance from a key within which so many nodes are expected that enough of them are honest.

    Everybody within it is asked, and given the record, where a key is crowded.
    """
    return int(min(REGION_FACTOR * max(replication, REPLICATION) / size, 1.0) * ID_SPACE)


def density_at_home(distances: Sequence[int]) -> float | None:
    """The density around our own id, from our contacts' distances, sorted; None while too few are known.

    Of the ranges that each share so many bits with us, the one with the most nodes beyond its due is left out:
    whoever puts many nodes beside one key puts them into one range of those who live near it.
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
