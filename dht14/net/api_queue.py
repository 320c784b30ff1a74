"""The order of the requests of one API connection, apart from any I/O."""

from collections import deque

from attrs import define

from dht14.wire.api_messages import ApiRequest, Put

MAX_REQUESTS = 64
MAX_HELD_BYTES = 512 * 1024


@define(eq=False)
class Entry:
    """One request and, once it is settled, the bytes of its reply (none for a request without reply)."""

    request: ApiRequest
    reply: bytes | None = None


class RequestQueue:
    """Requests for one key go one after the other, those for different keys side by side.

    So a GET sees the PUTs before it. Replies leave in the order of the requests. `has_room` bounds how
    much one connection can make us hold: requests, and bytes of values and of replies that wait for
    their turn.
    """

    def __init__(self) -> None:
        self._in_order: deque[Entry] = deque()
        # For each key that is at work, those that wait for it.
        self._behind: dict[bytes, deque[Entry]] = {}
        self._due: deque[Entry] = deque()
        self._held_bytes = 0

    def __len__(self) -> int:
        return len(self._in_order)

    def has_room(self) -> bool:
        """Whether one more request may be added."""
        return len(self._in_order) < MAX_REQUESTS and self._held_bytes < MAX_HELD_BYTES

    def at_work(self, key: bytes) -> bool:
        """Whether a request for this key would have to wait."""
        return key in self._behind

    def add(self, request: ApiRequest) -> Entry:
        """Put a request at the end. It is at work from now on, unless its key is: then it gets due later."""
        entry = Entry(request)
        self._in_order.append(entry)
        self._held_bytes += _value_bytes(request)
        behind = self._behind.get(request.key)
        if behind is None:
            self._behind[request.key] = deque()
        else:
            behind.append(entry)
        return entry

    def next_due(self) -> Entry | None:
        """A request that waited and is at work from now on."""
        return self._due.popleft() if self._due else None

    def settle(self, entry: Entry, reply: bytes) -> None:
        """The request at work has its reply; the next one for its key gets due."""
        entry.reply = reply
        self._held_bytes += len(reply) - _value_bytes(entry.request)
        behind = self._behind[entry.request.key]
        if behind:
            self._due.append(behind.popleft())
        else:
            del self._behind[entry.request.key]

    def take_replies(self) -> list[bytes]:
        """The replies whose turn has come, to be sent now."""
        replies: list[bytes] = []
        in_order = self._in_order
        while in_order and (reply := in_order[0].reply) is not None:
            in_order.popleft()
            self._held_bytes -= len(reply)
            replies.append(reply)
        return replies

    def unsettled(self) -> list[Entry]:
        """The requests without a reply, in order."""
        return [entry for entry in self._in_order if entry.reply is None]


def _value_bytes(request: ApiRequest) -> int:
    return len(request.value) if isinstance(request, Put) else 0
