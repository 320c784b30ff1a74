"""The order of the requests of one API connection, apart from any I/O."""

from collections import deque
from typing import Protocol

from attrs import define

from dht14.kademlia.parameters import MAX_VALUE
from dht14.wire.api_messages import ApiRequest, Put

MAX_REQUESTS = 64
MAX_HELD_BYTES = 512 * 1024


class Account(Protocol):
    """What the connections of one client may make us hold, all together."""

    def hold(self, growth: int) -> None:
        """So many bytes more are held for it, or fewer."""

    def may_hold_more(self) -> bool:
        """Whether one of its connections that has a request already may have another one."""


@define(eq=False)
class QueuedRequest:
    """One request and, once it is settled, the bytes of its reply (none for a request without reply)."""

    request: ApiRequest
    reply: bytes | None = None


class RequestQueue:
    """Requests for one key go one after the other, those for different keys side by side.

    So a GET sees the PUTs before it. Replies leave in the order of the requests. `has_room` bounds how
    much one connection can make us hold: requests, and bytes of values and of replies that wait for
    their turn. What all connections together hold is bounded by the account; one request each may have
    whatever the others hold.
    """

    def __init__(self, account: Account) -> None:
        self._account = account
        self._in_order: deque[QueuedRequest] = deque()
        # For each key that is at work, those that wait for it.
        self._waiting: dict[bytes, deque[QueuedRequest]] = {}
        self._ready: deque[QueuedRequest] = deque()
        self._held_bytes = 0
        self._unread_bytes = 0
        """Of replies that were taken and that the account still counts."""

    def __len__(self) -> int:
        return len(self._in_order)

    def has_room(self) -> bool:
        """Whether one more request may be added."""
        requests = len(self._in_order)
        if requests >= MAX_REQUESTS or self._held_bytes >= MAX_HELD_BYTES:
            return False
        return not requests or self._account.may_hold_more()

    def is_busy(self, key: bytes) -> bool:
        """Whether a request for this key would have to wait."""
        return key in self._waiting

    def add(self, request: ApiRequest) -> QueuedRequest:
        """Put a request at the end. It is at work from now on, unless its key is: then it gets due later."""
        entry = QueuedRequest(request)
        self._in_order.append(entry)
        self._held_bytes += _value_bytes(request)
        self._account.hold(_reserved(request))
        waiting = self._waiting.get(request.key)
        if waiting is None:
            self._waiting[request.key] = deque()
        else:
            waiting.append(entry)
        return entry

    def next_ready(self) -> QueuedRequest | None:
        """A request that waited and is at work from now on."""
        return self._ready.popleft() if self._ready else None

    def settle(self, entry: QueuedRequest, reply: bytes) -> None:
        """The request at work has its reply; the next one for its key gets due."""
        entry.reply = reply
        self._held_bytes += len(reply) - _value_bytes(entry.request)
        self._account.hold(len(reply) - _reserved(entry.request))
        waiting = self._waiting[entry.request.key]
        if waiting:
            self._ready.append(waiting.popleft())
        else:
            del self._waiting[entry.request.key]

    def take_replies(self, is_read: bool = True) -> list[bytes]:
        """The replies whose turn has come, to be sent now. Where the client does not read them, they count as held
        until `all_read`."""
        replies: list[bytes] = []
        in_order = self._in_order
        while in_order and (reply := in_order[0].reply) is not None:
            in_order.popleft()
            self._held_bytes -= len(reply)
            self._unread_bytes += len(reply)
            replies.append(reply)
        if is_read:
            self.all_read()
        return replies

    def all_read(self) -> None:
        """The client has read, or is gone."""
        self._account.hold(-self._unread_bytes)
        self._unread_bytes = 0

    def unsettled(self) -> list[QueuedRequest]:
        """The requests without a reply, in order."""
        return [entry for entry in self._in_order if entry.reply is None]


def _value_bytes(request: ApiRequest) -> int:
    return len(request.value) if isinstance(request, Put) else 0


def _reserved(request: ApiRequest) -> int:
    """Bytes that count for a request until it has its reply: a GET may bring the largest value."""
    return _value_bytes(request) or MAX_VALUE
