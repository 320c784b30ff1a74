import io
import json
from typing import Any

from twisted.logger import ILogObserver, Logger, LogPublisher
from twisted.python import log as legacy_log
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from dht14.app import logs
from dht14.app.options import LogFormat, LogLevel


class Unspeakable:
    """Raises whenever it is converted to text."""

    def __repr__(self) -> str:
        raise RuntimeError("no")

    __str__ = __repr__


def observer(out: io.StringIO, form: LogFormat, least: LogLevel) -> ILogObserver:
    """Return the observer of a log that is written to memory."""
    return logs.ProcessLog.to(out, form, logs.LogThreshold(least)).observer


class LogTestCase(SynchronousTestCase):
    """Events written to memory."""

    form = LogFormat.TEXT

    def start(self, least: LogLevel = LogLevel.DEBUG) -> tuple[Logger, io.StringIO]:
        out = io.StringIO()
        publisher = LogPublisher(observer(out, self.form, least))
        return Logger(namespace="tests", observer=publisher), out


class TextTests(LogTestCase):
    """Lines for people."""

    def test_line(self):
        """A line has the time in UTC, the level and the message with its fields."""
        event = {"log_time": 1.5, "log_level": None, "log_format": "{a} of {b}", "a": 1, "b": "two"}
        self.assertEqual(logs.text_line(event), "1970-01-01T00:00:01.500Z [-] 1 of two\n")
        log, out = self.start()
        log.warn("{n} left", n=3)
        self.assertTrue(out.getvalue().endswith(" [warn] 3 left\n"))

    def test_level(self):
        """Events below the level are not written; those of the level are."""
        for least, expected in ((LogLevel.DEBUG, 5), (LogLevel.WARN, 3), (LogLevel.CRITICAL, 1)):
            log, out = self.start(least)
            for write in (log.debug, log.info, log.warn, log.error, log.critical):
                write("x")
            self.assertEqual(len(out.getvalue().splitlines()), expected)

    def test_twisted_without_descriptors(self):
        """Twisted's events about connections that it cannot accept are dropped: there may be thousands."""
        out = io.StringIO()
        log = Logger(
            namespace="twisted.internet.tcp.Port", observer=observer(out, LogFormat.TEXT, LogLevel.DEBUG)
        )
        log.info("Could not accept new connection ({acceptError})", acceptError="EMFILE")
        log.info("EMFILE encountered; releasing reserved file descriptor.")
        self.assertEqual(out.getvalue(), "")
        log.info("Could not accept new connection ({acceptError})", acceptError="ECONNABORTED")
        self.assertIn("ECONNABORTED", out.getvalue())

    def test_one_event_one_line(self):
        """A field cannot begin a line, or move or colour a terminal."""
        log, out = self.start()
        log.info("{a}", a="x\n2020-01-01T00:00:00.000Z [info] forged\r\x1b[2J\u2028y\udc80")
        lines = out.getvalue().split("\n")
        self.assertEqual(len([line for line in lines if line and not line.startswith("\t")]), 1)
        self.assertNotIn("\x1b", out.getvalue())
        self.assertNotIn("\r", out.getvalue())
        out.getvalue().encode("utf-8")

    def test_traceback(self):
        """A failure comes with its traceback, indented below its line."""
        log, out = self.start()
        log.failure("went wrong", Failure(ZeroDivisionError("z")))
        first, *rest = out.getvalue().splitlines()
        self.assertTrue(first.endswith("[critical] went wrong"))
        self.assertTrue(rest)
        self.assertTrue(all(line.startswith("\t") for line in rest))
        self.assertIn("ZeroDivisionError", rest[-1])


