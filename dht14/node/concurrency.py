"""Limits on how much of one kind is done at once."""

from collections import deque
from collections.abc import Coroutine, Iterable
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.interfaces import IReactorTime

from dht14.node.timers import then_cancel


@define(eq=False)
class ConcurrencyLimit:
    """The turns at one thing. Who has waited for `patience` seconds begins without one: where turns are held by what
    hangs, nobody else fails for that."""

    _clock: IReactorTime
    _width: int
    """How many at once."""
    _patience: float
    _running: int = field(default=0, init=False)
    _waiting: "deque[Deferred[None]]" = field(factory=deque, init=False)

    def acquire(self) -> "Deferred[None]":
        """Fires when it may begin; `release` is due when that has ended. One that is cancelled before waits no more,
        and has nothing to give back."""
        if self._running < self._width:
            self._running += 1
            return succeed(None)
        turn: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(turn)
        timer = self._clock.callLater(self._patience, self._out_of_patience, turn)
        return turn.addBoth(then_cancel, timer)

    def release(self) -> None:
        """Somebody who began has ended: the next one begins."""
        self._running -= 1
        while self._waiting and self._running < self._width:
            self._begin(self._waiting.popleft())

    def _out_of_patience(self, turn: "Deferred[None]") -> None:
        self._waiting.remove(turn)
        self._begin(turn)

    def _begin(self, turn: "Deferred[None]") -> None:
        self._running += 1
        turn.callback(None)


def run_limited(jobs: Iterable[Coroutine[Any, Any, object]], limit: int) -> "Deferred[list[None]]":
    """Run coroutines, at most `limit` of them at once; fires when all have ended.

    `jobs` is asked for the next coroutine only when it can begin. One that raises ends its lane, and its failure is
    reported at once.
    """
    waiting = iter(jobs)

    async def lane() -> None:
        for job in waiting:
            await job

    lanes = [Deferred.fromCoroutine(lane()) for _ in range(limit)]
    return gatherResults(lanes, consumeErrors=True)
