"""Periodic: runs a maintenance pass at regular intervals.

It starts with jitter, continues after a failed pass, and cancels the pass under way when it is stopped.
`LoopingCall` cannot be used: each one imports the global reactor, even to run on another clock, and so
installs one in a program that may not want it.
"""

import random
from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, FirstError, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from dht14.errors import CallFailed
from dht14.maintenance.metrics import PassMetrics
from dht14.node.timers import cancel_timer

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
    """Runs `one_pass` every `interval` seconds. A pass that takes longer delays the next one.

    `one_pass` returns a coroutine, a Deferred, or None when the pass has ended.
    """

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
        self._timer: IDelayedCall | None = None
        """None while a pass that it started is under way."""
        self._due_at = 0.0
        self._current: Deferred[Any] | None = None

    def startService(self) -> None:
        """Run the first pass about one interval from now."""
        super().startService()
        delay = self._interval * self._rng.uniform(1 - JITTER, 1 + JITTER)
        self._due_at = self._clock.seconds() + delay
        self._timer = self._clock.callLater(delay, self._on_time)

    def stopService(self) -> "Deferred[Any] | None":
        """Run no further pass, and cancel the one under way; fires when it has ended.

        A pass over all records takes long even if every call fails at once.
        """
        super().stopService()
        cancel_timer(self._timer)
        current = self._current
        if current is not None:
            current.cancel()
        return current

    def run_now(self) -> None:
        """Run a pass at once, unless one is under way or the service does not run."""
        if self.running and self._current is None:
            self._run_pass()

    def _on_time(self) -> None:
        self._timer = None
        current = self._run_pass()
        if current is None:
            self._set_timer(None)
        else:
            current.addBoth(self._set_timer)

    def _set_timer(self, _: object) -> None:
        """Plan the next pass an interval after this one was due; leave out those that are past."""
        if not self.running:
            return
        now = self._clock.seconds()
        missed = max(now - self._due_at, 0.0) // self._interval
        self._due_at += (missed + 1) * self._interval
        self._timer = self._clock.callLater(max(self._due_at - now, 0.0), self._on_time)

    def _run_pass(self) -> "Deferred[Any] | None":
        """Run a pass. Return None if it has ended, or if one started by `run_now` is still under way."""
        if self._current is not None:
            return None
        self._began = self._clock.seconds()
        try:
            result = self._one_pass()
        except Exception:  # noqa: BLE001 - as a Deferred does
            self._failed(Failure())
            self._ended(None)
            return None
        if result is None:
            # Most passes find nothing to do: they must not cost more than that.
            self._succeeded(None)
            self._ended(None)
            return None
        current = self._current = maybeDeferred(lambda: result)
        current.addCallbacks(self._succeeded, self._failed)
        return current.addBoth(self._ended)

    def _succeeded(self, _: object) -> None:
        self.metrics.succeeded += 1

    def _failed(self, failure: Failure) -> None:
        self.metrics.failed += 1
        if not self.running and was_cancelled(failure):
            return
        self.log.failure(
            "Maintenance pass {name!r} failed; the next one runs as planned. This is a bug.",
            failure,
            event="maintenance.bug",
            name=self.name,
        )

    def _ended(self, result: object) -> None:
        self.metrics.seconds += self._clock.seconds() - self._began
        self._current = None
