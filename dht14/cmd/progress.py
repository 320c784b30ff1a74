"""Progress of a long job: one line that is rewritten on a terminal, a new line every 10 s elsewhere."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from dht14.cmd.output import print_status

NOTICE_DELAY = 1.0
"""Seconds until a user at a terminal is told why nothing happens."""

TERMINAL_INTERVAL = 0.2
"""Seconds between two updates on a terminal."""

LOG_INTERVAL = 10.0
"""Seconds between two lines elsewhere: they show a later reader that the job goes on."""


class Ticker:
    """Calls a function every `interval` seconds from a thread of its own: also while the job stands still."""

    def __init__(self, call: Callable[[], None], interval: float = NOTICE_DELAY) -> None:
        self._call = call
        self._interval = interval
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def begin(self) -> None:
        """Begin to call."""
        self._thread.start()

    def end(self) -> None:
        """Call no more, from now on."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        # The job must go on when the reader of stderr has ended.
        with suppress(OSError, ValueError):
            while not self._over.wait(self._interval):
                self._call()


class RewrittenLine:
    """A line that is rewritten on a terminal; elsewhere each one is a new line, and there are fewer."""

    def __init__(self, stream: TextIO | None, now: float) -> None:
        """`stream`: None if nobody reads. `now`: a monotonic time, as in `is_due`."""
        self._stream = stream
        self._printed_at = now
        self._is_terminal = stream is not None and stream.isatty()

    @property
    def patience(self) -> float:
        """Seconds without news after which a reader wants to know that."""
        return NOTICE_DELAY if self._is_terminal else LOG_INTERVAL

    def is_due(self, now: float) -> bool:
        """Whether it is time to show another line; True counts as shown."""
        interval = TERMINAL_INTERVAL if self._is_terminal else LOG_INTERVAL
        if self._stream is None or now - self._printed_at < interval:
            return False
        self._printed_at = now
        return True

    def show(self, line: str, bar: str = "") -> None:
        """Show a line; on a terminal with a bar in front of it."""
        self._write(f"\r\x1b[K{bar}{line}" if self._is_terminal else f"{line}\n")

    def end(self) -> None:
        """Clear the line on a terminal."""
        if self._is_terminal:
            self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        if self._stream is not None:
            self._stream.write(text)
            self._stream.flush()


class ProgressLine:
    """Shows the progress of one job, its rate and the time that is left."""

    def __init__(
        self, stream: TextIO | None, doing: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._doing = doing
        self._clock = clock
        self._began = clock()
        self._line = RewrittenLine(stream, self._began)

    def update(self, done: int, count: int) -> None:
        """Report that `done` of `count` steps are done."""
        now = self._clock()
        if self._line.is_due(now):
            self._line.show(f"{self._doing}: {done} of {count}" + self._speed(done, count, now))

    def end(self) -> None:
        """Clear the line on a terminal."""
        self._line.end()

    def _speed(self, done: int, count: int, now: float) -> str:
        seconds = now - self._began
        if not done or seconds <= 0:
            return ""
        rate = done / seconds
        return f", {rate:,.0f}/s, {duration((count - done) / rate)} left"


class Heartbeat(Ticker):
    """Reports the progress of a run every `interval` seconds, also while no step ends."""

    def __init__(self, stream: TextIO, name: str, interval: float = LOG_INTERVAL) -> None:
        super().__init__(self._beat, interval)
        self._stream = stream
        self._name = name
        self._last = "started"
        self._began = time.monotonic()

    def update(self, phase: str, ended: int, count: int) -> None:
        """Note that `ended` of `count` steps of this phase are done."""
        self._last = f"{phase}: {ended} of {count}"

    def _beat(self) -> None:
        self._stream.write(f"{self._name}: {time.monotonic() - self._began:.0f} s, {self._last}\n")
        self._stream.flush()


def duration(seconds: float) -> str:
    """Format a duration in the unit that fits."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7_200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3_600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} days"


def counted(count: int, noun: str) -> str:
    """Format a number of things: `1 node`, `2 nodes`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


@contextmanager
def notice_if_slow(line: str) -> Iterator[None]:
    """Print a line on stderr, if it is a terminal, when the block takes longer than `NOTICE_DELAY`."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield
        return
    timer = threading.Timer(NOTICE_DELAY, print_status, (line,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
