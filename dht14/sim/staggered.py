"""Operations that begin one after another on the virtual clock, and may overlap."""

from collections.abc import Callable
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from dht14.sim.clock import HeapClock

T = TypeVar("T")

OnEnded = Callable[[int], None]
"""Called after each operation with the number of those that have ended."""

STUCK_SECONDS = 60.0
"""Seconds after which an operation without a response is a bug."""


def ignore(ended: int) -> None:
    """Ignore the progress."""


def run_staggered(
    clock: HeapClock, start: "Callable[[int], Deferred[T]]", count: int, gap: float, progress: OnEnded
) -> list[T]:
    """Call `start` with 0, 1, 2 and so on, `gap` seconds apart; return the results, in this order.

    Raises the first failure, and AssertionError when an operation is stuck.
    """
    results: dict[int, T] = {}
    failures: list[Failure] = []

    def run(turn: int) -> None:
        start(turn).addCallback(ended, turn).addErrback(failures.append)

    def ended(result: T, turn: int) -> None:
        results[turn] = result
        progress(len(results))

    for turn in range(count):
        clock.post(turn * gap, run, turn)
    deadline = clock.seconds() + count * gap + STUCK_SECONDS
    over = clock.run_until_true(lambda: len(results) == count or bool(failures), deadline)
    for failure in failures:
        failure.raiseException()
    assert over, f"{count - len(results)} of {count} operations did not end within {STUCK_SECONDS} s"
    return [results[turn] for turn in range(count)]
