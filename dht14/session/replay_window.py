"""The counters that a session has taken: each counter counts once, and none that is too old."""

from attrs import define, field

WINDOW = 1_024
"""How many packets a packet may come late."""


@define(eq=False)
class ReplayWindow:
    """The latest counter, and which of the `WINDOW` counters up to it are missing.

    The window stores the missing counters, not those that came: mostly none is missing, and packets in order
    cost nothing. They are the bits of an integer, so a peer that skips many counters makes this no slower.
    """

    latest: int = field(default=-1, init=False)
    _missing: int = field(default=0, init=False)
    """Bit i: whether the counter `_base + i` is missing."""
    _base: int = field(default=0, init=False)

    def is_new(self, counter: int) -> bool:
        """Return whether to take a packet with this counter. Changes nothing: anybody can name a counter."""
        if counter > self.latest:
            return True
        bit = counter - self._base
        return bit >= 0 and self.latest - counter < WINDOW and self._missing >> bit & 1 == 1

    def authenticated(self, counter: int) -> None:
        """A packet with this new counter proved to be authentic."""
        if counter < self.latest:
            self._missing &= ~(1 << counter - self._base)
            return
        base = max(counter - WINDOW + 1, 0)
        still = self._missing >> base - self._base if self._missing else 0
        first = max(self.latest + 1, base)
        skipped = (1 << counter - first) - 1
        self._missing, self._base, self.latest = still | skipped << first - base, base, counter
