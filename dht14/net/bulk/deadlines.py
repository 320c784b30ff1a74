"""Deadlines of connections, looked at once a second: to move one costs nothing."""

from typing import Protocol

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime

LOOK_INTERVAL = 1.0


class HasDeadline(Protocol):
    """What has to come to something in time."""

    deadline: float
    """Seconds, on the clock of the watch."""

    def too_slow(self) -> None:
        """The deadline has passed."""


@define(eq=False)
class Deadlines:
    """Tells each of its subjects, within `LOOK_INTERVAL`, that its deadline has passed."""

    _clock: IReactorTime
    _subjects: dict[HasDeadline, None] = field(factory=dict, init=False)
    _timer: IDelayedCall | None = field(default=None, init=False)

    def begin(self, subject: HasDeadline) -> None:
        """Look at this one too."""
        self._subjects[subject] = None
        if self._timer is None:
            self._timer = self._clock.callLater(LOOK_INTERVAL, self._look)

    def end(self, subject: HasDeadline) -> None:
        """Look at this one no more."""
        self._subjects.pop(subject, None)
        if not self._subjects and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = self._clock.callLater(LOOK_INTERVAL, self._look)
        now = self._clock.seconds()
        for subject in list(self._subjects):
            if subject.deadline <= now:
                subject.too_slow()
