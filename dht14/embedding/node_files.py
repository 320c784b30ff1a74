"""The files that come and go through one node of this process."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred

from dht14.client.errors import NotReady
from dht14.client.file_loop import FileLoop
from dht14.embedding.reactor_loop import ReactorLoop

T = TypeVar("T")


@define(eq=False)
class NodeFiles:
    """The transfers of one node, from its start to its stop."""

    _reactor: Any
    _running: "set[Deferred[Any]]" = field(factory=set, init=False)
    _is_over: bool = field(default=False, init=False)

    async def run(self, begin: Callable[[FileLoop], Awaitable[T]]) -> T:
        """Run a transfer. Raises `NotReady` when the node stops meanwhile."""
        transfer: Deferred[T] = Deferred.fromCoroutine(_awaited(begin(ReactorLoop(self._reactor))))
        self._running.add(transfer)
        try:
            return await transfer
        except CancelledError:
            if self._is_over:
                raise NotReady("the node was stopped") from None
            raise
        finally:
            self._running.discard(transfer)

    def end(self) -> None:
        """End all transfers: the node stops."""
        self._is_over = True
        for transfer in list(self._running):
            transfer.cancel()


async def _awaited(one: Awaitable[T]) -> T:
    return await one
