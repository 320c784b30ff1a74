from typing import Any

from attrs import define, field
from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from dht14.app import log_flood
from dht14.app.log_events import REPEATED
from dht14.app.log_flood import FIRST_LINES, INTERVAL, MAX_SUBJECTS, FloodLimit


@implementer(ILogObserver)
@define
class Written:
    """An observer that keeps the events."""

    events: list[LogEvent] = field(factory=list)

    def __call__(self, event: LogEvent) -> None:
        self.events.append(event)

    def count(self, name: str) -> int:
        """The lines of one event."""
        return sum(event.get("event") == name for event in self.events)

    @property
    def reports(self) -> list[tuple[str, int, Any]]:
        """Event, number of lines and level of each count."""
        return [(e["of"], e["count"], e["log_level"]) for e in self.events if e.get("event") == REPEATED]


class FloodLimitTests(SynchronousTestCase):
    """A flood becomes its first lines and a count."""

    def setUp(self) -> None:
        self.now = 0.0
        self.written = Written()
        self.limit = FloodLimit(self.written, lambda: self.now)
        self.log = Logger(namespace="tests", observer=self.limit)

    def flood(self, lines: int, name: str = "a.b") -> None:
        for number in range(lines):
            self.log.warn("{n}", event=name, n=number)

    def test_few(self):
        """A few lines pass, and nothing is said about them."""
        self.flood(FIRST_LINES)
        self.now = INTERVAL
        self.limit.report()
        self.assertEqual(len(self.written.events), FIRST_LINES)

    def test_flood(self):
        """Of a flood the first lines pass; when the interval is over, one line has the number of the
        others."""
        self.flood(FIRST_LINES + 1_000)
        self.now = INTERVAL - 1
        self.limit.report()
        self.assertEqual(self.written.reports, [])
        self.now = INTERVAL
        self.limit.report()
        self.limit.report()
        self.assertEqual(self.written.reports, [("a.b", 1_000, LogLevel.warn)])
        self.assertEqual(self.written.count("a.b"), FIRST_LINES)

    def test_goes_on(self):
        """A flood that goes on has its count and its first lines again in each interval, without `report`
        too."""
        for interval in range(3):
            self.now = interval * INTERVAL
            self.flood(FIRST_LINES + 5)
        self.assertEqual(self.written.reports, [("a.b", 5, LogLevel.warn)] * 2)
        self.assertEqual(self.written.count("a.b"), 3 * FIRST_LINES)

    def test_others(self):
        """A flood of one event costs no line of another one."""
        self.flood(FIRST_LINES + 1)
        self.flood(FIRST_LINES, "c.d")
        self.assertEqual(self.written.count("c.d"), FIRST_LINES)

    def test_end(self):
        """When the process ends, what was counted is written at once."""
        self.flood(FIRST_LINES + 3)
        self.limit.report(ending=True)
        self.assertEqual(self.written.reports, [("a.b", 3, LogLevel.warn)])

    def test_critical(self):
        """Critical lines that differ in text or traceback all pass; only equal ones are counted."""
        for number in range(3 * FIRST_LINES):
            self.log.critical("{n}", event="a.bug", n=number)
            self.log.failure("bug", Failure(ValueError(number)), event="c.bug")
        self.assertEqual(len(self.written.events), 6 * FIRST_LINES)
        for _ in range(FIRST_LINES + 4):
            self.log.critical("same", event="e.bug")
        self.limit.report(ending=True)
        self.assertEqual(self.written.reports, [("e.bug", 4, LogLevel.critical)])

    def test_many_events(self):
        """The counts of unlimited kinds of events take limited memory, and none is lost."""
        self.flood(FIRST_LINES + 7)
        for number in range(MAX_SUBJECTS):
            self.log.info("x", event=f"e.n{number}")
        self.assertLessEqual(len(self.limit._runs), MAX_SUBJECTS)
        self.assertEqual(self.written.reports, [("a.b", 7, LogLevel.warn)])

    def test_broken_event(self):
        """An event that cannot be formatted passes, and raises nothing."""

        class Unspeakable:
            def __str__(self) -> str:
                raise RuntimeError("no")

            __repr__ = __str__

        self.limit({"log_format": Unspeakable(), "log_level": Unspeakable()})
        self.limit({"log_format": "{x}", "x": Unspeakable(), "log_level": LogLevel.critical})
        self.assertEqual(len(self.written.events), 2)
        self.assertEqual(log_flood._level({"log_level": Unspeakable()}), LogLevel.info)
