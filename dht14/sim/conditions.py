"""The conditions of a virtual network: the regions of its hosts, latency, jitter, loss, duplication and
reordering.

The one-way latency between two hosts is the sum of their access latencies and of the latency between their
regions. So latencies differ, are constant, and need no memory per pair. Access latencies have a lognormal
distribution, as measured last miles have; jitter is drawn for each datagram.
"""

import random

from attrs import field, frozen

Distances = tuple[tuple[float, ...], ...]
"""One-way seconds between the regions of a row and a column, without access latencies."""

ONE_REGION: Distances = ((0.0,),)
"""Hosts of one country: only access latencies count."""

REGION_DISTANCES: Distances = (
    (0.010, 0.045, 0.085, 0.095, 0.135),
    (0.045, 0.015, 0.080, 0.060, 0.100),
    (0.085, 0.080, 0.025, 0.150, 0.065),
    (0.095, 0.060, 0.150, 0.015, 0.155),
    (0.135, 0.100, 0.065, 0.155, 0.010),
)
"""Europe, North America, Asia, South America, Oceania: half of the round trips that public clouds publish
between their data centres, rounded to 5 ms. With REGION_SHARES and a median access latency of 10 ms the
median round trip is near the 160 ms that were measured between 1,740 name servers all over the world (the
King data set, as in F. Dabek et al., Vivaldi, SIGCOMM 2004)."""

REGION_SHARES = (0.35, 0.30, 0.25, 0.06, 0.04)


@frozen
class Conditions:
    """How the network treats datagrams. `loss`, `duplicate` and `reorder` are probabilities.

    `latency` is the median of the sum of two access latencies, in seconds, and `spread` the sigma of its
    logarithm over hosts. Jitter adds up to the share `jitter` of the latency. A reordered datagram waits up
    to `reorder_delay` seconds.
    """

    latency: float = 0.03
    spread: float = 0.5
    jitter: float = 0.2
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    reorder_delay: float = 0.2
    distances: Distances = field(default=ONE_REGION, repr=False)
    shares: tuple[float, ...] = field(default=(1.0,), repr=False)
    """Of the hosts, by region."""

    @classmethod
    def worldwide(cls, loss: float = 0.0, duplicate: float = 0.0, reorder: float = 0.0) -> "Conditions":
        """Return the conditions between five regions of the world."""
        return cls(
            latency=0.02,
            loss=loss,
            duplicate=duplicate,
            reorder=reorder,
            distances=REGION_DISTANCES,
            shares=REGION_SHARES,
        )

    def draw_access(self, rng: random.Random) -> tuple[float, int]:
        """Draw the access latency of a host, in seconds, and its region."""
        half = self.latency / 2 * rng.lognormvariate(0.0, self.spread)
        (region,) = rng.choices(range(len(self.shares)), self.shares) if len(self.shares) > 1 else (0,)
        # Whole microseconds: the last bit of the logarithm depends on the C library, and must not reach the
        # digest.
        return round(half, 6), region
