"""The states of a watched key, one after the other, for a reader that waits for each of them."""

from attrs import define, field
from twisted.internet.defer import Deferred

from dht14.net.api.replies import PutGet
from dht14.node.ports import KeyWatch
from dht14.records.receipt import NoRecord
from dht14.records.record import Record


@define(eq=False)
class KeyStates:
    """The state of a key, and then each new one; one that is replaced before it is fetched is left out.

    `end` must be called. No generator: that of a client that has gone could not end a watch in time.
    """

    _node: PutGet
    _key: int
    _watch: KeyWatch | None = field(default=None, init=False)
    _latest: Record | NoRecord | None = field(default=None, init=False)
    _waiting: "Deferred[None] | None" = field(default=None, init=False)
    _is_over: bool = field(default=False, init=False)

    async def following(self) -> Record | NoRecord | None:
        """Return the next state when there is one; None when the node stops.

        NOT_READY or TOO_MANY_WATCHES, where there can be no watch, is the only state then. A state that
        nobody knows is left out.
        """
        while not self._is_over:
            state = await (self._present() if self._watch is None else self._next())
            if self._watch is None:
                self._is_over = True
                return state
            if state is not NoRecord.UNANSWERED:
                return state if state is not NoRecord.NOT_READY else None
        return None

    async def _present(self) -> Record | NoRecord:
        begun = await self._node.watch(self._key, self._changed)
        if isinstance(begun, NoRecord):
            return begun
        self._watch = begun
        if self._is_over:
            begun.end()
        state = await begun.present()
        if state is not NoRecord.UNANSWERED:
            self._latest = None  # What a read found that was under way before: the same, or something older.
        return state

    async def _next(self) -> Record | NoRecord:
        while self._latest is None:
            self._waiting = Deferred()
            await self._waiting
        state, self._latest = self._latest, None
        return state

    def _changed(self, state: Record | NoRecord) -> None:
        self._latest = state
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.called:
            waiting.callback(None)

    def end(self) -> None:
        """Watch no longer."""
        self._is_over = True
        if self._watch is not None:
            self._watch.end()
