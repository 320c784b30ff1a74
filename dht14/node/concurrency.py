"""Operations beside one another: limits on how many run at once, and one that its caller may discard."""

import math
from collections import deque
from collections.abc import Coroutine, Generator, Iterable, Iterator
from typing import Any, Generic, TypeVar

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, DeferredList, FirstError, gatherResults, succeed
from twisted.internet.interfaces import IReactorTime

from dht14.node.timers import then_cancel

T = TypeVar("T")


@define(eq=False)
class ConcurrencyLimit:
    """A semaphore with a timeout: after `timeout` seconds of waiting an operation begins all the same.

    So operations that hang make the others wait, but not fail. Without a timeout each waits for its turn.
    """

    _clock: IReactorTime
    _limit: int
    """Operations that run at once."""
    _timeout: float = math.inf
    _running: int = field(default=0, init=False)
    _waiting: "deque[Deferred[None]]" = field(factory=deque, init=False)
    _is_releasing: bool = field(default=False, init=False)

    def acquire(self) -> "Deferred[None]":
        """Fires when the operation may begin; call `release` when it has ended.

        If the Deferred is cancelled before it fires, the operation waits no longer and has nothing to
        release.
        """
        if self._running < self._limit:
            self._running += 1
            return succeed(None)
        turn: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(turn)
        if self._timeout == math.inf:
            return turn
        timer = self._clock.callLater(self._timeout, self._timed_out, turn)
        return turn.addBoth(then_cancel, timer)

    def release(self) -> None:
        """An operation has ended: begin the next."""
        self._running -= 1
        if self._is_releasing:
            return  # Operations that end at once must not begin one another: thousands of them may wait.
        self._is_releasing = True
        try:
            while self._waiting and self._running < self._limit:
                self._begin(self._waiting.popleft())
        finally:
            self._is_releasing = False

    def _timed_out(self, turn: "Deferred[None]") -> None:
        self._waiting.remove(turn)
        self._begin(turn)

    def _begin(self, turn: "Deferred[None]") -> None:
        self._running += 1
        turn.callback(None)


def run_limited(jobs: Iterable[Coroutine[Any, Any, object]], limit: int) -> "Deferred[None]":
    """Run coroutines, at most `limit` of them at once; fires when all have ended.

    The next coroutine is taken from `jobs` only when it can begin. If one raises, no other begins and those
    under way are cancelled; when they have ended, too, its exception is raised. Nothing goes on behind a
    caller that was told the end.
    """
    return Deferred.fromCoroutine(_run_limited(iter(jobs), limit))


async def _run_limited(waiting: Iterator[Coroutine[Any, Any, object]], limit: int) -> None:
    is_over = False

    async def worker() -> None:
        nonlocal is_over
        try:
            while not is_over and (job := next(waiting, None)) is not None:
                await job
        except BaseException:
            is_over = True
            raise

    workers = [Deferred.fromCoroutine(worker()) for _ in range(limit)]
    try:
        await gatherResults(workers)
    except FirstError as first:
        for one in workers:
            one.cancel()
        await DeferredList(workers, consumeErrors=True)
        first.subFailure.raiseException()


@frozen
class DeferredJob(Generic[T]):
    """A coroutine that runs beside its caller: a `Job` of the calls for files."""

    _running: "Deferred[T]"

    @classmethod
    def of(cls, job: Coroutine[Any, Any, T]) -> "DeferredJob[T]":
        """Start a coroutine."""
        return cls(Deferred.fromCoroutine(job))

    def __await__(self) -> Generator[Any, None, T]:
        return self._running.__await__()

    def discard(self) -> None:
        """Cancel it; its result or error is of no interest any more."""
        self._running.addErrback(lambda _: None)
        self._running.cancel()
