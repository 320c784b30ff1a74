"""The deadlines of many pending calls or operations, with one reactor timer."""

from collections.abc import Callable, Container
from heapq import heappop, heappush
from typing import Generic, TypeVar

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from dht14.node.timers import cancel_timer

TIMER_RESOLUTION = 0.005
"""Seconds; the timer fires at most once in this time, and so may be late by it."""

Id = TypeVar("Id", bytes, int)


class DeadlineQueue(Generic[Id]):
    """Calls `on_deadline(call_id, now)` for each deadline of a pending call. Deadlines of ended calls are
    skipped."""

    def __init__(
        self,
        clock: IReactorTime,
        pending: Container[Id],
        on_deadline: Callable[[Id, float], None],
        *,
        measures_all_turns: bool = False,
    ) -> None:
        """`measures_all_turns`: whether `turn` is measured even where no deadline is due."""
        self._clock = clock
        self._measures_all_turns = measures_all_turns
        self._pending: Container[Id] = pending
        self._on_deadline: Callable[[Id, float], None] = on_deadline
        self._heap: list[tuple[float, Id]] = []
        """Deadlines and ids of calls."""
        self._timer: IDelayedCall | None = None
        self._timer_at = 0.0
        self._fired_at = 0.0
        self.turn = 0.0
        """Seconds for which the reactor did other work between the last timer and its deadlines. It read all
        datagrams then that had come."""

    def add(self, seconds: float, call_id: Id, now: float) -> None:
        """Add a deadline `seconds` from now."""
        when = now + seconds
        heappush(self._heap, (when, call_id))
        if self._timer is None or self._timer_at > when + TIMER_RESOLUTION:
            self._set_timer(now)

    def add_next(self, when: float, call_id: Id) -> None:
        """Add the next deadline of a call, within `on_deadline`: the timer is set afterwards."""
        heappush(self._heap, (when, call_id))

    def clear(self) -> None:
        """Remove all deadlines."""
        cancel_timer(self._timer)
        self._timer = None
        self._heap.clear()

    def _set_timer(self, now: float) -> None:
        heap = self._heap
        if not self._is_any_left():
            return
        when = max(heap[0][0], now + TIMER_RESOLUTION)
        if self._timer is not None:
            if self._timer_at <= when + TIMER_RESOLUTION:
                return
            self._timer.cancel()
        self._timer_at = when
        self._timer = self._clock.callLater(when - now, self._timer_fired)

    def _is_any_left(self) -> bool:
        """Remove the first deadlines if their calls have ended. Return whether the next one is pending."""
        heap = self._heap
        while heap and heap[0][1] not in self._pending:
            heappop(heap)
        return bool(heap)

    def _timer_fired(self) -> None:
        now = self._clock.seconds()
        if self._measures_all_turns or (self._is_any_left() and self._heap[0][0] <= now):
            # The reactor first reads the datagrams that have come: after a stall of this process the replies
            # are already there, and no peer must count as slow because this process was.
            self._fired_at = now
            self._timer = self._clock.callLater(0, self._process)
        else:
            self._timer = None
            self._set_timer(now)

    def _process(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        self.turn = now - self._fired_at
        heap = self._heap
        while heap and heap[0][0] <= now:
            _, call_id = heappop(heap)
            if call_id in self._pending:
                self._on_deadline(call_id, now)
        self._set_timer(now)
