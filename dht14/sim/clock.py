"""Virtual time: every timer and datagram of a simulated network on one heap.

`task.Clock` sorts all its timers on every call: 447 events a second with 10,000 timers. A heap with lazy
deletion stays above half a million. Events of the same instant run in the order of their creation, so a run
depends on its seeds alone.
"""

from collections.abc import Callable, Sequence
from enum import Enum
from heapq import heapify, heappop, heappush
from typing import Any, cast

from attrs import define, field
from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

Event = tuple[float, int, Callable[[Any], None] | None, Any]
"""Time, a unique number, and a function with its argument, or None with a `HeapCall`. The number decides
ties, so functions and arguments are never compared."""


class CallState(Enum):
    """A delayed call leaves WAITING once."""

    WAITING = "waiting"
    CALLED = "called"
    CANCELLED = "cancelled"


class ProcessState(Enum):
    """The state of a simulated process."""

    RUNNING = "running"
    FROZEN = "frozen"
    DEAD = "dead"


@implementer(IDelayedCall)
@define(eq=False)
class HeapCall:
    """One `callLater`. Its heap entry has the number `ticket`; an entry with another number is stale."""

    _clock: "HeapClock"
    process: "Process | None"
    when: float
    ticket: int
    _function: Callable[..., object]
    _args: tuple[object, ...]
    _kwargs: dict[str, object]
    _state: CallState = CallState.WAITING

    def getTime(self) -> float:
        return self.when if self.process is None else self.process.local_time(self.when)

    def active(self) -> bool:
        return self._state is CallState.WAITING

    def cancel(self) -> None:
        self._require_waiting()
        self._state = CallState.CANCELLED
        self._clock.forget(self)

    def reset(self, secondsFromNow: float) -> None:
        self._require_waiting()
        self._clock.move(self, self._clock.seconds() + secondsFromNow)

    def delay(self, secondsLater: float) -> None:
        self._require_waiting()
        self._clock.move(self, self.when + secondsLater)

    def fire(self) -> None:
        """Call the function. Only the clock calls this."""
        self._state = CallState.CALLED
        self._function(*self._args, **self._kwargs)

    def _require_waiting(self) -> None:
        if self._state is CallState.CALLED:
            raise AlreadyCalled
        if self._state is CallState.CANCELLED:
            raise AlreadyCancelled


