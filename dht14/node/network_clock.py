"""The time of day that most contacts agree on. The versions of open records are made of it.

A node with a wrong clock must not lose its writes, nor delay those of others. So every PONG contains the time
of its sender, and the median over the contacts and this node counts. It is kept relative to the monotonic
clock: when the wall clock of this host is set, only one voice of many changes.
"""

from collections.abc import Callable
from statistics import median_low

from attrs import define, field

from dht14.bounded import BoundedDict
from dht14.records.record import version_at

ENOUGH_CONTACTS = 2
"""Contacts that have told their time: together with this node they outvote one wrong clock."""

MAX_CONTACTS = 64
"""The clocks that count: those of the contacts that answered last."""

TOLERANCE = 300.0
"""Seconds by which a version may be ahead of the time before it is refused. Honest nodes use medians of much
the same clocks, and never differ by that much."""

READ_TOLERANCE = 2 * TOLERANCE
"""The same for versions that others hold: their time may have been ahead of ours when they took them."""


@define(eq=False)
class NetworkClock:
    """The clock of the network. `seconds` is the monotonic clock of this node, `wall` its time of day."""

    _seconds: Callable[[], float]
    wall: Callable[[], float]
    _ahead: BoundedDict[int, float] = field(factory=lambda: BoundedDict(MAX_CONTACTS), init=False)
    """How far each contact's time of day is ahead of our monotonic clock, by node id."""
    _median: float | None = field(default=None, init=False)
    """The median of these and our own; None if it must be computed again."""
    _own: float = field(default=0.0, init=False)
    """How far our own time of day was ahead of our monotonic clock when the median was computed."""

    def heard(self, node_id: int, time: float, round_trip: float) -> None:
        """A contact answered with its time of day, `round_trip` seconds after it was asked."""
        self._ahead.renew(node_id, time + round_trip / 2 - self._seconds())
        self._median = None

    def now(self) -> float:
        """Return the time on which most contacts agree, in seconds since 1970.

        Of an even number of clocks the slower half decides, so that a network of two nodes agrees.
        """
        seconds = self._seconds()
        own = self.wall() - seconds
        if self._median is None or abs(own - self._own) > 1e-3:
            self._own = own
            self._median = median_low([own, *self._ahead.values()])
        return seconds + self._median

    def has_heard_enough(self, contacts: int) -> bool:
        """Whether enough of so many contacts have told their time. Otherwise `now` may be what this host says
        alone."""
        return len(self._ahead) >= min(ENOUGH_CONTACTS, contacts)

    def may_be_written(self, version: int) -> bool:
        """Whether a writer with a right clock can have made this version by now."""
        return version <= version_at(self.now() + TOLERANCE)

    def may_be_held(self, version: int) -> bool:
        """Whether an honest holder can have this version."""
        return version <= version_at(self.now() + READ_TOLERANCE)
