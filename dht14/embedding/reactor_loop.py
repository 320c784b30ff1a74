"""Files on Twisted: the reactor as the loop of the calls for files."""

from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar, cast

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from dht14.client.file_loop import run_in_thread
from dht14.node.concurrency import DeferredJob

T = TypeVar("T")


@frozen
class ReactorLoop:
    """A `FileLoop`."""

    _reactor: Any

    def start(self, job: Coroutine[Any, Any, T]) -> DeferredJob[T]:
        """As `FileLoop`."""
        return DeferredJob.of(job)

    async def sleep(self, seconds: float) -> None:
        """As `FileLoop`."""
        await deferLater(self._reactor, seconds)

    def in_thread(self, call: Callable[..., T], *arguments: Any) -> "Deferred[T]":
        """As `FileLoop`."""
        awaited: Deferred[T] = Deferred()
        self._run(call, arguments, awaited, Deferred())
        return awaited

    async def undisturbed(self, call: Callable[..., T], *arguments: Any) -> T:
        """As `FileLoop`."""
        awaited: Deferred[T] = Deferred()
        ended: Deferred[None] = Deferred()
        self._run(call, arguments, awaited, ended)
        try:
            return await awaited
        except CancelledError:
            await ended
            raise

    def _run(
        self,
        call: Callable[..., T],
        arguments: tuple[Any, ...],
        awaited: "Deferred[T]",
        ended: "Deferred[None]",
    ) -> None:
        def settle(result: T | None, error: Exception | None) -> None:
            if awaited.called:  # It was cancelled.
                pass
            elif error is not None:
                awaited.errback(error)
            else:
                awaited.callback(cast(T, result))
            ended.callback(None)

        def tell(result: T | None, error: Exception | None) -> None:
            with suppress(RuntimeError):  # The loop below the reactor has ended meanwhile.
                self._reactor.callFromThread(settle, result, error)

        run_in_thread(call, arguments, tell)
