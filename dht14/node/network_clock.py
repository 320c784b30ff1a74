"""The time of day that most contacts agree on, of which the versions of open records are made.

A node with a wrong clock must neither lose its writes nor hold up those of others. So every PONG tells what
the clock of its sender says, and the median over the contacts counts, this node among them. It rests on the
monotonic clock: a wall clock that is set moves one voice of many.
"""

from collections.abc import Callable
from statistics import median_low

from attrs import define, field

from dht14.records.record import version_at

MAX_CONTACTS = 64
"""The clocks that count: those of the contacts that answered last."""

TOLERANCE = 300.0
"""Seconds that a version may be ahead of the time before it is refused: more than honest nodes, whose times
are medians of much the same clocks, ever differ."""

READ_TOLERANCE = 2 * TOLERANCE
"""The same for what others hold already: their time may be ahead of ours when they accept a version."""


@define(eq=False)
class NetworkClock:
    """Tells the time of the network. `seconds` is the monotonic clock of this node, `wall` its time of day."""

    _seconds: Callable[[], float]
    wall: Callable[[], float]
    _ahead: dict[int, float] = field(factory=dict, init=False)
    """By node id: how far its time of day is ahead of our monotonic clock."""
    _median: float | None = field(default=None, init=False)
    """Of them and our own; None when it has to be found again."""
    _own: float = field(default=0.0, init=False)
    """Our own time of day ahead of our monotonic clock, as of the last median."""

    def heard(self, node_id: int, time: float, round_trip: float) -> None:
        """A contact has told its time of day, `round_trip` seconds after it was asked."""
        self._ahead.pop(node_id, None)
        if len(self._ahead) >= MAX_CONTACTS:
            del self._ahead[next(iter(self._ahead))]
        self._ahead[node_id] = time + round_trip / 2 - self._seconds()
        self._median = None

    def now(self) -> float:
        """Seconds since 1970, as most contacts have it. Of an even number the slower half counts, so that two
        nodes alone agree."""
        seconds = self._seconds()
        own = self.wall() - seconds
        if self._median is None or abs(own - self._own) > 1e-3:
            self._own = own
            self._median = median_low([own, *self._ahead.values()])
        return seconds + self._median

    def may_be_written(self, version: int) -> bool:
        """Whether a writer with a right clock can have made this version by now."""
        return version <= version_at(self.now() + TOLERANCE)

    def may_be_held(self, version: int) -> bool:
        """Whether an honest holder can have this version."""
        return version <= version_at(self.now() + READ_TOLERANCE)
