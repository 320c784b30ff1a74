"""The order of the requests of one API connection. No I/O."""

from collections import deque
from typing import Protocol

from attrs import define

from dht14.kademlia.parameters import MAX_VALUE
from dht14.wire.api_messages import ApiRequest, Put

MAX_REQUESTS = 64
MAX_HELD_BYTES = 512 * 1024


class Account(Protocol):
    """What all connections of one client together make the node hold."""

    def hold(self, growth: int) -> None:
        """Count `growth` bytes more, or less if it is negative."""

    def may_hold_more(self) -> bool:
        """Whether a connection that has a request already may have another one."""


@define(eq=False)
class QueuedRequest:
    """One request and, once it is settled, its encoded reply (empty for a request without reply)."""

    request: ApiRequest
    reply: bytes | None = None
    has_begun: bool = False
    """Whether the node was called."""


class RequestQueue:
    """Runs requests for one key in sequence, and requests for different keys concurrently.

    A GET therefore sees the PUTs before it. Replies are sent in the order of the requests. `has_room` limits
    what one connection can make the node hold: requests, and bytes of values and of replies that wait for
    their turn. The account limits all connections together; each may have one request whatever the others
    hold.
    """

    def __init__(self, account: Account) -> None:
        self._account = account
        self._in_order: deque[QueuedRequest] = deque()
        # For each key with a request under way: the requests that wait for it.
        self._waiting: dict[bytes, deque[QueuedRequest]] = {}
        self._ready: deque[QueuedRequest] = deque()
        self._held_bytes = 0
        self._unread_bytes = 0
        """Of replies that were written and that the client has not read."""

    def __len__(self) -> int:
        return len(self._in_order)

    def has_room(self) -> bool:
        """Whether one more request may be added."""
        requests = len(self._in_order)
        if requests >= MAX_REQUESTS or self._held_bytes >= MAX_HELD_BYTES:
            return False
        return not requests or self._account.may_hold_more()

    def is_busy(self, key: bytes) -> bool:
        """Whether a request for this key must wait."""
        return key in self._waiting

    def is_answered(self, key: bytes) -> bool:
        """Whether no reply for this key is still to be sent."""
        return all(entry.request.key != key for entry in self._in_order)

    def add(self, request: ApiRequest) -> QueuedRequest:
        """Append a request. Its caller begins it now, or, if `is_busy` was true, when `next_ready` returns
        it."""
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
        """Return a request that has waited and must be begun now."""
        return self._ready.popleft() if self._ready else None

    def settle(self, entry: QueuedRequest, reply: bytes) -> None:
        """Set the reply of a request under way; the next one for its key becomes ready."""
        entry.reply = reply
        self._held_bytes += len(reply) - _value_bytes(entry.request)
        self._account.hold(len(reply) - _reserved(entry.request))
        waiting = self._waiting[entry.request.key]
        if waiting:
            self._ready.append(waiting.popleft())
        else:
            del self._waiting[entry.request.key]

    def take_replies(self, is_read: bool = True) -> list[bytes]:
        """Remove and return the replies that can be sent now. If the client does not read (`is_read` is
        false), they count as held until `all_read`."""
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
        """The client has read all replies, or is gone."""
        self._account.hold(-self._unread_bytes)
        self._unread_bytes = 0

    def unsettled(self) -> list[QueuedRequest]:
        """Return the requests without a reply, in order."""
        return [entry for entry in self._in_order if entry.reply is None]


def _value_bytes(request: ApiRequest) -> int:
    return len(request.value) if isinstance(request, Put) else 0


def _reserved(request: ApiRequest) -> int:
    """Bytes to count for a request until it has its reply: a GET may return the largest value."""
    return _value_bytes(request) or MAX_VALUE
