"""When the lookups of a node end at the latest. They share one timer: most end long before."""

from collections.abc import Callable
from itertools import count

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from dht14.node.deadline_queue import DeadlineQueue

LATE = 0.1
"""Seconds that a deadline is late at the most, unless this process was stopped or is very busy."""

TIME_AFTER_STOP = 1.0
"""Seconds that a lookup has when its deadline came late."""


@define(eq=False)
class LookupDeadlines:
    """The deadlines of the lookups that are under way."""

    clock: IReactorTime
    _running: dict[int, tuple[float, Callable[[], None]]] = field(factory=dict, init=False)
    """By the id of the lookup: its deadline, and what ends it."""
    _ids: "count[int]" = field(factory=count, init=False)
    _queue: DeadlineQueue[int] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._queue = DeadlineQueue(self.clock, self._running, self._passed)

    def begin(self, seconds: float, end: Callable[[], None]) -> int:
        """A lookup has begun. Call `end` after these seconds, unless it has ended. Returns its id."""
        lookup_id, now = next(self._ids), self.clock.seconds()
        self._running[lookup_id] = now + seconds, end
        self._queue.add(seconds, lookup_id, now)
        return lookup_id

    def ended(self, lookup_id: int) -> None:
        """The lookup has ended."""
        del self._running[lookup_id]

    def stop(self) -> None:
        """The node stops: end nothing any more."""
        self._queue.clear()

    def _passed(self, lookup_id: int, now: float) -> None:
        """End a lookup, unless this process was stopped: then answers have come that it has not read. Without
        them a read would end on what this node itself has, however old."""
        due, end = self._running[lookup_id]
        if now - due > LATE:
            self._running[lookup_id] = now + TIME_AFTER_STOP, end
            self._queue.add_next(now + TIME_AFTER_STOP, lookup_id)
        else:
            end()
