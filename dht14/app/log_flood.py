"""Keeps a flood of one event from filling the log: the first lines pass, the others are counted.

`LogLimiter` limits at its source what one unknown peer can cause. This is the limit of everything else, known
or not.
"""

import time
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Any

from attrs import define, field
from twisted.logger import ILogObserver, LogEvent, Logger, formatEvent
from twisted.logger import LogLevel as TwistedLevel
from twisted.python.failure import Failure
from zope.interface import implementer

from dht14.app.log_events import NOT_FORMATTED, REPEATED, event_name

FIRST_LINES = 20
"""Lines of one event that pass within an interval."""

INTERVAL = 60.0
"""Seconds from the first line of an event until the count of those that did not pass is written."""

MAX_SUBJECTS = 1_000
"""Events that are counted at once. When there are more, all counts are written, and begin again at 0."""


@define
class _Run:
    """The lines of one subject within one interval."""

    event: str
    level: Any
    began_at: float
    lines: int = 0

    @property
    def held(self) -> int:
        """The lines that did not pass."""
        return max(self.lines - FIRST_LINES, 0)


@implementer(ILogObserver)
@define(eq=False)
class FloodLimit:
    """Passes events on to another observer, but of each event only `FIRST_LINES` within `INTERVAL` seconds;
    then one line says how many more there were. Thread-safe.

    What is counted together: at most levels all lines of one event, whatever their fields. At level critical,
    only lines that are equal, with their tracebacks: no bug hides behind another one.
    """

    _out: ILogObserver
    _now: Callable[[], float] = time.monotonic
    _lock: Lock = field(factory=Lock, init=False)
    _runs: dict[Hashable, _Run] = field(factory=dict, init=False)
    """By subject."""
    _log: Logger = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._log = Logger(namespace=__name__, observer=self._out)

    def __call__(self, event: LogEvent) -> None:
        """Pass the event on, or count it."""
        passes, over = self._count(event, *_subject(event))
        self._write(over)
        if passes:
            self._out(event)

    def report(self, *, ending: bool = False) -> None:
        """Write the counts whose interval is over; all of them if the process is `ending`."""
        with self._lock:
            over = self._take(lambda run: ending or self._now() - run.began_at >= INTERVAL)
        self._write(over)

    def _count(self, event: LogEvent, name: str, subject: Hashable) -> tuple[bool, list[_Run]]:
        """Return whether a line passes, and the runs that are over."""
        over: list[_Run] = []
        with self._lock:
            now = self._now()
            run = self._runs.get(subject)
            if run is not None and now - run.began_at >= INTERVAL:
                over, run = [self._runs.pop(subject)], None
            elif run is None and len(self._runs) >= MAX_SUBJECTS:
                over = self._take(lambda _: True)
            if run is None:
                run = self._runs[subject] = _Run(name, _level(event), now)
            run.lines += 1
            return run.lines <= FIRST_LINES, over

    def _take(self, is_over: Callable[[_Run], bool]) -> list[_Run]:
        taken = {subject: run for subject, run in self._runs.items() if is_over(run)}
        for subject in taken:
            del self._runs[subject]
        return list(taken.values())

    def _write(self, over: list[_Run]) -> None:
        for run in over:
            if run.held:
                self._log.emit(
                    run.level,
                    "More lines of event {of} in the last {seconds:.0f} s: {count}.",
                    event=REPEATED,
                    count=run.held,
                    of=run.event,
                    seconds=self._now() - run.began_at,
                )


def _subject(event: LogEvent) -> tuple[str, Hashable]:
    """Return the name of an event, and what it is counted under."""
    try:
        name = event_name(event)
        if event.get("log_level") is not TwistedLevel.critical:
            return name, name
        failure = event.get("log_failure")
        traceback = failure.getTraceback() if isinstance(failure, Failure) else ""
        return name, (name, hash((formatEvent(event), traceback)))
    except Exception:  # noqa: BLE001 - the __str__ or __format__ of a field may raise anything
        return NOT_FORMATTED, NOT_FORMATTED


def _level(event: LogEvent) -> Any:
    level = event.get("log_level")
    return level if level in TwistedLevel.iterconstants() else TwistedLevel.info
