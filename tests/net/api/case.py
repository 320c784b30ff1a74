"""Shared by the tests of the API: a server on a manual clock, recording nodes and a recording transport."""

from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

from attrs import define, field
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python import failure
from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.parameters import OPERATION_TIMEOUT
from dht14.net.api.clients import ApiLimits
from dht14.net.api.connection import ApiConnection
from dht14.net.api.factory import ApiFactory
from dht14.net.api.metrics import BadFrame
from dht14.node.ports import KeyWatch
from dht14.records.receipt import NoRecord, PutOutcome, PutReason, Receipt
from dht14.records.record import Record
from dht14.wire.api_messages import ApiReply, decode_reply
from dht14.wire.frames import FrameSplitter

UNLIMITED = ApiLimits(api_allow=(ip_network("127.0.0.0/8"),), requests_per_second=0, burst_size=1)


STORED = Receipt(PutOutcome.STORED, 8, 8, PutReason.NONE, 7)
NOT_STORED = Receipt(PutOutcome.NOT_STORED, 1, 8, PutReason.TOO_FEW_HOLDERS, 7)


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def record(number: int, value: bytes) -> Record:
    """A record as a node finds it: version 5, lifetime one minute from the start of the clock."""
    return Record(key=number, value=value, version=5, expires_at=1060.0, replication=8)


def result_for(key: int, answer: Any) -> Any:
    """The result of a node, for a test that only needs the value, or whether it is stored."""
    if isinstance(answer, bytes):
        return record(key, answer)
    if answer is None:
        return NoRecord.NOT_FOUND
    return {True: STORED, False: NOT_STORED}[answer] if isinstance(answer, bool) else answer


@define(eq=False)
class Call:
    """A call of the node that waits for the test's answer."""

    what: tuple[Any, ...]
    answer: Deferred[Any] = field(factory=Deferred)


@define(eq=False)
class SlowNode:
    """Records its calls; the test answers them."""

    calls: list[Call] = field(factory=list)

    def put(
        self, key: int, value: bytes, ttl: int, replication: int, timeout: float = OPERATION_TIMEOUT
    ) -> Deferred[Receipt]:
        return self._asked("put", key, value, ttl, replication)

    def get(
        self, key: int, content: bool = False, timeout: float = OPERATION_TIMEOUT
    ) -> Deferred[Record | NoRecord]:
        return self._asked("get content" if content else "get", key)

    def watch(self, key: int, on_change: Callable[[Record | NoRecord], object]) -> Deferred[Any]:
        return self._asked("watch", key, on_change)

    def _asked(self, *what: Any) -> Deferred[Any]:
        self.calls.append(Call(what))
        return self.calls[-1].answer.addCallback(lambda answer: result_for(what[1], answer))

    def asked(self) -> list[tuple[Any, ...]]:
        return [call.what for call in self.calls]


@define
class QuickNode:
    """Stores what it is given, and answers at once."""

    values: dict[int, bytes] = field(factory=dict)
    watches: "list[QuickWatch]" = field(factory=list)

    def put(
        self, key: int, value: bytes, ttl: int, replication: int, timeout: float = OPERATION_TIMEOUT
    ) -> Deferred[Receipt]:
        self.values[key] = value
        return succeed(STORED)

    def get(
        self, key: int, content: bool = False, timeout: float = OPERATION_TIMEOUT
    ) -> Deferred[Record | NoRecord]:
        found: Record | NoRecord = result_for(key, self.values.get(key))
        return succeed(found)

    def watch(
        self, key: int, on_change: Callable[[Record | NoRecord], object]
    ) -> Deferred[KeyWatch | NoRecord]:
        self.watches.append(QuickWatch(self, key, on_change))
        begun: KeyWatch | NoRecord = self.watches[-1]
        return succeed(begun)

    def change(self, key: int, value: bytes | None) -> None:
        """Set a value, or remove it, and tell those who watch."""
        self.values.pop(key, None)
        if value is not None:
            self.values[key] = value
        for watch in list(self.watches):
            if watch.key == key:
                watch.on_change(result_for(key, value))


@define(eq=False)
class QuickWatch:
    """A watch whose changes the test makes."""

    node: QuickNode
    key: int
    on_change: Callable[[Record | NoRecord], object]

    def present(self) -> Deferred[Record | NoRecord]:
        return self.node.get(self.key)

    def end(self) -> None:
        self.node.watches.remove(self)


class Wire(StringTransport):
    """A TCP transport whose client reads everything at once, or nothing after `buffer` bytes."""

    def __init__(self, buffer: int | None = None) -> None:
        super().__init__()
        self.buffer = buffer
        self.said: list[str] = []
        self.writes = 0

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Does nothing."""

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Does nothing."""

    def write(self, data: bytes) -> None:
        super().write(data)
        self.writes += 1
        if self.buffer is not None and len(self.value()) > self.buffer and self.producer is not None:
            self.producer.pauseProducing()

    def loseConnection(self) -> None:
        self.said.append("closed")

    def loseWriteConnection(self) -> None:
        self.said.append("write side closed")

    def abortConnection(self) -> None:
        self.said.append("aborted")

    @property
    def reading(self) -> bool:
        return bool(self.producerState == "producing")

    def replies(self) -> list[ApiReply]:
        splitter, replies = FrameSplitter(), []
        splitter.feed(self.value())
        while (frame := splitter.next_frame()) is not None:
            replies.append(decode_reply(frame))
        return replies


class ApiTestCase(SynchronousTestCase):
    """A server, a node and a manual clock."""

    limits = UNLIMITED
    answers_puts = True

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000.0)
        self.node: Any = self.make_node()
        self.api = ApiFactory(self.node, self.limits, self.clock, answers_puts=self.answers_puts)

    def make_node(self) -> Any:
        return SlowNode()

    def connect(self, host: str = "127.0.0.1", buffer: int | None = None) -> tuple[ApiConnection, Wire]:
        connection = self.api.buildProtocol(IPv4Address("TCP", host, 5))
        assert connection is not None
        wire = Wire(buffer)
        connection.makeConnection(wire)
        return connection, wire

    def bad_frames(self) -> dict[BadFrame, int]:
        """The reasons for which connections were closed, and how often each."""
        return {reason: times for reason, times in self.api.metrics.bad_frames.items() if times}

    def hang_up(self, connection: ApiConnection) -> None:
        connection.connectionLost(failure.Failure(ConnectionLost()))
