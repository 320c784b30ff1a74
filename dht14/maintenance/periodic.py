"""Periodic: runs a maintenance pass at regular intervals.

A LoopingCall that starts with jitter, continues after a failed pass, and cancels the pass under way when it
is stopped.
"""

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
"""The first pass runs after one interval times 1 ± JITTER, so that nodes started together spread out."""


def was_cancelled(failure: Failure) -> bool:
    """Whether work failed because it was cancelled, or because the RPC layer has stopped.

    Each level of concurrent parts wraps the failure in one `FirstError`.
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
        """Run the first pass about one interval from now."""
        super().startService()
        delay = self._interval * self._rng.uniform(1 - JITTER, 1 + JITTER)
        self._first = self._clock.callLater(delay, self._loop.start, self._interval)

    def stopService(self) -> "Deferred[Any] | None":
        """Run no further pass, and cancel the one under way; fires when it has ended.

        A pass over all records takes long even if every call fails at once.
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
        """Run a pass at once, unless one is under way or the service does not run."""
        if self.running and self._current is None:
            self._run_pass()

    def _run_pass(self) -> "Deferred[Any]":
        if self._current is not None:
            return succeed(None)  # A pass started by `run_now` is still under way.
        self._began = self._clock.seconds()
        self._current = maybeDeferred(self._one_pass)
        self._current.addCallbacks(self._succeeded, self._failed)
        self._current.addBoth(self._ended)
        return self._current

    def _succeeded(self, _: object) -> None:
        self.metrics.succeeded += 1

    def _failed(self, failure: Failure) -> None:
        self.metrics.failed += 1
        if not self.running and was_cancelled(failure):
            return
        self.log.failure(
            "Maintenance pass {name!r} failed; the next one runs as planned. This is a bug.",
            failure,
            name=self.name,
        )

    def _ended(self, result: object) -> None:
        self.metrics.seconds += self._clock.seconds() - self._began
        self._current = None
