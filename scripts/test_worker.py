"""One process of `run_tests.py`: it runs tests with trial, one after another, and returns their outcomes."""

import os
import time
from collections.abc import Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

from attrs import frozen
from twisted.logger import (
    ILogObserver,
    LogEvent,
    formatEventAsClassicLogText,
    globalLogBeginner,
    globalLogPublisher,
)
from twisted.trial.reporter import TestResult
from twisted.trial.runner import TestLoader, TrialSuite
from zope.interface import implementer

SHOWN = 20_000
"""Characters of a traceback or a log that are shown: of a longer text its beginning and its end."""


class Verdict(Enum):
    """The result of one test, as it is counted."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@frozen
class Outcome:
    """One test that has ended."""

    name: str
    promise: str
    """The first line of its docstring."""
    verdict: Verdict
    seconds: float
    details: tuple[str, ...] = ()
    """Tracebacks, or reasons to skip it."""
    log: str = ""


def found(names: Sequence[str]) -> list[Any]:
    """Return all tests that these names stand for."""
    return list(_flat(TestLoader().loadByNames(list(names), recurse=True)))


def _flat(suite: Any) -> Iterator[Any]:
    try:
        members = iter(suite)
    except TypeError:
        yield suite
    else:
        for member in members:
            yield from _flat(member)


def begin_worker(directory: str) -> None:
    """Give a new worker its own directory, and drop the log events that no test observes."""
    own = Path(directory) / str(os.getpid())
    own.mkdir(parents=True)
    os.chdir(own)
    globalLogBeginner.beginLoggingTo((), redirectStandardIO=False)


def run_one(name: str) -> Outcome:
    """Run the test of this name."""
    lines: list[str] = []

    @implementer(ILogObserver)
    def keep(event: LogEvent) -> None:
        lines.append(formatEventAsClassicLogText(event) or "")

    (test,) = found([name])
    result: Any = TestResult()
    globalLogPublisher.addObserver(keep)
    began = time.monotonic()
    try:
        TrialSuite([test]).run(result)
    finally:
        globalLogPublisher.removeObserver(keep)
    seconds = time.monotonic() - began
    verdict, details = judge(result)
    log = _cut("".join(lines)) if verdict is Verdict.FAILED else ""
    promise = " ".join((test.shortDescription() or "").split())
    return Outcome(name, promise, verdict, seconds, tuple(map(_cut, details)), log)


def judge(result: Any) -> tuple[Verdict, list[str]]:
    """Return the verdict of a trial result of one test, with tracebacks or reasons."""
    failures = [failure.getTraceback() for _, failure in [*result.failures, *result.errors]]
    failures += ["It passed, though it is marked as failing." for _ in result.unexpectedSuccesses]
    if failures:
        return Verdict.FAILED, failures
    if result.skips:
        return Verdict.SKIPPED, [str(reason) for _, reason in result.skips]
    if result.successes or result.expectedFailures:
        return Verdict.PASSED, []
    return Verdict.FAILED, ["It has no result."]


def _cut(text: str) -> str:
    left_out = len(text) - SHOWN
    return text if left_out <= 0 else f"{text[: SHOWN // 2]}\n[{left_out} characters]\n{text[-SHOWN // 2 :]}"
