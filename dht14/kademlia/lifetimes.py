"""How long contacts live, told from those that were lost.

Most contacts have not died yet when they are looked at, so the mean of those that did would be far too
short. Losses per contact and second are right for both (the maximum likelihood of exponential lifetimes,
censored), and take two numbers to keep.
"""

import math

from attrs import define, field

from dht14.kademlia.parameters import REPAIR_INTERVAL_MIN

HALF_LIFE = 1_800.0
"""Seconds after which what was seen counts half."""

PRIOR_MEDIAN = 4 * 3600.0
"""Seconds; the lifetime that is believed in before anything was seen, with the weight of one loss."""


@define
class Lifetimes:
    """An estimate that follows the network."""

    _seen_until: float
    _losses: float = field(default=1.0, init=False)
    _seconds: float = field(default=PRIOR_MEDIAN / math.log(2), init=False)
    """That contacts lived, all of them together."""

    def observed(self, now: float, alive: int, lost: int) -> None:
        """Since this was last told so many contacts were alive, and so many were lost."""
        observed = max(now - self._seen_until, 0.0)
        kept = 0.5 ** (observed / HALF_LIFE)
        self._losses = self._losses * kept + lost
        self._seconds = self._seconds * kept + alive * observed
        self._seen_until = now

    @property
    def median(self) -> float:
        """Seconds after which half of the contacts of now will be gone."""
        return math.log(2) * self._seconds / self._losses if self._losses > 1e-9 else math.inf

    def repair_interval(self, longest: float) -> float:
        """Seconds between two looks at whether a record has its holders; at most `longest`.

        With a mean life m and an interval T, each of r holders is gone with 1 - exp(-T / m) before the next
        look: with half a median that is 0.29, and one record in 18,000 loses all of eight.
        """
        return min(longest, max(REPAIR_INTERVAL_MIN, self.median / 2))
