"""Formats events of `twisted.logger` as lines: text for people, or one JSON object a line.

In JSON each line has the name of its event (`log_events`), and a flood of one event is cut short
(`log_flood`).

Some fields come from unknown peers: no field can break a line in two, forge another line, or raise an
exception.
"""

import json
import math
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any, Protocol

from attrs import define, field
from twisted.internet.interfaces import IReactorTime
from twisted.logger import (
    FilteringLogObserver,
    ILogFilterPredicate,
    ILogObserver,
    LogEvent,
    LogLevelFilterPredicate,
    PredicateResult,
    formatEvent,
)
from twisted.logger import LogLevel as TwistedLevel
from twisted.python.failure import Failure
from twisted.python.reflect import safe_str
from zope.interface import implementer

from dht14.app.log_events import LINES_LOST, NOT_FORMATTED, event_name
from dht14.app.log_flood import FloodLimit
from dht14.app.options import LogFormat, LogLevel

_OWN_FIELDS = frozenset({"time", "level", "event", "source", "message", "template", "traceback"})
# What the older twisted.python.log adds to the fields of the caller.
_LEGACY_FIELDS = frozenset({"system", "isError", "format", "failure", "why", "logLevel"})


REPORT_INTERVAL = 5.0
"""Seconds between two looks at the floods that are over."""


class Output(Protocol):
    """The destination of lines: stdout, or a file."""

    def write(self, line: str, /) -> object:
        """Write one line. Raises `OSError`."""

    def flush(self) -> object:
        """Write what is buffered."""


class LogThreshold:
    """The lowest level that is logged, which can be changed while the process runs."""

    def __init__(self, level: LogLevel) -> None:
        self.predicate = LogLevelFilterPredicate(TwistedLevel.lookupByName(level.value))

    def change(self, name: str) -> None:
        """Log this level and above from now on. Raises `ValueError` with the names of all levels."""
        try:
            level = LogLevel(name.lower())
        except ValueError:
            names = ", ".join(level.value for level in LogLevel)
            raise ValueError(f"{name!r} is not one of: {names}") from None
        self.predicate.setLogLevelForNamespace("", TwistedLevel.lookupByName(level.value))


@define(eq=False)
class ProcessLog:
    """The log of a process. Its `observer` writes the events of a level and above, each with one write."""

    observer: ILogObserver
    _flood: FloodLimit

    @classmethod
    def to(cls, out: Output, form: LogFormat, threshold: LogThreshold) -> "ProcessLog":
        """Return the log that is written to `out`."""
        flood = FloodLimit(_Lines(out, _LINES[form]))
        return cls(FilteringLogObserver(flood, [_WithoutEmfile(), threshold.predicate]), flood)

    def attach(self, reactor: Any) -> None:
        """Write how many lines of a flood were left out when its interval is over, and when the reactor
        ends."""
        self._plan(reactor)
        reactor.addSystemEventTrigger("after", "shutdown", self._flood.report, ending=True)

    def _plan(self, clock: IReactorTime) -> None:
        self._flood.report()
        clock.callLater(REPORT_INTERVAL, self._plan, clock)


@implementer(ILogFilterPredicate)
class _WithoutEmfile:
    """Drops Twisted's events about a lack of file descriptors: three for each connection that it cannot
    accept, up to thousands a second. `disk_monitor` reports that once."""

    def __call__(self, event: LogEvent) -> Any:
        is_one = "twisted.internet.tcp" in _text(event.get("log_namespace", "")) and (
            event.get("acceptError") in ("EMFILE", "ENFILE") or "EMFILE" in _text(event.get("log_format", ""))
        )
        return PredicateResult.no if is_one else PredicateResult.maybe


@implementer(ILogObserver)
@define(eq=False)
class _Lines:
    """Writes each event as a line. After failed writes, which raise nothing, the next line says how many
    failed."""

    _out: Output
    _line: Callable[[LogEvent], str]
    _lost: int = field(default=0, init=False)

    def __call__(self, event: LogEvent) -> None:
        try:
            if self._lost:
                self._write(self._loss(event))
                self._lost = 0
            self._write(event)
        except (OSError, ValueError):
            self._lost += 1

    def _write(self, event: LogEvent) -> None:
        self._out.write(_safely(self._line, event))
        self._out.flush()

    def _loss(self, event: LogEvent) -> LogEvent:
        return {
            "log_format": "Lines of this log that could not be written: {lost}.",
            "event": LINES_LOST,
            "lost": self._lost,
            "log_level": TwistedLevel.error,
            "log_time": event.get("log_time"),
        }


def text_line(event: LogEvent) -> str:
    """Return `time [level] message`; the lines of a traceback follow, indented."""
    lines = [f"{_time(event)} [{_level(event)}] {formatEvent(event)}"]
    if "log_failure" in event:
        lines.append(_traceback(event["log_failure"]))
    return "\n\t".join(_printable(line) for line in "\n".join(lines).splitlines()) + "\n"


def json_line(event: LogEvent) -> str:
    """Return one object: time, level, event, source, message, its template, the event's own fields, and a
    traceback."""
    line: dict[str, object] = {
        "time": _time(event),
        "level": _level(event),
        "event": event_name(event),
        "source": _text(event.get("log_namespace", "-")),
        "message": formatEvent(event),
        "template": _text(event.get("log_format", "")),
    }
    line |= {name: _scalar(value) for name, value in event.items() if _is_own(name)}
    if "log_failure" in event:
        line["traceback"] = _traceback(event["log_failure"])
    return json.dumps(line) + "\n"


_LINES: dict[LogFormat, Callable[[LogEvent], str]] = {LogFormat.TEXT: text_line, LogFormat.JSON: json_line}


def _safely(line: Callable[[LogEvent], str], event: LogEvent) -> str:
    try:
        return line(event)
    except Exception as error:  # noqa: BLE001 - the __str__ or __format__ of a field may raise anything
        return line(
            {
                "log_format": "An event could not be formatted: {error}.",
                "event": NOT_FORMATTED,
                "error": safe_str(error),
            }
        )


def _time(event: LogEvent) -> str:
    try:
        when = datetime.fromtimestamp(event["log_time"], timezone.utc)
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        return "-"
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _level(event: LogEvent) -> str:
    return safe_str(getattr(event.get("log_level"), "name", "-"))


def _traceback(failure: object) -> str:
    try:
        return failure.getTraceback() if isinstance(failure, Failure) else safe_str(failure)
    except Exception as error:  # noqa: BLE001 - as above; the line itself is still useful
        return f"(no traceback: {safe_str(error)})"


def _printable(line: str) -> str:
    """Escape characters that move the cursor of a terminal or colour it."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in line)


def _is_own(name: Any) -> bool:
    return (
        isinstance(name, str)
        and not name.startswith("log_")
        and name not in _OWN_FIELDS
        and name not in _LEGACY_FIELDS
    )


def _scalar(value: object) -> str | int | float | bool | None:
    if value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return _text(value)


def _text(value: object) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else safe_str(value)
