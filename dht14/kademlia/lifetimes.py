"""Estimates how long contacts live, from those that were lost.

Most contacts are still alive when they are observed, so the mean age of the dead ones would be far too short.
The rate of losses per contact and second is right for both (maximum likelihood for exponential lifetimes,
censored), and takes two numbers to keep.
"""

import math

from attrs import define, field

from dht14.kademlia.parameters import REPAIR_INTERVAL_MIN

HALF_LIFE = 1_800.0
"""Seconds after which an observation counts half."""

PRIOR_MEDIAN = 4 * 3600.0
"""Seconds. The median lifetime assumed before any observation, with the weight of one loss."""


@define
class Lifetimes:
    """An estimate that follows the network."""

    _seen_until: float
    _losses: float = field(default=1.0, init=False)
    _seconds: float = field(default=PRIOR_MEDIAN / math.log(2), init=False)
    """The sum of the times that contacts lived."""

    def observed(self, now: float, alive: int, lost: int) -> None:
        """Since the last observation `alive` contacts were alive and `lost` were lost."""
        passed = max(now - self._seen_until, 0.0)
        kept = 0.5 ** (passed / HALF_LIFE)
        self._losses = self._losses * kept + lost
        self._seconds = self._seconds * kept + alive * passed
        self._seen_until = now

    @property
    def median(self) -> float:
        """Seconds after which half of the present contacts will be gone."""
        return math.log(2) * self._seconds / self._losses if self._losses > 1e-9 else math.inf

    def repair_interval(self, longest: float) -> float:
        """Return the seconds between two checks whether a record has its holders; at most `longest`.

        With a mean life m and an interval T, each of r holders is gone with 1 - exp(-T / m) before the next
        check: for half a median that is 0.29, and one record in 18,000 loses all of eight.
        """
        return min(longest, max(REPAIR_INTERVAL_MIN, self.median / 2))
