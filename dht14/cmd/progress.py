"""How far a long piece of work has got: a line that is rewritten on a terminal, a line now and then elsewhere."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TextIO

EYES_INTERVAL = 0.2
"""Seconds between two looks at the progress, for eyes."""

LOG_INTERVAL = 10.0
"""Seconds between two lines where nobody looks: whoever reads them wants to know that it goes on."""


class ProgressLine:
    """Tells of one piece of work, with its rate and the time that is left."""

    def __init__(
        self, stream: TextIO | None, doing: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = stream
        self._doing = doing
        self._clock = clock
        self._began = self._told = clock()
        self._is_terminal = stream is not None and stream.isatty()

    def at(self, done: int, count: int) -> None:
        """So many of so many are done."""
        if self._stream is None:
            return
        now = self._clock()
        interval = EYES_INTERVAL if self._is_terminal else LOG_INTERVAL
        if now - self._told < interval:
            return
        self._told = now
        line = f"{self._doing}: {done} of {count}" + self._speed(done, count, now)
        self._stream.write(f"\r\x1b[K{line}" if self._is_terminal else f"{line}\n")
        self._stream.flush()

    def end(self) -> None:
        """Leave a clean line."""
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
    """Says every so often how far a run is, also while nothing is finished: from a thread of its own."""

    def __init__(self, stream: TextIO, name: str, interval: float = LOG_INTERVAL) -> None:
        self._stream = stream
        self._name = name
        self._interval = interval
        self._last = "begun"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def begin(self) -> None:
        """Begin to tell."""
        self._thread.start()

    def end(self) -> None:
        """Tell no more."""
        self._over.set()
        self._thread.join()

    def at(self, phase: str, ended: int, count: int) -> None:
        """The run is in this phase, of which so many of so many steps are done."""
        self._last = f"{phase}: {ended} of {count}"

    def _beat(self) -> None:
        began = time.monotonic()
        # A reader that has gone is no reason to end the run.
        with suppress(OSError, ValueError):
            while not self._over.wait(self._interval):
                self._stream.write(f"{self._name}: {time.monotonic() - began:.0f} s, {self._last}\n")
                self._stream.flush()


def duration(seconds: float) -> str:
    """About so long, in the unit that fits."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7_200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3_600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} days"
