"""Timers of operations."""

from typing import TypeVar

from twisted.internet.interfaces import IDelayedCall

T = TypeVar("T")


def cancel_timer(timer: IDelayedCall | None) -> None:
    """Cancel a timer, unless it has fired or there is none."""
    if timer is not None and timer.active():
        timer.cancel()


def then_cancel(result: T, timer: IDelayedCall) -> T:
    """Cancel a timer and pass the result on: for `Deferred.addBoth`."""
    cancel_timer(timer)
    return result
