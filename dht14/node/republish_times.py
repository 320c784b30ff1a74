"""When each record was last offered to all its holders. Republish reads it: one of the holders does it for
all.

A holder that receives a record from another node postpones its own republish by one interval. The other node
may be lying; so a holder republishes at the latest after MAX_POSTPONED intervals.
"""

from attrs import define, field

from dht14.bounded import BoundedDict

JITTER = 0.2
"""A random share by which an interval is longer or shorter: of several holders one comes first."""

MAX_POSTPONED = 4
"""Intervals after which a node republishes a record itself, whatever other nodes do."""

MAX_KEYS = 1 << 17
"""Keys whose times are remembered; all others are due."""


@define
class RepublishTimes:
    """When each key was last republished: by this node, and by any node."""

    _times: BoundedDict[int, tuple[float, float]] = field(factory=lambda: BoundedDict(MAX_KEYS), init=False)
    """By this node, by any node; the keys changed longest ago come first."""

    def republished_by_peer(self, key: int, now: float) -> None:
        """Another node sent the record of this key, or offered it."""
        self._times.renew(key, (self._times.get(key, (now, now))[0], now))

    def republished(self, key: int, now: float) -> None:
        """This node offered the record to all nodes that should have it."""
        self._times.renew(key, (now, now))

    def was_republished(self, key: int) -> bool:
        """Whether any node has republished the key since this node started, as far as it remembers."""
        return key in self._times

    def is_due(self, key: int, now: float, interval: float) -> bool:
        """Whether no node has republished the key for `interval` seconds."""
        times = self._times.get(key)
        if times is None:
            return True
        by_us, by_any = times
        return now - by_any >= interval * (1 - JITTER) or now - by_us >= interval * MAX_POSTPONED

    def forget(self, before: float) -> None:
        """Forget keys that no node has republished since `before`: they are due, or have expired."""
        while self._times:
            oldest = next(iter(self._times))
            if self._times[oldest][1] >= before:
                return
            del self._times[oldest]
