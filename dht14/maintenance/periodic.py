"""A pass of upkeep, again and again: a LoopingCall that starts with jitter and outlives a failed pass."""

import random
from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, FirstError, maybeDeferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from dht14.errors import CallFailed
from dht14.maintenance.metrics import PassMetrics

JITTER = 0.2
"""The first pass comes after an interval of 1 ± JITTER: nodes started together spread out."""


def was_cut(failure: Failure) -> bool:
    """Whether work failed because it was cancelled, or because no call is answered any more.

    Work of several parts says so in as many wrappings as there were parts of parts.
    """
    while isinstance(failure.value, FirstError):
        failure = failure.value.subFailure
    return failure.check(CancelledError, CallFailed) is not None


class Periodic(Service):
    """Runs `one_pass` every `interval` seconds. A pass that takes longer delays the next one."""

    log = Logger()

    def __init__(
        self,
        name: str,
        interval: float,
        one_pass: Callable[[], Any],
        clock: IReactorTime,
        rng: random.Random,
    ) -> None:
        self.setName(name)
        self._interval = interval
        self._one_pass = one_pass
        self._clock = clock
        self._rng = rng
        self.metrics = PassMetrics()
        self._began = 0.0
        self._first: IDelayedCall | None = None
        self._current: Deferred[Any] | None = None
        self._loop = LoopingCall(self._run_pass)
        self._loop.clock = clock

    def startService(self) -> None:
        """The first pass comes about one interval from now."""
        super().startService()
        delay = self._interval * self._rng.uniform(1 - JITTER, 1 + JITTER)
        self._first = self._clock.callLater(delay, self._loop.start, self._interval)

    def stopService(self) -> "Deferred[Any] | None":
        """No further pass, and the one at work is cancelled; fires when it has ended.

        It may be walking through all records: even where every call fails at once that takes long.
        """
        super().stopService()
        if self._first is not None and self._first.active():
            self._first.cancel()
        if self._loop.running:
            self._loop.stop()
        current = self._current
        if current is not None:
            current.cancel()
        return current

    def run_now(self) -> None:
        """Run a pass at once, unless one is at work or the service does not run."""
        if self.running and self._current is None:
            self._run_pass()

    def _run_pass(self) -> "Deferred[Any]":
        if self._current is not None:
            return succeed(None)  # One that was asked for is still at work.
        self._began = self._clock.seconds()
        self._current = maybeDeferred(self._one_pass)
        self._current.addCallbacks(self._succeeded, self._failed)
        self._current.addBoth(self._ended)
        return self._current

    def _succeeded(self, _: object) -> None:
        self.metrics.succeeded += 1

    def _failed(self, failure: Failure) -> None:
        self.metrics.failed += 1
        if not self.running and was_cut(failure):
            return
        self.log.failure("The pass {name!r} failed; the next one comes as planned.", failure, name=self.name)

    def _ended(self, result: object) -> None:
        self.metrics.seconds += self._clock.seconds() - self._began
        self._current = None
