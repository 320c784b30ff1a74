"""Lines about a file that is put or fetched: what it takes, how far it is, what became of it."""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TextIO

from dht14.client.file_values import FileProgress
from dht14.cmd.progress import TERMINAL_INTERVAL, RewrittenLine, counted, duration

BAR_CHARACTERS = 24

RATE_SECONDS = 10.0
"""The rate is that of this time: it follows a network that becomes slower or faster."""

DEFAULT_SHARE = 469_000_000
"""Bytes that a node with the default [storage] limits holds of one writer, if it holds nothing else."""


class TransferLine:
    """Shows the progress of one file: a bar on a terminal, a new line every 10 s elsewhere."""

    def __init__(
        self, stream: TextIO | None, doing: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`doing` is said before the numbers: "stored", "fetched"."""
        self._doing = doing
        self._clock = clock
        self._line = RewrittenLine(stream, clock())
        self._moved: deque[tuple[float, int]] = deque()
        """Times, and the bytes that were done by then."""
        self._last = FileProgress(bytes_done=0, bytes_total=None)
        self._heard_at = clock()
        self._lock = threading.Lock()
        """The client reports from its thread, and the ticks come from another one."""

    def update(self, progress: FileProgress) -> None:
        """Show how far the file is, unless that was just shown."""
        with self._lock:
            self._update(progress, self._clock())

    def tick(self) -> None:
        """Show that nothing moves, if that is so. Call it every second or so."""
        with self._lock:
            now = self._clock()
            still = now - self._heard_at
            if still >= self._line.patience and self._line.is_due(now):
                line = f"{self._doing}{self._amount(self._last)}; no progress for {duration(still)}"
                self._line.show(line, self._bar(self._last))

    def _update(self, progress: FileProgress, now: float) -> None:
        self._last, self._heard_at = progress, now
        if not self._moved or now - self._moved[-1][0] >= TERMINAL_INTERVAL:
            self._moved.append((now, progress.bytes_done))
        while len(self._moved) > 2 and now - self._moved[1][0] >= RATE_SECONDS:
            self._moved.popleft()
        if self._line.is_due(now):
            line = self._doing + self._amount(progress) + self._speed(progress)
            self._line.show(line, self._bar(progress))

    def end(self) -> None:
        """Clear the line on a terminal."""
        self._line.end()

    def _bar(self, now: FileProgress) -> str:
        if not now.bytes_total:
            return ""
        full = BAR_CHARACTERS * min(now.bytes_done, now.bytes_total) // now.bytes_total
        return f"[{'#' * full}{'.' * (BAR_CHARACTERS - full)}] "

    def _amount(self, now: FileProgress) -> str:
        if not now.bytes_total:
            return f" {bytes_text(now.bytes_done)}"
        percent = 100 * now.bytes_done // now.bytes_total
        return f" {percent} %, {bytes_text(now.bytes_done)} of {bytes_text(now.bytes_total)}"

    def _speed(self, now: FileProgress) -> str:
        (began, before), (ended, behind) = self._moved[0], self._moved[-1]
        if behind <= before or ended <= began:
            return ""
        rate = (behind - before) / (ended - began)
        text = f", {bytes_text(rate)}/s"
        if now.bytes_total is None:
            return text
        return f"{text}, {duration((now.bytes_total - now.bytes_done) / rate)} left"


def storage_line(now: FileProgress) -> str:
    """Say what a file takes of the network, as far as it is known when its first piece is stored."""
    parts = []
    # A small network has fewer copies than are wanted. Stand-ins may have made more: they are not asked for.
    copies = min(now.copies or now.wanted or 0, now.wanted or 0)
    if now.bytes_total and copies:
        needed = now.bytes_total * copies
        count = f"{copies} copies" if copies > 1 else "1 copy"
        verb = "take" if copies > 1 else "takes"
        parts.append(f"{count} of {bytes_text(now.bytes_total)} {verb} {bytes_text(needed)}")
        nodes = -(-needed // DEFAULT_SHARE)
        if nodes > copies:
            parts.append(f"that takes {nodes} nodes or more with the default storage_limit")
    if now.expires_in is not None:
        parts.append(f"it expires after {duration(now.expires_in)}, unless you put it again")
    return "; ".join(parts)


def bytes_text(count: float) -> str:
    """Format a number of bytes in the unit that fits."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    if unit == "bytes":
        return counted(round(count), "byte")
    return f"{count:,.1f} {unit}"
