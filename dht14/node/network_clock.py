"""The time of day that most contacts agree on. The versions of open records are made of it.

A node with a wrong clock must not lose its writes, nor delay those of others. So every PONG contains the time
of its sender, and the median over the contacts and this node counts. It is kept relative to the monotonic
clock: when the wall clock of this host is set, only one voice of many changes.
"""

from collections.abc import Callable
from statistics import median_low

from attrs import define, evolve, field

from dht14.bounded import BoundedDict
from dht14.records.record import Kind, Record, time_of, version_at
from dht14.records.store import ANY_VERSION
from dht14.records.version_floors import NO_FLOOR, Floor

ENOUGH_CONTACTS = 2
"""Contacts that have told their time: together with this node they outvote one wrong clock."""

ENOUGH_TO_OVERRULE = 5
"""Contacts that must have told their time, if there are so many, before it overrules what this node holds."""

MAX_AGE = 86_400.0
"""Seconds. An open value that was written at nobody knows which time counts as written so long ago: whatever
others have written since is newer."""

PRECISION = 1.0
"""Seconds to which nodes agree on the time: a version counts as one from the future only if it is ahead by
more. A version newer than a write by less was written at the same time."""

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

    def may_overrule(self, contacts: int) -> bool:
        """Whether so many of so many contacts have told their time that it overrules what this node holds."""
        return len(self._ahead) >= min(ENOUGH_TO_OVERRULE, contacts)

    def latest_held(self, contacts: int) -> int:
        """Return the greatest version that an honest holder can have; any, while too few of so many contacts
        have told their time."""
        return version_at(self.now() + READ_TOLERANCE) if self.may_overrule(contacts) else ANY_VERSION

    def dated(self, record: Record, contacts: int) -> Record:
        """Return a record with a version that others take: that of an open one from the future becomes what
        it would be if it had been made of the network's time.

        It was made of the time of day when this node, or those that it knew, had fast clocks. If that was in
        this run, and nobody set the clock before, the monotonic clock, which starts as the time of day, is
        fast by as much. Otherwise nobody knows when it was made.
        """
        version = record.version
        if record.kind is not Kind.OPEN or self.may_be_held(version) or not self.may_overrule(contacts):
            return record
        seconds, made_at = self._seconds(), time_of(version)
        if seconds - MAX_AGE <= made_at <= seconds + PRECISION:
            return evolve(record, version=version - version_at(seconds) + version_at(self.now()))
        return evolve(record, version=version_at(self.now() - MAX_AGE))

    def may_be_written(self, version: int) -> bool:
        """Whether a writer with a right clock can have made this version by now."""
        return version <= version_at(self.now() + TOLERANCE)

    def believed_floor(self, floor: Floor) -> Floor:
        """Return a floor, unless it is that of an open record from the future."""
        return floor if floor.kind != Kind.OPEN or self.may_be_held(floor.version) else NO_FLOOR

    def may_be_held(self, version: int) -> bool:
        """Whether an honest holder can have this version."""
        return version <= version_at(self.now() + READ_TOLERANCE)
