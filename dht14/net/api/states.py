"""The states of a watched key one after the other, for whoever waits for each of them."""

from collections.abc import AsyncGenerator

from attrs import define, field
from twisted.internet.defer import Deferred

from dht14.net.api.replies import PutGet
from dht14.records.receipt import NoRecord
from dht14.records.record import Record


@define(eq=False)
class _Latest:
    """The latest state that was not fetched yet."""

    _state: Record | NoRecord | None = field(default=None, init=False)
    _waiting: "Deferred[None] | None" = field(default=None, init=False)

    def changed(self, state: Record | NoRecord) -> None:
        self._state = state
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.called:
            waiting.callback(None)

    async def take(self) -> Record | NoRecord:
        while self._state is None:
            self._waiting = Deferred()
            await self._waiting
        state, self._state = self._state, None
        return state


async def states(node: PutGet, key: int) -> AsyncGenerator[Record | NoRecord, None]:
    """Yield the state of a key, and then each new one; one that is replaced before it is fetched is left out,
    and so is one that nobody knows.

    NOT_READY or TOO_MANY_WATCHES, where there can be no watch, is the only state then. It ends when the node
    stops.
    """
    latest = _Latest()
    watch = await node.watch(key, latest.changed)
    if isinstance(watch, NoRecord):
        yield watch
        return
    try:
        state = await watch.present()
        while state is not NoRecord.NOT_READY:
            if state is not NoRecord.UNANSWERED:
                yield state
            state = await latest.take()
    finally:
        watch.end()
