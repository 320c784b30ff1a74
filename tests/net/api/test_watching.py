"""Watching keys on an API connection."""

from twisted.internet.defer import Deferred

from dht14.kademlia.parameters import MAX_VALUE
from dht14.net.api import watching
from dht14.net.api.connection import REQUESTS_PER_TURN
from dht14.net.api.metrics import BadFrame
from dht14.records.receipt import NoRecord
from dht14.records.record import Record
from dht14.wire.api_messages import (
    ChangedRecord,
    Failure,
    FoundRecord,
    GoneRecord,
    MissingRecord,
    Success,
    encode_get,
    encode_put,
    encode_watch,
)
from tests.net.api.case import ApiTestCase, QuickNode, QuickWatch, key


def changed(number: int, value: bytes) -> ChangedRecord:
    return ChangedRecord(key(number), 1, 5, 60, value)


class WatchTests(ApiTestCase):
    def make_node(self) -> QuickNode:
        return QuickNode({1: b"one"})

    def test_states(self) -> None:
        """The reply is the present state; then each change follows, and the end of the value."""
        connection, wire = self.connect()
        connection.dataReceived(encode_watch(key(1)) + encode_watch(key(2)))
        self.node.change(2, b"two")
        self.node.change(1, None)
        self.assertEqual(
            wire.replies(),
            [
                FoundRecord(key(1), 1, 5, 60, b"one"),
                MissingRecord(key(2), NoRecord.NOT_FOUND),
                changed(2, b"two"),
                GoneRecord(key(1), NoRecord.NOT_FOUND),
            ],
        )

    def test_end(self) -> None:
        """A WATCH with 0 ends the watch, and is answered with the present state."""
        connection, wire = self.connect()
        connection.dataReceived(encode_watch(key(1)) + encode_watch(key(1), on=False))
        self.assertEqual(self.node.watches, [])
        self.assertEqual(wire.replies(), [FoundRecord(key(1), 1, 5, 60, b"one")] * 2)
        connection.dataReceived(encode_watch(key(9), on=False))
        self.assertEqual(wire.replies()[2:], [MissingRecord(key(9), NoRecord.NOT_FOUND)])

    def test_twice(self) -> None:
        """A second WATCH of a key asks for its state, and nothing is told twice."""
        connection, wire = self.connect()
        connection.dataReceived(2 * encode_watch(key(1)))
        self.assertEqual(len(self.node.watches), 1)
        self.node.change(1, b"new")
        self.assertEqual(wire.replies()[2:], [changed(1, b"new")])

    def test_largest(self) -> None:
        """A value that is too large for a CHANGED is left out."""
        connection, wire = self.connect()
        connection.dataReceived(encode_watch(key(2)))
        self.node.change(2, bytes(MAX_VALUE))
        connection.dataReceived(encode_watch(key(2)))
        self.assertEqual(wire.replies()[1:], [changed(2, b""), Success(key(2), bytes(MAX_VALUE))])

    def test_hang_up(self) -> None:
        """The watches end with the connection."""
        connection, _ = self.connect()
        connection.dataReceived(encode_watch(key(1)) + encode_watch(key(2)))
        self.hang_up(connection)
        self.assertEqual(self.node.watches, [])

    def test_not_read(self) -> None:
        """A client that does not read gets, when it reads again, only the latest state of each key."""
        connection, wire = self.connect(buffer=100)
        connection.dataReceived(b"".join(encode_watch(key(n)) for n in (1, 2, 3)))
        before = len(wire.replies())
        for turn in range(100):
            self.node.change(1, b"%d" % turn)
            self.node.change(2, b"%d" % turn)
        self.assertEqual(len(wire.replies()), before)
        wire.buffer = None
        connection.resumeProducing()
        told = [reply for reply in wire.replies() if isinstance(reply, ChangedRecord)]
        self.assertEqual(told, [changed(1, b"99"), changed(2, b"99")])

    def test_hang_up_before_the_state(self) -> None:
        """A client that goes while it waits for the state of a key is done once: its wait ends with it."""
        self.patch(QuickWatch, "present", lambda watch: present)
        self.patch(QuickWatch, "end", lambda watch: present.callback(NoRecord.UNANSWERED))
        present: Deferred[Record | NoRecord] = Deferred()
        connection, _ = self.connect()
        other, _ = self.connect()
        connection.dataReceived(encode_watch(key(1)))
        self.hang_up(connection)
        metrics = self.api.metrics
        self.assertEqual((metrics.connections, metrics.left_behind), (1, 0))
        self.hang_up(other)
        self.assertEqual((metrics.connections, metrics.left_behind), (0, 0))

    def test_hang_up_among_news(self) -> None:
        """A client that goes between two turns of its news is done once."""
        connection, wire = self.connect(buffer=100)
        numbers = range(1, REQUESTS_PER_TURN + 20)
        connection.dataReceived(b"".join(encode_watch(key(n)) for n in numbers[:60]))
        for first in range(60, len(numbers), 60):
            wire.buffer = None
            connection.resumeProducing()
            connection.dataReceived(b"".join(encode_watch(key(n)) for n in numbers[first : first + 60]))
        self.clock.advance(0)
        self.assertEqual(len(self.node.watches), len(numbers))
        connection.pauseProducing()
        for n in numbers:
            self.node.change(n, b"new")
        connection.resumeProducing()
        self.hang_up(connection)
        self.clock.advance(0)
        self.assertEqual((self.api.metrics.connections, self.api.metrics.left_behind), (0, 0))

    def test_too_many(self) -> None:
        """A connection watches so many keys; the next one is refused, until it ends a watch."""
        self.patch(watching, "MAX_WATCHES", 2)
        connection, wire = self.connect()
        connection.dataReceived(b"".join(encode_watch(key(n)) for n in (1, 2, 3, 1)))
        self.assertEqual(wire.replies()[2], MissingRecord(key(3), NoRecord.TOO_MANY_WATCHES))
        self.assertEqual([watch.key for watch in self.node.watches], [1, 2])
        connection.dataReceived(encode_watch(key(1), on=False) + encode_watch(key(3)))
        self.assertEqual(wire.replies()[-1], MissingRecord(key(3), NoRecord.NOT_FOUND))
        self.assertEqual(self.api.metrics.watches_refused, 1)

    def test_not_begun(self) -> None:
        """A watch that the node refuses takes no share, and one whose connection has ended gives it back."""
        begun: list[Deferred[QuickWatch | NoRecord]] = []

        def watch(node: QuickNode, key: int, on_change: object) -> Deferred[QuickWatch | NoRecord]:
            begun.append(Deferred())
            return begun[-1]

        self.patch(QuickNode, "watch", watch)
        connection, _ = self.connect()
        connection.dataReceived(encode_watch(key(1)) + encode_watch(key(2)))
        self.assertEqual(self.api.accounts.watches.keys, 2)
        begun[0].callback(NoRecord.TOO_MANY_WATCHES)
        self.assertEqual(self.api.accounts.watches.keys, 1)
        self.hang_up(connection)
        late = QuickWatch(self.node, 2, lambda state: None)
        self.node.watches.append(late)
        begun[1].callback(late)
        self.assertEqual((self.api.accounts.watches.keys, self.node.watches), (0, []))

    def test_shares(self) -> None:
        """No address watches all keys, with any number of connections; others get theirs."""
        wires = []
        for host in ("127.0.0.1", "127.0.0.1", "127.0.0.1", "127.0.0.2"):
            connection, wire = self.connect(host)
            wires.append(wire)
            number = 1000 * len(wires)
            connection.dataReceived(b"".join(encode_watch(key(number + n)) for n in range(512)))
            self.clock.pump([0] * 50)
        refused = NoRecord.TOO_MANY_WATCHES
        begun = [sum(getattr(reply, "reason", None) is not refused for reply in w.replies()) for w in wires]
        self.assertEqual([len(wire.replies()) for wire in wires], [512] * 4)
        self.assertEqual(begun[0], 512)
        self.assertGreater(begun[1], 100)
        self.assertLess(sum(begun[:3]), 700)
        self.assertGreater(begun[3], 100)
        self.assertEqual(self.api.metrics.watches_refused, 4 * 512 - sum(begun))

    def test_bad_frame(self) -> None:
        """A WATCH with another number than 0 and 1 is impossible."""
        connection, _ = self.connect()
        connection.dataReceived(encode_watch(key(1))[:-1] + b"\2")
        self.assertEqual(self.bad_frames(), {BadFrame.UNKNOWN_FLAG: 1})

    def test_stop(self) -> None:
        """A server that stops closes connections that only watch."""
        connection, wire = self.connect()
        connection.dataReceived(encode_watch(key(1)))
        closed = self.api.close()
        self.assertEqual(wire.said, ["closed"])
        self.hang_up(connection)
        self.successResultOf(closed)


