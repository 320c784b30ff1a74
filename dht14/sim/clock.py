"""Virtual time: every timer and datagram of a simulated network on one heap.

`task.Clock` sorts all its timers again on every call, which leaves 447 events a second with 10,000 of
them waiting; a heap with lazy deletion stays above half a million. Events of the same instant run in
the order in which they were asked for, so a run depends on nothing but its seeds.
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
"""When, the number that settles ties, and a function with its argument, or None with a `HeapCall`.
Ties end at the number, so functions and arguments are never compared."""


class CallState(Enum):
    """A delayed call waits, and then leaves that state once and for good."""

    WAITING = "waiting"
    CALLED = "called"
    CANCELLED = "cancelled"


class ProcessState(Enum):
    """What the operating system does with a simulated process."""

    RUNNING = "running"
    FROZEN = "frozen"
    DEAD = "dead"


@implementer(IDelayedCall)
@define(eq=False)
class HeapCall:
    """One `callLater`: it stands on the heap under `ticket`; an entry with another number is stale."""

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
        """The time has come. Only the clock calls this."""
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

    What a called function raises leaves `run_until`: in a simulation a bug shall be loud.
    """

    COMPACT_ABOVE = 1024
    """Stale entries are swept out when there are more than these and than half of the heap."""

    STANDSTILL = 1_000_000
    """Events at one instant that are taken for a loop without end. A real clock would hide it as load."""

    def __init__(self, start: float = 0.0) -> None:
        self.events = 0
        self._now = start
        self._moved_at = 0
        """How many events there had been when time last moved."""
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
        """`callLater` for what is never cancelled, such as a datagram on its way: a quarter of the cost."""
        self._next_ticket = ticket = self._next_ticket + 1
        heappush(self._heap, (self._now + delay, ticket, function, argument))

    def run_until(self, time: float) -> None:
        """Run what is due up to and including `time`, and stop there."""
        while self._step(time):
            pass
        self._now = max(self._now, time)

    def run_until_true(self, condition: Callable[[], bool], deadline: float) -> bool:
        """Run until `condition()` holds, looking after every event; False when `deadline` came first."""
        while not condition():
            if not self._step(deadline):
                self._now = max(self._now, deadline)
                return False
        return True

    def call_for(
        self,
        process: "Process | None",
        delay: float,
        function: Callable[..., object],
        args: tuple[object, ...],
        kwargs: dict[str, object],
    ) -> HeapCall:
        """`callLater` in the name of a process."""
        if not delay >= 0:
            raise ValueError(f"a delay of {delay} s")
        call = HeapCall(self, process, self._now + delay, 0, function, args, kwargs)
        self._push(call)
        return call

    def calls(self) -> list[HeapCall]:
        """The delayed calls that wait, soonest first."""
        waiting = (entry for entry in self._heap if entry[2] is None and entry[3].ticket == entry[1])
        return [entry[3] for entry in sorted(waiting, key=lambda entry: entry[:2])]

    def move(self, call: HeapCall, when: float) -> None:
        """Let `call` happen at another time, never before now."""
        self.forget(call)
        call.when = max(when, self._now)
        self._push(call)

    def catch_up(self, call: HeapCall, ticket: int) -> None:
        """Let a call happen now that its frozen process missed, unless it was cancelled or moved since."""
        if call.ticket == ticket:
            call.when = self._now
            self._push(call)

    def forget(self, call: HeapCall) -> None:
        """Make the entry of `call` a stale one. It leaves the heap when it comes up, or in a sweep."""
        call.ticket = 0
        self._stale += 1
        if self._stale > self.COMPACT_ABOVE and self._stale * 2 > len(self._heap):
            self._heap[:] = [entry for entry in self._heap if entry[2] or entry[3].ticket == entry[1]]
            heapify(self._heap)
            self._stale = 0

    def _push(self, call: HeapCall) -> None:
        self._next_ticket = call.ticket = self._next_ticket + 1
        heappush(self._heap, (call.when, call.ticket, None, call))

    def _step(self, deadline: float) -> bool:
        """Run the next event if it is due by `deadline`."""
        heap = self._heap
        while heap and heap[0][0] <= deadline:
            when, ticket, function, argument = heappop(heap)
            if function is not None:
                self._move_to(when)
                function(argument)
                return True
            if argument.ticket != ticket:
                self._stale -= 1
            elif argument.process is None or argument.process.may_run(argument):
                self._move_to(when)
                argument.fire()
                return True
        return False

    def _move_to(self, when: float) -> None:
        self.events += 1
        if when > self._now:
            self._now = when
            self._moved_at = self.events
        elif self.events - self._moved_at > self.STANDSTILL:
            raise RuntimeError(f"time stands still: {self.STANDSTILL} events at {when}")


@implementer(IReactorTime)
@define(eq=False)
class Process:
    """The clock as one process sees it: its timers stop when it is frozen, and are gone when it is dead.

    Its own clock begins as the wall clock of its host, which may be wrong by `skew` seconds, and is never set
    (`cmd.steady_clock`); the wall clock may be, while the process runs.
    """

    _clock: HeapClock
    skew: float = 0.0
    """Seconds by which the wall clock is ahead of the true time."""
    state: ProcessState = field(default=ProcessState.RUNNING, init=False)
    _skew_at_first: float = field(init=False)
    _overdue: list[tuple[HeapCall, int]] = field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self._skew_at_first = self.skew

    def seconds(self) -> float:
        return self._clock.seconds() + self._skew_at_first

    def wall(self) -> float:
        """The time of day, as the host has it now."""
        return self._clock.seconds() + self.skew

    def local_time(self, when: float) -> float:
        """A moment of the true time, by the clock of the process."""
        return when + self._skew_at_first

    def callLater(
        self, delay: float, callable: Callable[..., object], *args: object, **kwargs: object
    ) -> HeapCall:
        return self._clock.call_for(self, delay, callable, args, kwargs)

    def getDelayedCalls(self) -> Sequence[IDelayedCall]:
        own = (call for call in self._clock.calls() if call.process is self)
        return [cast(IDelayedCall, call) for call in own]

    def freeze(self) -> None:
        """SIGSTOP: whatever falls due waits."""
        if self.state is ProcessState.RUNNING:
            self.state = ProcessState.FROZEN

    def thaw(self) -> None:
        """SIGCONT: what fell due meanwhile happens now, in its order."""
        if self.state is ProcessState.FROZEN:
            self.state = ProcessState.RUNNING
            overdue, self._overdue = self._overdue, []
            for call, ticket in overdue:
                self._clock.catch_up(call, ticket)

    def kill(self) -> None:
        """SIGKILL: nothing of it ever happens again."""
        self.state = ProcessState.DEAD
        self._overdue.clear()

    def may_run(self, call: HeapCall) -> bool:
        """Whether a call that is due may happen now. Only the clock asks."""
        if self.state is ProcessState.FROZEN:
            self._overdue.append((call, call.ticket))
        return self.state is ProcessState.RUNNING
