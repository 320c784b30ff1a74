"""When each record was last offered to all its holders: for republish, which one of them does for all.

Who is told of a record by another holder waits for another interval. It may be a holder that lies who
tells; so nobody waits for more than a few intervals on the word of others.
"""

from attrs import define, field

JITTER = 0.2
"""An interval is this much longer or shorter, as chance has it: of several holders one comes first."""

MAX_POSTPONED = 4
"""After so many intervals a node sees for itself, whatever others do."""

REMEMBERED = 1 << 17
"""Keys of which is known when they were last seen to; the others are due."""


@define
class RepublishTimes:
    """When each key was last seen to: by this node, and by anybody."""

    _times: dict[int, tuple[float, float]] = field(factory=dict, init=False)
    """By this node, by anybody; those first that were touched longest ago."""

    def republished_by_peer(self, key: int, now: float) -> None:
        """Another node has brought the record of this key, or offered it."""
        self._note(key, self._times.get(key, (now, now))[0], now)

    def republished(self, key: int, now: float) -> None:
        """This node has offered it to all who shall have it."""
        self._note(key, now, now)

    def _note(self, key: int, by_us: float, by_anybody: float) -> None:
        self._times.pop(key, None)
        if len(self._times) >= REMEMBERED:
            del self._times[next(iter(self._times))]
        self._times[key] = by_us, by_anybody

    def was_republished(self, key: int) -> bool:
        """Whether anybody has seen to the key since this node has begun, as far as that is remembered."""
        return key in self._times

    def is_due(self, key: int, now: float, interval: float) -> bool:
        """Whether nobody has seen to the key for `interval` seconds."""
        seen = self._times.get(key)
        if seen is None:
            return True
        by_us, by_anybody = seen
        return now - by_anybody >= interval * (1 - JITTER) or now - by_us >= interval * MAX_POSTPONED

    def forget(self, before: float) -> None:
        """Forget what nobody has seen to since then: it is due, or gone."""
        while self._times:
            oldest = next(iter(self._times))
            if self._times[oldest][1] >= before:
                return
            del self._times[oldest]
