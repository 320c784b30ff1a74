"""Which counters of a session have come already: each is taken once, and none that is too old."""

from attrs import define, field

WINDOW = 1_024
"""Packets by which one may come late."""


@define(eq=False)
class ReplayWindow:
    """The latest counter, and which of the `WINDOW` up to it have not come.

    What is missing is kept, not what has come: mostly that is nothing, and packets in order cost nothing. It is
    kept as bits of a number: a peer that leaves out as many counters as it can makes this no slower.
    """

    latest: int = field(default=-1, init=False)
    _missing: int = field(default=0, init=False)
    """Bit i: whether the counter `_base + i` is missing."""
    _base: int = field(default=0, init=False)

    def is_new(self, counter: int) -> bool:
        """Whether a packet with this counter may still be taken. Changes nothing: anybody can name one."""
        if counter > self.latest:
            return True
        bit = counter - self._base
        return bit >= 0 and self.latest - counter < WINDOW and self._missing >> bit & 1 == 1

    def authenticated(self, counter: int) -> None:
        """A packet with this counter, which was new, has proven to be authentic."""
        if counter < self.latest:
            self._missing &= ~(1 << counter - self._base)
            return
        base = max(counter - WINDOW + 1, 0)
        still = self._missing >> base - self._base if self._missing else 0
        first = max(self.latest + 1, base)
        skipped = (1 << counter - first) - 1
        self._missing, self._base, self.latest = still | skipped << first - base, base, counter
