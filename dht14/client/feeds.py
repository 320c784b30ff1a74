"""The keys that a client watches, without I/O: what to ask, how long to wait, and what is news.

A feed belongs to one iterator. It keeps the latest state of its key that the node has told; a later one takes
the place of one that nobody has fetched yet. After a connection has broken the feed asks for the watch again,
and only a state that differs from the last one told is news.
"""

import hashlib
from collections.abc import Callable

from attrs import define, field, frozen

from dht14.client.answers import Value, value_from
from dht14.client.errors import DhtError, NotReady, TooManyWatches
from dht14.records.receipt import NoRecord
from dht14.wire.api_messages import (
    MAX_RECORD_VALUE,
    ApiReply,
    ApiRequest,
    ChangedRecord,
    Failure,
    FoundRecord,
    GetRecord,
    MissingRecord,
    Success,
    WatchKey,
)

HEARTBEAT_INTERVAL = 60.0
"""Seconds until the watch is asked for again: the connection may be dead, and nobody has said so."""

POLL_INTERVAL = 5.0
"""The same with a node of another VoidPhone, which cannot watch."""

FIRST_RETRY, LAST_RETRY = 0.5, 5.0
"""Seconds until a node that was lost, or is not ready, is asked again; they double from the first to the
last."""


@frozen
class News:
    """A state to hand out; None: there is no value."""

    value: Value | None


@frozen
class Pause:
    """Do nothing for this many seconds, unless the feed is woken."""

    seconds: float


Step = News | ApiRequest | Pause

_Seen = tuple[int | None, bytes] | None
"""Version and SHA-256 of a value; None: no value."""


@define(eq=False)
class Feed:
    """What one iterator knows of its key."""

    key: bytes
    wake: Callable[[], object] = lambda: None
    """Called when there is something to do before the pause is over."""
    _latest: ApiReply | None = field(default=None, init=False)
    _told: _Seen | bool = field(default=False, init=False)
    """False: nothing yet."""
    _ask_at: float = field(default=0.0, init=False)
    _delay: float = field(default=FIRST_RETRY, init=False)

    def heard(self, reply: ApiReply) -> None:
        """The node has told the state of the key: in a reply, or because it has changed."""
        if self._latest is None or not _is_unanswered(reply):
            self._latest = reply
        self.wake()

    def fetched(self, reply: ApiReply, now: float) -> None:
        """The node has answered a GET for the value of a change. What it has told meanwhile is newer."""
        if self._latest is None:
            if _is_unanswered(reply):
                self._ask_at = now + self._delay
            self.heard(reply)

    def lost(self) -> None:
        """The connection has ended."""
        self._ask_at = 0.0
        self.wake()

    def failed(self, error: DhtError, now: float) -> None:
        """A request has failed. Raises the error where nothing has worked yet."""
        if self._told is False:
            raise error
        self._ask_at = now + self._delay
        self._delay = min(2 * self._delay, LAST_RETRY)

    def step(self, now: float) -> Step:
        """Return what to do next. Raises `NotReady`, `Forged`, `TooManyWatches`."""
        latest, self._latest = self._latest, None
        if isinstance(latest, ChangedRecord) and not latest.value:
            return GetRecord(self.key)
        if latest is not None and (news := self._news_in(latest, now)) is not None:
            return news
        if self._ask_at <= now:
            self._ask_at = now + HEARTBEAT_INTERVAL
            return WatchKey(self.key)
        return Pause(self._ask_at - now)

    def _news_in(self, reply: ApiReply, now: float) -> News | None:
        if isinstance(reply, MissingRecord):
            if reply.reason is NoRecord.TOO_MANY_WATCHES:
                raise TooManyWatches
            if reply.reason is NoRecord.NOT_READY:
                self.failed(NotReady("the node is not ready; dht14 wait waits until it is"), now)
                return None
            if _is_unanswered(reply):
                return None
        self._delay = FIRST_RETRY
        if isinstance(reply, Failure) or (
            isinstance(reply, Success) and len(reply.value) <= MAX_RECORD_VALUE
        ):
            self._ask_at = now + POLL_INTERVAL
        value = value_from(reply)
        seen = None if value is None else _seen_in(reply)
        if seen == self._told:
            return None
        self._told = seen
        return News(value)


def _is_unanswered(reply: ApiReply) -> bool:
    return isinstance(reply, MissingRecord) and reply.reason is NoRecord.UNANSWERED


def _seen_in(reply: ApiReply) -> _Seen:
    assert isinstance(reply, FoundRecord | Success)
    version = reply.version if isinstance(reply, FoundRecord) else None
    return version, hashlib.sha256(reply.value).digest()


class Feeds:
    """The feeds of one connection."""

    def __init__(self) -> None:
        self._by_key: dict[bytes, list[Feed]] = {}

    def add(self, feed: Feed) -> None:
        """Tell this feed, too, what the node says of its key."""
        self._by_key.setdefault(feed.key, []).append(feed)

    def remove(self, feed: Feed) -> bool:
        """Forget a feed; return whether nobody watches its key any more."""
        feeds = self._by_key[feed.key]
        feeds.remove(feed)
        if not feeds:
            del self._by_key[feed.key]
        return not feeds

    def heard(self, reply: ApiReply) -> None:
        """The node has told the state of a key. Nobody may want to know it any more."""
        for feed in self._by_key.get(reply.key, ()):
            feed.heard(reply)

    def lost(self) -> None:
        """The connection has ended."""
        for feeds in self._by_key.values():
            for feed in feeds:
                feed.lost()
