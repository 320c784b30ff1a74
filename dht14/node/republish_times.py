"""When each record was last offered to all its holders: for republish, which one of them does for all.

Who is told of a record by another holder waits for another interval. It may be a holder that lies who
tells; so nobody waits for more than a few intervals on the word of others.
"""

from attrs import define, field

JITTER = 0.2
"""An interval is this much longer or shorter, as chance has it: of several holders one comes first."""

TRUST = 4
"""After so many intervals a node sees for itself, whatever others do."""

REMEMBERED = 1 << 17
"""Keys of which is known when they were last seen to; the others are due."""


@define
class RepublishTimes:
    """When each key was last seen to: by this node, and by anybody."""

    _seen: dict[int, tuple[float, float]] = field(factory=dict, init=False)
    """By this node, by anybody; those first that were touched longest ago."""

    def told(self, key: int, now: float) -> None:
        """Another node has brought the record of this key, or offered it."""
        self._note(key, self._seen.get(key, (now, now))[0], now)

    def seen_to(self, key: int, now: float) -> None:
        """This node has offered it to all who shall have it."""
        self._note(key, now, now)

    def _note(self, key: int, by_us: float, by_anybody: float) -> None:
        self._seen.pop(key, None)
        if len(self._seen) >= REMEMBERED:
            del self._seen[next(iter(self._seen))]
        self._seen[key] = by_us, by_anybody

    def knows(self, key: int) -> bool:
        """Whether anybody has seen to the key since this node has begun, as far as that is remembered."""
        return key in self._seen

    def is_due(self, key: int, now: float, interval: float) -> bool:
        """Whether nobody has seen to the key for `interval` seconds."""
        seen = self._seen.get(key)
        if seen is None:
            return True
        by_us, by_anybody = seen
        return now - by_anybody >= interval * (1 - JITTER) or now - by_us >= interval * TRUST

    def forget(self, before: float) -> None:
        """Forget what nobody has seen to since then: it is due, or gone."""
        while self._seen:
            oldest = next(iter(self._seen))
            if self._seen[oldest][1] >= before:
                return
            del self._seen[oldest]
