"""Deadlines of connections, checked once a second: to move a deadline is to set an attribute."""

from typing import Protocol

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime

CHECK_INTERVAL = 1.0

MIN_RATE = 8 * 1024
"""Bytes per second that a transfer must reach; below, it is ended."""


class HasDeadline(Protocol):
    """An object with a deadline."""

    deadline: float
    """Seconds, on the clock of `Deadlines`."""

    def deadline_passed(self) -> None:
        """The deadline has passed."""


@define(eq=False)
class Deadlines:
    """Calls `deadline_passed` of each subject at the first check after its deadline, and at each later
    one."""

    _clock: IReactorTime
    _subjects: dict[HasDeadline, None] = field(factory=dict, init=False)
    _timer: IDelayedCall | None = field(default=None, init=False)

    def add(self, subject: HasDeadline) -> None:
        """Check this subject from now on."""
        self._subjects[subject] = None
        if self._timer is None:
            self._timer = self._clock.callLater(CHECK_INTERVAL, self._check)

    def remove(self, subject: HasDeadline) -> None:
        """Do not check this subject any more."""
        self._subjects.pop(subject, None)
        if not self._subjects and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        self._timer = self._clock.callLater(CHECK_INTERVAL, self._check)
        now = self._clock.seconds()
        for subject in list(self._subjects):
            if subject.deadline <= now:
                subject.deadline_passed()
