"""What a virtual network is like: where its hosts are, and what it does to datagrams.

Every host has an access line of its own; the one-way latency of a link is the sum of its two ends and of
the way between their regions. So links differ, hold still, and cost no memory. Access lines are drawn from
a lognormal distribution, as measured latencies of last miles are; jitter is drawn per datagram.
"""

import random

from attrs import field, frozen

Distances = tuple[tuple[float, ...], ...]
"""One-way seconds between the regions of a row and a column, without the access lines."""

ONE_REGION: Distances = ((0.0,),)
"""Access lines are all there is: hosts of one country."""

REGION_DISTANCES: Distances = (
    (0.010, 0.045, 0.085, 0.095, 0.135),
    (0.045, 0.015, 0.080, 0.060, 0.100),
    (0.085, 0.080, 0.025, 0.150, 0.065),
    (0.095, 0.060, 0.150, 0.015, 0.155),
    (0.135, 0.100, 0.065, 0.155, 0.010),
)
"""Europe, North America, Asia, South America, Oceania: half of the round trips that public clouds tell of
between their data centres there, rounded to 5 ms. With the shares of WORLD_SHARES and access lines of 10 ms
at the median, round trips have a median near the 160 ms that were measured between 1,740 name servers all
over the world (the King data set, as in F. Dabek et al., Vivaldi, SIGCOMM 2004)."""

REGION_SHARES = (0.35, 0.30, 0.25, 0.06, 0.04)


@frozen
class Conditions:
    """How the network treats datagrams. `loss`, `duplicate` and `reorder` are probabilities.

    `latency` is the median one-way delay in seconds of the two access lines together, and `spread` the
    sigma of its logarithm over hosts; `jitter` is the largest part of a link's latency that comes on top
    of it. A datagram that is reordered is held back for up to `reorder_delay` seconds.
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
    """Of the hosts, for each region."""

    @classmethod
    def worldwide(cls, loss: float = 0.0, duplicate: float = 0.0, reorder: float = 0.0) -> "Conditions":
        """Hosts all over the world."""
        return cls(
            latency=0.02,
            loss=loss,
            duplicate=duplicate,
            reorder=reorder,
            distances=REGION_DISTANCES,
            shares=REGION_SHARES,
        )

    def draw_access(self, rng: random.Random) -> tuple[float, int]:
        """The latency in seconds of a host's access line, and the region where it is."""
        half = self.latency / 2 * rng.lognormvariate(0.0, self.spread)
        (region,) = rng.choices(range(len(self.shares)), self.shares) if len(self.shares) > 1 else (0,)
        # Whole microseconds, so that a last bit of the C library's logarithm does not reach the digest.
        return round(half, 6), region