class OrderTests(ApiTestCase):
    """A node that answers when the test says so."""

    class SlowWatch:
        def __init__(self) -> None:
            self.presents: list[Deferred[object]] = []
            self.is_ended = False

        def present(self) -> Deferred[object]:
            self.presents.append(Deferred())
            return self.presents[-1]

        def end(self) -> None:
            self.is_ended = True

    def begin(self, connection, number: int):
        """Begin a watch; return it and the way to tell of a change."""
        watch = self.SlowWatch()
        connection.dataReceived(encode_watch(key(number)))
        call = self.node.calls[-1]
        call.answer.callback(watch)
        return watch, call.what[2]

    def found(self, value: bytes):
        return QuickNode({1: value}).get(1).result

    def test_reply_first(self) -> None:
        """A change is told after the reply to the WATCH, also when that waits behind an earlier request."""
        connection, wire = self.connect()
        connection.dataReceived(encode_get(key(7)))
        watch, tell = self.begin(connection, 1)
        watch.presents[0].callback(self.found(b"first"))
        tell(self.found(b"second"))
        self.assertEqual(wire.replies(), [])
        self.node.calls[0].answer.callback(None)
        self.assertEqual(
            wire.replies(),
            [Failure(key(7)), FoundRecord(key(1), 1, 5, 60, b"first"), changed(1, b"second")],
        )

    def test_reply_is_newer(self) -> None:
        """What came before the state in the reply is not told after it."""
        connection, wire = self.connect()
        watch, tell = self.begin(connection, 1)
        tell(self.found(b"older"))
        watch.presents[0].callback(self.found(b"newer"))
        self.assertEqual(wire.replies(), [FoundRecord(key(1), 1, 5, 60, b"newer")])

    def test_unanswered(self) -> None:
        """A watch begins although the present state is unknown."""
        connection, wire = self.connect()
        watch, tell = self.begin(connection, 1)
        watch.presents[0].callback(NoRecord.UNANSWERED)
        tell(self.found(b"found"))
        self.assertEqual(wire.replies(), [MissingRecord(key(1), NoRecord.UNANSWERED), changed(1, b"found")])

    def test_between_replies(self) -> None:
        """A change is told while a request for another key waits."""
        connection, wire = self.connect()
        watch, tell = self.begin(connection, 1)
        watch.presents[0].callback(NoRecord.NOT_FOUND)
        connection.dataReceived(encode_put(0, 0, key(2), b"slow"))
        tell(self.found(b"news"))
        self.assertEqual(wire.replies()[1:], [changed(1, b"news")])

    def test_gone_meanwhile(self) -> None:
        """A watch that begins after its client has gone ends at once."""
        connection, _ = self.connect()
        connection.dataReceived(encode_watch(key(1)))
        self.hang_up(connection)
        watch = self.SlowWatch()
        self.node.calls[0].answer.callback(watch)
        self.assertTrue(watch.is_ended)

    def test_not_ready(self) -> None:
        """A node that is not ready says so, and no watch has begun."""
        connection, wire = self.connect()
        connection.dataReceived(encode_watch(key(1)))
        self.node.calls[0].answer.callback(NoRecord.NOT_READY)
        self.assertEqual(wire.replies(), [MissingRecord(key(1), NoRecord.NOT_READY)])