@implementer(IReactorTime)
class HeapClock:
    """`IReactorTime` on a heap. Nothing moves until `run_until` is called.

    An exception of a called function leaves `run_until`: a bug must stop a simulation.
    """

    COMPACT_ABOVE = 1024
    """Stale entries are removed when there are more than this number and than half of the heap."""

    STANDSTILL = 1_000_000
    """Events at one instant that count as an endless loop. With a real clock it would look like load."""

    def __init__(self, start: float = 0.0) -> None:
        self.events = 0
        self._now = start
        self._moved_at = 0
        """The number of events when time last moved."""
        self._heap: list[Event] = []
        self._next_ticket = 0
        self._stale = 0

    def seconds(self) -> float:
        return self._now

    def callLater(
        self, delay: float, callable: Callable[..., object], *args: object, **kwargs: object
    ) -> HeapCall:
        return self.call_for(None, delay, callable, args, kwargs)

    def getDelayedCalls(self) -> Sequence[IDelayedCall]:
        return [cast(IDelayedCall, call) for call in self.calls()]

    def post(self, delay: float, function: Callable[[Any], None], argument: object) -> None:
        """`callLater` for a call that is never cancelled, for example a datagram in flight, at a quarter of
        the cost."""
        self._next_ticket = ticket = self._next_ticket + 1
        heappush(self._heap, (self._now + delay, ticket, function, argument))

    def run_until(self, time: float) -> None:
        """Run all events up to and including `time`, and stop there."""
        self._run(time, lambda: False)
        self._now = max(self._now, time)

    def run_until_true(self, condition: Callable[[], bool], deadline: float) -> bool:
        """Run until `condition()` holds, checked after each event; False when `deadline` comes first."""
        if condition() or self._run(deadline, condition):
            return True
        self._now = max(self._now, deadline)
        return False

    def call_for(
        self,
        process: "Process | None",
        delay: float,
        function: Callable[..., object],
        args: tuple[object, ...],
        kwargs: dict[str, object],
    ) -> HeapCall:
        """`callLater` for a process."""
        if not delay >= 0:
            raise ValueError(f"a delay of {delay} s")
        call = HeapCall(self, process, self._now + delay, 0, function, args, kwargs)
        self._push(call)
        return call

    def calls(self) -> list[HeapCall]:
        """Return the waiting calls, soonest first."""
        waiting = (entry for entry in self._heap if entry[2] is None and entry[3].ticket == entry[1])
        return [entry[3] for entry in sorted(waiting, key=lambda entry: entry[:2])]

    def move(self, call: HeapCall, when: float) -> None:
        """Move `call` to another time, never before now."""
        self.forget(call)
        call.when = max(when, self._now)
        self._push(call)

    def catch_up(self, call: HeapCall, ticket: int) -> None:
        """Run now a call that a frozen process missed, unless it was cancelled or moved since."""
        if call.ticket == ticket:
            call.when = self._now
            self._push(call)

    def forget(self, call: HeapCall) -> None:
        """Make the heap entry of `call` stale. It is removed when its time comes, or with many others."""
        call.ticket = 0
        self._stale += 1
        if self._stale > self.COMPACT_ABOVE and self._stale * 2 > len(self._heap):
            self._heap[:] = [entry for entry in self._heap if entry[2] or entry[3].ticket == entry[1]]
            heapify(self._heap)
            self._stale = 0

    def _push(self, call: HeapCall) -> None:
        self._next_ticket = call.ticket = self._next_ticket + 1
        heappush(self._heap, (call.when, call.ticket, None, call))

    def _run(self, deadline: float, condition: Callable[[], bool]) -> bool:
        """Run the events that are due by `deadline`, until the condition holds after one of them; return
        whether it does."""
        # Everything that each event needs is in this loop: events come by the hundred million.
        heap, running = self._heap, ProcessState.RUNNING
        while heap and heap[0][0] <= deadline:
            when, ticket, function, argument = heappop(heap)
            if function is None:
                if argument.ticket != ticket:
                    self._stale -= 1
                    continue
                process = argument.process
                if process is not None and process.state is not running:
                    process.missed(argument)
                    continue
            self.events += 1
            if when > self._now:
                self._now = when
                self._moved_at = self.events
            elif self.events - self._moved_at > self.STANDSTILL:
                raise RuntimeError(f"time stands still: {self.STANDSTILL} events at {when}")
            if function is None:
                argument.fire()
            else:
                function(argument)
            if condition():
                return True
        return False


@implementer(IReactorTime)
@define(eq=False)
class Process:
    """The clock of one process: its timers stop while it is frozen, and end when it is dead.

    Its steady clock starts with the wall clock of its host, which is wrong by `skew` seconds, and is never
    set (`app.reactor_clock`). The wall clock can be set while the process runs.
    """

    _clock: HeapClock
    skew: float = 0.0
    """Seconds by which the wall clock is ahead of true time."""
    state: ProcessState = field(default=ProcessState.RUNNING, init=False)
    _skew_at_first: float = field(init=False)
    _overdue: list[tuple[HeapCall, int]] = field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self._skew_at_first = self.skew

    def seconds(self) -> float:
        return self._clock.seconds() + self._skew_at_first

    def wall(self) -> float:
        """Return the time of the host's wall clock."""
        return self._clock.seconds() + self.skew

    def local_time(self, when: float) -> float:
        """Convert a true time to the steady clock of the process."""
        return when + self._skew_at_first

    def callLater(
        self, delay: float, callable: Callable[..., object], *args: object, **kwargs: object
    ) -> HeapCall:
        return self._clock.call_for(self, delay, callable, args, kwargs)

    def getDelayedCalls(self) -> Sequence[IDelayedCall]:
        own = (call for call in self._clock.calls() if call.process is self)
        return [cast(IDelayedCall, call) for call in own]

    def freeze(self) -> None:
        """SIGSTOP: calls wait from now on."""
        if self.state is ProcessState.RUNNING:
            self.state = ProcessState.FROZEN

    def thaw(self) -> None:
        """SIGCONT: run the calls that were missed, in order."""
        if self.state is ProcessState.FROZEN:
            self.state = ProcessState.RUNNING
            overdue, self._overdue = self._overdue, []
            for call, ticket in overdue:
                self._clock.catch_up(call, ticket)

    def kill(self) -> None:
        """SIGKILL: no call runs any more."""
        self.state = ProcessState.DEAD
        self._overdue.clear()

    def missed(self, call: HeapCall) -> None:
        """A call came due while the process did not run. If it is frozen, the call runs after `thaw`. Only
        the clock calls this."""
        if self.state is ProcessState.FROZEN:
            self._overdue.append((call, call.ticket))
