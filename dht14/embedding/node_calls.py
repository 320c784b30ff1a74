"""The calls under way at one node of this process."""

from collections.abc import Coroutine
from typing import Any, TypeVar

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime

from dht14.client.errors import NotReady
from dht14.client.plans import Plan
from dht14.embedding.node_plans import carry_out
from dht14.net.api.readiness import Readiness
from dht14.node.concurrency import ConcurrencyLimit

T = TypeVar("T")

CALLS_AT_ONCE = 64
"""As many as on a connection of the API. Of thousands at once hardly one would end in time."""


@define(eq=False)
class NodeCalls:
    """The calls of one node, from its start to its stop. None of them outlives it: what they wait for, timers
    and the disk, may never come then."""

    _readiness: Readiness
    _clock: IReactorTime
    _turns: ConcurrencyLimit = field(init=False)
    _running: "set[Deferred[Any]]" = field(factory=set, init=False)
    _is_over: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._turns = ConcurrencyLimit(self._clock, CALLS_AT_ONCE)

    def run(self, call: Coroutine[Any, Any, T]) -> "Deferred[T]":
        """Run a call. It fails with `NotReady` when the node has stopped meanwhile."""
        running = Deferred.fromCoroutine(self._until_stop(call))
        self._running.add(running)
        return running.addBoth(self._ended, running)

    async def carry_out(self, plan: Plan[T]) -> T:
        """Carry out a plan when its turn has come. Raises what it raises."""
        await self._turns.acquire()
        try:
            if self._is_over:
                raise NotReady
            return await carry_out(plan, self._readiness, self._clock.seconds, lambda: self._is_over)
        except NotReady:
            raise not_ready(self._readiness) from None
        finally:
            self._turns.release()

    def stopping(self) -> None:
        """The node begins to stop: what waits for its turn is not begun."""
        self._is_over = True

    def end(self) -> None:
        """The node has stopped: end all calls."""
        for running in list(self._running):
            running.cancel()

    async def _until_stop(self, call: Coroutine[Any, Any, T]) -> T:
        try:
            return await call
        except CancelledError:
            if self._is_over:
                raise not_ready(self._readiness) from None
            raise

    def _ended(self, result: T, running: "Deferred[Any]") -> T:
        self._running.discard(running)
        return result


def not_ready(readiness: Readiness, advice: str = "wait for ready() first") -> NotReady:
    """Return the error of a call for which the node is not ready, or not any more."""
    awaited = ", ".join(sorted(step.value for step in readiness.pending_steps))
    if not awaited:
        return NotReady("the node was stopped")
    return NotReady(f"the node is not ready: it waits for {awaited}, or was stopped; {advice}")