class JsonTests(LogTestCase):
    """One JSON object a line."""

    form = LogFormat.JSON

    def test_object(self):
        """An object has time, level, source, message, template and the fields of the event."""
        log, out = self.start()
        log.info(
            "{n} of {of}",
            event="tests.shown",
            n=3,
            of="a\nb",
            raw=b"\xff",
            none=None,
            yes=True,
            half=0.5,
            nan=float("nan"),
        )
        line = json.loads(out.getvalue())
        self.assertRegex(line.pop("time"), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
        self.assertEqual(
            {k: v for k, v in line.items() if k not in ("raw", "nan")},
            {
                "level": "info",
                "event": "tests.shown",
                "source": "tests",
                "message": "3 of a\nb",
                "template": "{n} of {of}",
                "n": 3,
                "of": "a\nb",
                "none": None,
                "yes": True,
                "half": 0.5,
            },
        )
        self.assertIsInstance(line["raw"], str)
        self.assertIsInstance(line["nan"], str)
        self.assertEqual(out.getvalue().count("\n"), 1)

    def test_names(self):
        """Every line has the name of its event: DHT-14's own its own, Twisted's the one of its kind."""
        for namespace, template, fields, name in (
            ("dht14.node", "x", {"event": "join.joined"}, "join.joined"),
            ("log_legacy", "{log_text}", {"log_text": "(UDP Port 8000 Closed)"}, "twisted.port_closed"),
            ("log_legacy", "{log_text}", {"log_text": "ApiFactory starting on 7400"}, "twisted.port_opened"),
            ("twisted.x", "twistd {v} starting up.", {"v": 1}, "twisted.starting"),
            ("twisted.web.http", "Timing out client: {peer}", {"peer": "p"}, "twisted.http_timeout"),
            ("elsewhere", "{x}", {"x": "y"}, "twisted.other"),
            ("elsewhere", "{x}", {"x": "y", "isError": True}, "twisted.error"),
        ):
            out = io.StringIO()
            log = Logger(namespace=namespace, observer=observer(out, self.form, LogLevel.DEBUG))
            log.info(template, **fields)
            self.assertEqual(json.loads(out.getvalue())["event"], name)

    def test_own_fields_stay(self):
        """A field of an event that is named like one of the line's own does not replace it."""
        log, out = self.start()
        log.info("x", time="t", source="s", message="m", template="p")
        line = json.loads(out.getvalue())
        self.assertEqual((line["source"], line["message"], line["template"]), ("tests", "x", "x"))

    def test_traceback(self):
        """A failure's traceback is one field of one line."""
        log, out = self.start()
        log.failure("went wrong", Failure(ZeroDivisionError("z")))
        (line,) = out.getvalue().splitlines()
        self.assertIn("ZeroDivisionError", json.loads(line)["traceback"])

    def test_legacy_event(self):
        """Events of the older logging of Twisted and of twistd become objects, too."""
        out = io.StringIO()
        legacy_log.addObserver(added := observer(out, self.form, LogLevel.INFO))
        try:
            legacy_log.msg("from", "of old")
        finally:
            legacy_log.removeObserver(added)
        line = json.loads(out.getvalue())
        self.assertEqual((line["message"], line["event"]), ("from of old", "twisted.other"))


class HostileEventTests(LogTestCase):
    """Events that cannot be formatted."""

    def test_never_raises(self):
        """A broken event becomes a valid line in both forms."""
        for form in LogFormat:
            events: list[Any] = [
                {},
                {"log_format": "{missing}"},
                {"log_format": "{a.b.c}", "a": 1},
                {"log_format": b"\xff"},
                {"log_format": "{", "log_time": "x"},
                {"log_format": "{a}", "a": Unspeakable(), "log_level": Unspeakable()},
                {"log_format": "x", "log_time": float("inf"), "log_failure": Unspeakable()},
                {"log_format": "x", 5: 6, Unspeakable: 7, "n": 10**400},
                {"log_format": Unspeakable(), "log_namespace": Unspeakable()},
            ]
            for event in events:
                line = logs._safely(logs._LINES[form], event)
                self.assertTrue(line.endswith("\n"))
                if form is LogFormat.JSON:
                    self.assertIn("message", json.loads(line))
