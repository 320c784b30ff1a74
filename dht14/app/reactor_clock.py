"""The clock of a node's process: it starts at the time of day, and nothing sets it after that.

A reactor reads the clock of the host. If that is set back by an hour, every timer waits an hour longer; if it
is set forward, every value expires. So a node has its own clock, and reads the time of day only for times
that other nodes judge: see `StackInputs.wall`.
"""

import time
from collections.abc import Callable
from typing import Any

_UPTIME: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Other systems than Linux have no BOOTTIME. CLOCK_MONOTONIC counts sleep on macOS, and not on the BSDs."""


def uptime() -> float:
    """Return the seconds that have passed, also while the host slept.

    Values grow older in that time, and peers forget the sessions. On Linux `time.monotonic` does not count
    it.
    """
    return time.clock_gettime(_UPTIME)


def monotonic_clock(
    wall: Callable[[], float] = time.time, passed: Callable[[], float] = uptime
) -> Callable[[], float]:
    """Make a clock that reads the time of day now, and counts seconds from here.

    It starts at the time of day because the disk outlives the process: the expiry of a value is stored in the
    time of this clock, and must be right for the next process.
    """
    ahead = wall() - passed()
    return lambda: ahead + passed()


def set_reactor_clock(reactor: Any, seconds: Callable[[], float]) -> None:
    """Make a reactor use this clock for all its timers. Call it before the reactor runs.

    A reactor reads its clock only through this attribute. Timers that are set already stay right: both clocks
    read the same now.
    """
    reactor.seconds = seconds
