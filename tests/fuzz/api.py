"""A target of several steps: clients of the API on several connections, at a node that answers late, in any
order, or not at all."""

from typing import Any

from attrs import define, field
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.python.failure import Failure

from dht14.net.api.connection import ApiConnection
from dht14.net.api.factory import ApiFactory
from dht14.records.receipt import NoRecord
from dht14.records.record import Record
from dht14.wire import api_messages
from dht14.wire.api_messages import ApiReply
from tests.fuzz.steps import step, steps
from tests.net.api.case import UNLIMITED, SlowNode, Wire, record, result_for

CONNECTIONS = 3
KEYS = 4
"""Few, so that requests for one key meet."""

RAW, PUT, GET, GET_RECORD, WATCH, ANSWER, CHANGE, HANG_UP, HALF_CLOSE, STOP_READING, READ_ON, WAIT = range(12)
KINDS = 12


@define(eq=False)
class LateWatch:
    """A watch of a `LateNode`."""

    node: "LateNode"
    key: int
    on_change: Any

    def present(self) -> "Deferred[Record | NoRecord]":
        return self.node.present_of(self.key)

    def end(self) -> None:
        self.node.watches.remove(self)


@define(eq=False)
class LateNode(SlowNode):
    """A node whose puts and gets the trial answers. Watches begin at once."""

    watches: list[LateWatch] = field(factory=list)

    def present_of(self, key: int) -> "Deferred[Record | NoRecord]":
        return self._asked("get", key)

    def watch(self, key: int, on_change: Any) -> "Deferred[Any]":
        if key % KEYS == 3:
            return succeed(NoRecord.TOO_MANY_WATCHES)
        self.watches.append(LateWatch(self, key, on_change))
        return succeed(self.watches[-1])


class ApiTrial:
    """One input from start to end."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_000.0)
        self.node: Any = LateNode()
        self.api = ApiFactory(self.node, UNLIMITED, self.clock)
        self.connections: dict[int, tuple[ApiConnection, Wire]] = {}
        self.asked: dict[int, int] = {}
        """Requests that were sent whole on a connection with nothing raw before them."""

    def take(self, what: int, data: bytes) -> None:
        """One step. The first byte of `data` names connection and key."""
        first, rest = sum(data[:1]), data[1:]
        number, key = first % CONNECTIONS, (first // CONNECTIONS % KEYS).to_bytes(32, "big")
        if what == RAW:
            self.say(number, rest)
        elif what == PUT:
            with_receipt = len(rest) % 2 == 0
            self.say(number, api_messages.encode_put(60, 8, key, rest or b"value", receipt=with_receipt))
        elif what == GET:
            self.say(number, api_messages.encode_get(key))
        elif what == GET_RECORD:
            self.say(number, api_messages.encode_get_record(key, bool(rest)))
        elif what == WATCH:
            self.say(number, api_messages.encode_watch(key, not rest))
        elif what == ANSWER:
            self.answer(first, rest)
        elif what == CHANGE:
            self.change(int.from_bytes(key, "big"), rest)
        elif what == HANG_UP:
            self.hang_up(number, ConnectionLost())
        elif what == HALF_CLOSE and number in self.connections:
            connection = self.connections[number][0]
            if IHalfCloseableProtocol.providedBy(connection):
                connection.readConnectionLost()
        elif what in (STOP_READING, READ_ON) and number in self.connections:
            producer = self.connections[number][1].producer
            if producer is not None:
                (producer.pauseProducing if what == STOP_READING else producer.resumeProducing)()
        elif what == WAIT:
            for _ in range(min(first, 40)):
                self.clock.advance(1.0)
        self.clock.advance(0)
        for number, (_, wire) in list(self.connections.items()):
            if "aborted" in wire.said or "closed" in wire.said:
                self.hang_up(number, ConnectionDone())

    def say(self, number: int, data: bytes) -> None:
        if number not in self.connections:
            connection = self.api.buildProtocol(IPv4Address("TCP", "127.0.0.1", 5))
            assert connection is not None
            wire = Wire()
            connection.makeConnection(wire)
            self.connections[number] = connection, wire
        if data and not self.connections[number][1].said:
            self.connections[number][0].dataReceived(data)

    def answer(self, which: int, data: bytes) -> None:
        """Answer one of the calls that wait."""
        waiting = [call for call in self.node.calls if not call.answer.called]
        if waiting:
            call = waiting[which % len(waiting)]
            is_put = call.what[0] == "put"
            call.answer.callback(bool(data) if is_put else data or NoRecord(which % len(NoRecord)))

    def change(self, key: int, value: bytes) -> None:
        for watch in list(self.node.watches):
            if watch.key == key:
                watch.on_change(result_for(key, value or None))

    def hang_up(self, number: int, reason: Exception) -> None:
        if number in self.connections:
            connection, wire = self.connections.pop(number)
            self.judge(wire)
            connection.connectionLost(Failure(reason))

    def judge(self, wire: Wire) -> None:
        """All that was sent are whole replies."""
        for reply in wire.replies():
            assert isinstance(reply, ApiReply)

    def end(self) -> None:
        """What holds after any input."""
        for number in list(self.connections):
            self.hang_up(number, ConnectionDone())
        assert not self.node.watches, "a watch that outlives its connection"
        for call in self.node.calls:
            if not call.answer.called:
                call.answer.callback(True if call.what[0] == "put" else record(1, b"late"))
        for _ in range(3):
            self.clock.advance(31.0)
        assert not self.api._connections and not self.clock.getDelayedCalls()


def api_clients(raw: bytes) -> None:
    """However clients ask, stop to read and leave, and whenever the node answers: they get whole replies, and
    nothing of them is left."""
    with capturedLogs() as events:
        trial = ApiTrial()
        for what, data in steps(raw):
            trial.take(what % KINDS, data)
        trial.end()
    for event in events:
        assert "log_failure" not in event, event["log_failure"]


def client_steps() -> list[bytes]:
    """Each kind of step, and the ones that belong together."""
    asked = step(GET, b"\0") + step(PUT, b"\0value") + step(GET_RECORD, b"\3x") + step(PUT, b"\1values")
    watched = step(WATCH, b"\0") + step(ANSWER, b"\0one") + step(CHANGE, b"\0two") + step(CHANGE, b"\0")
    answered = step(ANSWER, b"\1x") + step(ANSWER, b"\0value") + step(ANSWER, b"\0") + step(ANSWER, b"\0y")
    return [
        asked + answered,
        asked + step(HANG_UP, b"\0") + answered,
        asked + step(HALF_CLOSE, b"\0") + answered + step(WAIT, b"\x06"),
        watched + step(GET, b"\0") + step(CHANGE, b"\0three") + step(ANSWER, b"\0three"),
        watched + step(WATCH, b"\0off") + step(ANSWER, b"\0") + step(WATCH, b"\x09"),
        watched
        + step(STOP_READING, b"\0")
        + step(CHANGE, b"\0four")
        + step(CHANGE, b"\0five")
        + step(READ_ON),
        step(WATCH, b"\0") + step(HANG_UP) + step(WATCH, b"\0") + step(WAIT, b"\x1f"),
        step(RAW, b"\0" + api_messages.encode_get(bytes(32))[:20]) + step(WAIT, b"\x20"),
        asked + step(STOP_READING, b"\0") + answered + step(WAIT, b"\x20"),
        step(RAW, b"\0GET / HTTP/1.1") + asked,
    ]
