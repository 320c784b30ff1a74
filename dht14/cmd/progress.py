"""Progress of a long job: one line that is rewritten on a terminal, a new line every 10 s elsewhere."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TextIO

TERMINAL_INTERVAL = 0.2
"""Seconds between two updates on a terminal."""

LOG_INTERVAL = 10.0
"""Seconds between two lines elsewhere: they show a later reader that the job goes on."""


class ProgressLine:
    """Shows the progress of one job, its rate and the time that is left."""

    def __init__(
        self, stream: TextIO | None, doing: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = stream
        self._doing = doing
        self._clock = clock
        self._began = self._printed_at = clock()
        self._is_terminal = stream is not None and stream.isatty()

    def update(self, done: int, count: int) -> None:
        """Report that `done` of `count` steps are done."""
        if self._stream is None:
            return
        now = self._clock()
        interval = TERMINAL_INTERVAL if self._is_terminal else LOG_INTERVAL
        if now - self._printed_at < interval:
            return
        self._printed_at = now
        line = f"{self._doing}: {done} of {count}" + self._speed(done, count, now)
        self._stream.write(f"\r\x1b[K{line}" if self._is_terminal else f"{line}\n")
        self._stream.flush()

    def end(self) -> None:
        """Clear the line on a terminal."""
        if self._stream is not None and self._is_terminal:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def _speed(self, done: int, count: int, now: float) -> str:
        seconds = now - self._began
        if not done or seconds <= 0:
            return ""
        rate = done / seconds
        return f", {rate:,.0f}/s, {duration((count - done) / rate)} left"


class Heartbeat:
    """Reports the progress of a run every `interval` seconds, from its own thread: also while no step
    ends."""

    def __init__(self, stream: TextIO, name: str, interval: float = LOG_INTERVAL) -> None:
        self._stream = stream
        self._name = name
        self._interval = interval
        self._last = "started"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def begin(self) -> None:
        """Begin to report."""
        self._thread.start()

    def end(self) -> None:
        """Stop the reports."""
        self._over.set()
        self._thread.join()

    def update(self, phase: str, ended: int, count: int) -> None:
        """Note that `ended` of `count` steps of this phase are done."""
        self._last = f"{phase}: {ended} of {count}"

    def _beat(self) -> None:
        began = time.monotonic()
        # The run must go on when the reader of stderr has ended.
        with suppress(OSError, ValueError):
            while not self._over.wait(self._interval):
                self._stream.write(f"{self._name}: {time.monotonic() - began:.0f} s, {self._last}\n")
                self._stream.flush()


def duration(seconds: float) -> str:
    """Format a duration in the unit that fits."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7_200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3_600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} days"
