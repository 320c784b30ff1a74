"""The keys that one API connection watches, and the changes that it has not been told of yet."""

from collections.abc import Callable
from functools import partial

from attrs import define, field
from twisted.internet.defer import Deferred

from dht14.kademlia.keyspace import id_from_bytes
from dht14.net.api.replies import PutGet, news_of
from dht14.net.api.watch_shares import ConnectionShare
from dht14.node.ports import KeyWatch
from dht14.records.receipt import NoRecord
from dht14.records.record import Record
from dht14.wire.api_messages import WatchKey

MAX_WATCHES = 512
"""Keys that one connection watches at a time."""


@define(eq=False)
class ConnectionWatches:
    """The watches of one connection.

    A change that cannot be sent yet waits; a later one of the same key takes its place. So a client that does
    not read costs one state for each key that it watches.
    """

    _node: PutGet
    _share: ConnectionShare
    _on_news: Callable[[], None]
    """Called when there is something to send."""
    _watches: dict[bytes, KeyWatch] = field(factory=dict, init=False)
    _news: dict[bytes, Record | NoRecord] = field(factory=dict, init=False)
    """The states to be told, the oldest change first."""
    _is_ended: bool = field(default=False, init=False)

    @property
    def has_news(self) -> bool:
        """Whether there are changes that were not told yet."""
        return bool(self._news)

    def begin_or_end(self, request: WatchKey) -> "Deferred[Record | NoRecord]":
        """Carry out a WATCH; fires with the present state."""
        return Deferred.fromCoroutine(self._begin(request.key) if request.on else self._end(request.key))

    async def _end(self, key: bytes) -> Record | NoRecord:
        watch = self._watches.pop(key, None)
        if watch is not None:
            watch.end()
            self._share.give_back(key)
        self._news.pop(key, None)
        return await self._node.get(id_from_bytes(key))

    async def _begin(self, key: bytes) -> Record | NoRecord:
        watch = self._watches.get(key)
        if watch is None:
            if not self._share.take(key, MAX_WATCHES):
                return NoRecord.TOO_MANY_WATCHES
            try:
                begun = await self._node.watch(id_from_bytes(key), partial(self._changed, key))
                if isinstance(begun, NoRecord):
                    return begun
                if self._is_ended:  # Meanwhile.
                    begun.end()
                    return NoRecord.UNANSWERED
                watch = self._watches[key] = begun
            finally:
                if watch is None:
                    self._share.give_back(key)
        state = await watch.present()
        if state is not NoRecord.UNANSWERED:
            self._news.pop(key, None)  # The reply says it, or something newer.
        return state

    def _changed(self, key: bytes, state: Record | NoRecord) -> None:
        # A node that stops closes the connection.
        if key in self._watches and state is not NoRecord.NOT_READY:
            self._news.pop(key, None)
            self._news[key] = state
            self._on_news()

    def next_news(self, may_tell: Callable[[bytes], bool], now: float) -> bytes | None:
        """Return the frame of a change that may be told now; None where there is none."""
        for key, state in self._news.items():
            if may_tell(key):
                del self._news[key]
                return news_of(key, state, now)
        return None

    def end(self) -> None:
        """End all watches: the connection has ended."""
        self._is_ended = True
        watches, self._watches = self._watches, {}
        self._news.clear()
        for key, watch in watches.items():
            watch.end()
            self._share.give_back(key)
