"""Which counters of a session have come already: each is taken once, and none that is too old."""

from attrs import define, field

WINDOW = 1_024
"""Packets by which one may come late."""


@define(eq=False)
class ReplayWindow:
    """The latest counter, and which of the `WINDOW` up to it have not come.

    What is missing is kept, not what has come: mostly that is nothing, and packets in order cost nothing.
    """

    latest: int = field(default=-1, init=False)
    _missing: set[int] = field(factory=set, init=False)

    def is_new(self, counter: int) -> bool:
        """Whether a packet with this counter may still be taken. Changes nothing: anybody can name one."""
        return counter > self.latest or (counter in self._missing and self.latest - counter < WINDOW)

    def came(self, counter: int) -> None:
        """A packet with this counter, which was new, has proven to be authentic."""
        if counter < self.latest:
            self._missing.discard(counter)
            return
        oldest = counter - WINDOW + 1
        self._missing.update(range(max(self.latest + 1, oldest), counter))
        self.latest = counter
        if len(self._missing) > WINDOW:
            self._missing = {one for one in self._missing if one >= oldest}
