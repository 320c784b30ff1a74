"""The messages that a node knows: ours, or only those of every VoidPhone node."""

from enum import Enum, auto

from dht14.wire.api_messages import (
    ApiRequest,
    GetRecord,
    Put,
    PutWithReceipt,
    WatchKey,
    encode_get,
    encode_get_record,
    encode_put,
    encode_watch,
)


class Dialect(Enum):
    """The messages that a node knows."""

    EXTENDED = auto()
    """Ours: 660 to 667."""
    PLAIN = auto()
    """Those of every VoidPhone node: 650 to 653. One request at a time: nothing promises an order of
    replies."""


class NodeDialect:
    """What the channels of one client have learned about the messages that the node knows.

    Another node of a VoidPhone closes the connection at a type that it does not know, or keeps silent. A
    node of ours that is killed closes it, too. So one that has answered in the extended dialect before
    must fail twice before it is asked in the plain one. When a connection in the plain one ends, the extended
    one is tried again.
    """

    def __init__(self, place: str = "") -> None:
        """`place` is the address of the node, for errors."""
        self.place = place
        self._is_proven = False
        self._failures = 0

    @property
    def is_proven(self) -> bool:
        """Whether a node has answered in the extended dialect."""
        return self._is_proven

    def current(self) -> Dialect:
        """The dialect of the next connection."""
        return Dialect.PLAIN if self._failures > self._is_proven else Dialect.EXTENDED

    def answered(self, dialect: Dialect) -> None:
        """A connection in this dialect has brought a reply."""
        if dialect is Dialect.EXTENDED:
            self._is_proven, self._failures = True, 0

    def ended(self, dialect: Dialect, was_answered: bool) -> None:
        """The node has closed a connection, or was silent on it, with requests under way."""
        if dialect is Dialect.PLAIN:
            self._failures = 0
        elif not was_answered:
            self._failures += 1


def encode(request: ApiRequest, dialect: Dialect) -> bytes:
    """Return the frame of a request; in the plain dialect that of the VoidPhone message that asks for the
    same."""
    is_extended = dialect is Dialect.EXTENDED
    if isinstance(request, Put):
        receipt = is_extended and isinstance(request, PutWithReceipt)
        return encode_put(request.ttl, request.replication, request.key, request.value, receipt=receipt)
    if is_extended and isinstance(request, GetRecord):
        return encode_get_record(request.key, request.content)
    if is_extended and isinstance(request, WatchKey):
        return encode_watch(request.key, request.on)
    return encode_get(request.key)
