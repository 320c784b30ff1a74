"""The clock of a node's process: it begins as the time of day, and nobody sets it after that.

A reactor's own clock is the host's. Set back by an hour, it would let every timer wait an hour more; set forward, it
would let every value expire. So a node has a clock of its own, and asks for the time of day only where a moment is
told to others: see `net.stack.build_stack`.
"""

import time
from collections.abc import Callable
from typing import Any

_UPTIME: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""On other systems there is no BOOTTIME; CLOCK_MONOTONIC counts sleep on macOS, and does not on the BSDs."""


def uptime() -> float:
    """Seconds that have really passed, those included for which the host slept: values grow older meanwhile, and peers
    have forgotten the sessions. `time.monotonic` does not count them on Linux."""
    return time.clock_gettime(_UPTIME)


def steady_clock(
    wall: Callable[[], float] = time.time, passed: Callable[[], float] = uptime
) -> Callable[[], float]:
    """A clock in seconds, which reads as the time of day does now and counts the seconds from here.

    It begins as the time of day because the disk outlives the process: the expiry of a value is written as this clock
    has it, and is right for a process that begins when this one is over.
    """
    ahead = wall() - passed()
    return lambda: ahead + passed()


def set_clock(reactor: Any, seconds: Callable[[], float]) -> None:
    """Let everything that this reactor times follow a steady clock. To be called before it runs.

    A reactor reads its clock, to set timers and to find those that are due, by this attribute alone. What has been set
    before stays right: both clocks read the same now.
    """
    reactor.seconds = seconds
