import random

from attrs import evolve
from twisted.logger import capturedLogs

from dht14.errors import CallFailed
from dht14.kademlia.parameters import MAX_VALUE
from dht14.net.api.connection import LINGER_TIMEOUT, REQUESTS_PER_TURN
from dht14.net.api.factory import ApiFactory
from dht14.net.api.frame_timeout import FRAME_TIMEOUT
from dht14.net.api.metrics import BadFrame
from dht14.net.api.request_queue import MAX_HELD_BYTES, MAX_REQUESTS
from dht14.records.receipt import NoRecord, PutOutcome, PutReason, Receipt
from dht14.wire.api_messages import (
    Failure,
    FoundRecord,
    MissingRecord,
    PutReceipt,
    Success,
    encode_failure,
    encode_get,
    encode_get_record,
    encode_put,
)
from tests.fakes import fields
from tests.net.api.case import STORED, UNLIMITED, ApiTestCase, QuickNode, key

BAD = encode_failure(bytes(32))


class AnswerTests(ApiTestCase):
    def test_get(self) -> None:
        """A GET is answered with the value, or with FAILURE if there is none."""
        connection, wire = self.connect()
        connection.dataReceived(encode_get(key(1)) + encode_get(key(2)))
        self.assertEqual(self.node.asked(), [("get", 1), ("get", 2)])
        self.node.calls[0].answer.callback(b"value")
        self.node.calls[1].answer.callback(None)
        self.assertEqual(wire.replies(), [Success(key(1), b"value"), Failure(key(2))])

    def test_put(self) -> None:
        """A PUT reaches the node unchanged. Its reply has its value, or is FAILURE if it is not stored."""
        connection, wire = self.connect()
        connection.dataReceived(encode_put(1, 2, key(1), b"one") + encode_put(65_535, 255, key(2), b"two"))
        self.assertEqual(self.node.asked(), [("put", 1, b"one", 1, 2), ("put", 2, b"two", 65_535, 255)])
        self.node.calls[0].answer.callback(True)
        self.node.calls[1].answer.callback(False)
        self.assertEqual(wire.replies(), [Success(key(1), b"one"), Failure(key(2))])

    def test_in_order(self) -> None:
        """Requests for different keys run at once; their replies are sent in the order of the requests."""
        connection, wire = self.connect()
        connection.dataReceived(b"".join(encode_get(key(n)) for n in range(5)))
        for n in (3, 1, 4, 2, 0):
            self.assertEqual(wire.value(), b"")
            self.node.calls[n].answer.callback(b"%d" % n)
        self.assertEqual(wire.replies(), [Success(key(n), b"%d" % n) for n in range(5)])

    def test_same_key_waits(self) -> None:
        """A GET begins only after the earlier PUTs of its key are done."""
        connection, wire = self.connect()
        connection.dataReceived(
            encode_put(0, 0, key(1), b"a")
            + encode_put(0, 0, key(1), b"b")
            + encode_get(key(1))
            + encode_get(key(2))
        )
        self.assertEqual(self.node.asked(), [("put", 1, b"a", 0, 0), ("get", 2)])
        self.node.calls[0].answer.callback(True)
        self.node.calls[2].answer.callback(True)
        self.assertEqual(self.node.asked()[2:], [("put", 1, b"b", 0, 0), ("get", 1)])
        self.node.calls[3].answer.callback(b"b")
        self.node.calls[1].answer.callback(None)
        self.assertEqual([reply.key for reply in wire.replies()], [key(1), key(1), key(1), key(2)])

    def test_failing_node(self) -> None:
        """If the node fails, the client gets FAILURE, and the failure is logged without the key."""
        connection, wire = self.connect()
        connection.dataReceived(encode_get(key(1)))
        with capturedLogs() as events:
            self.node.calls[0].answer.errback(ZeroDivisionError("a bug"))
        self.assertEqual(wire.replies(), [Failure(key(1))])
        self.assertEqual(fields(events, "client"), [("127.0.0.1",)])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_impossible_value(self) -> None:
        """A value that fits no reply is a bug: it is logged, and costs only this connection."""
        self.api.node = QuickNode({1: b""})
        connection, _ = self.connect()
        self.assertRaises(ValueError, connection.dataReceived, encode_get(key(1)))
        self.hang_up(connection)
        self.assertEqual((self.api.metrics.connections, self.api.metrics.left_behind), (0, 0))

    def test_stopped_node(self) -> None:
        """A failure because the node is stopping is not logged."""
        connection, wire = self.connect()
        connection.dataReceived(encode_get(key(1)))
        with capturedLogs() as events:
            self.node.calls[0].answer.errback(CallFailed("shutting down"))
        self.assertEqual(wire.replies(), [Failure(key(1))])
        self.assertEqual(list(events), [])

    def test_raising_node(self) -> None:
        """A node that raises is treated like one that fails; the same failure is logged once."""
        self.api.node = object()  # type: ignore[assignment]
        connection, wire = self.connect()
        connection.dataReceived(encode_get(key(1)) + encode_put(0, 0, key(2), b"v"))
        self.assertEqual(wire.replies(), [Failure(key(1)), Failure(key(2))])
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)

    def test_counted(self) -> None:
        """Requests and replies are counted."""
        connection, _ = self.connect()
        connection.dataReceived(encode_get(key(1)) + encode_get(key(2)) + encode_put(0, 0, key(3), b"v"))
        for call, answer in zip(self.node.calls, [b"v", None, True], strict=True):
            call.answer.callback(answer)
        counters = self.api.metrics
        self.assertEqual(
            (counters.gets, counters.puts, counters.successes, counters.failures, counters.connections),
            (2, 1, 2, 1, 1),
        )


class ExtensionTests(ApiTestCase):
    """Types 660 to 664, on the same connection as the others."""

    def test_receipt(self) -> None:
        """A PUT WITH RECEIPT is answered with its receipt, whatever the outcome."""
        connection, wire = self.connect()
        conflict = Receipt(PutOutcome.NOT_STORED, 0, 8, PutReason.CONFLICT, 3)
        superseded = Receipt(PutOutcome.SUPERSEDED, 2, 3, PutReason.NONE, 9)
        for n in range(3):
            connection.dataReceived(encode_put(60, 3, key(n), b"v", receipt=True))
        self.assertEqual(self.node.asked(), [("put", n, b"v", 60, 3) for n in range(3)])
        receipts = [STORED, conflict, superseded]
        for call, receipt in zip(self.node.calls, receipts, strict=True):
            call.answer.callback(receipt)
        self.assertEqual(wire.replies(), [PutReceipt(key(n), receipt) for n, receipt in enumerate(receipts)])
        self.assertEqual((self.api.metrics.successes, self.api.metrics.failures), (2, 1))

    def test_plain_put(self) -> None:
        """A plain PUT gets SUCCESS for every outcome but failure: also with few nodes, or after a later
        write."""
        connection, wire = self.connect()
        for n, outcome in enumerate((PutOutcome.STORED_BY_ALL, PutOutcome.SUPERSEDED)):
            connection.dataReceived(encode_put(0, 0, key(n), b"v"))
            self.node.calls[n].answer.callback(Receipt(outcome, 1, 8))
        self.assertEqual(wire.replies(), [Success(key(0), b"v"), Success(key(1), b"v")])

    def test_record(self) -> None:
        """A GET RECORD returns kind, version and the remaining whole seconds."""
        connection, wire = self.connect()
        connection.dataReceived(encode_get_record(key(1)))
        self.assertEqual(self.node.asked(), [("get", 1)])
        self.clock.advance(0.5)
        self.node.calls[0].answer.callback(b"value")
        self.assertEqual(wire.replies(), [FoundRecord(key(1), 1, 5, 59, b"value")])

    def test_content(self) -> None:
        """The flag of a GET RECORD reaches the node."""
        connection, _ = self.connect()
        connection.dataReceived(encode_get_record(key(1), content=True))
        self.assertEqual(self.node.asked(), [("get content", 1)])

    def test_no_record(self) -> None:
        """If there is no record, the reply has the reason; a plain GET gets FAILURE for each reason."""
        connection, wire = self.connect()
        for n, reason in enumerate(NoRecord):
            connection.dataReceived(encode_get_record(key(n)) + encode_get(key(n)))
            self.node.calls[-1].answer.callback(reason)
            self.node.calls[-1].answer.callback(reason)
        replies = wire.replies()
        self.assertEqual(replies[::2], [MissingRecord(key(n), reason) for n, reason in enumerate(NoRecord)])
        self.assertEqual(replies[1::2], [Failure(key(n)) for n in range(len(NoRecord))])

    def test_order(self) -> None:
        """Old and new requests share one order; those of one key wait for each other."""
        connection, wire = self.connect()
        connection.dataReceived(
            encode_put(0, 0, key(1), b"a", receipt=True) + encode_get(key(2)) + encode_get_record(key(1))
        )
        self.assertEqual(self.node.asked(), [("put", 1, b"a", 0, 0), ("get", 2)])
        self.node.calls[1].answer.callback(b"two")
        self.assertEqual(wire.value(), b"")
        self.node.calls[0].answer.callback(STORED)
        self.node.calls[2].answer.callback(b"a")
        self.assertEqual(
            wire.replies(),
            [PutReceipt(key(1), STORED), Success(key(2), b"two"), FoundRecord(key(1), 1, 5, 60, b"a")],
        )

    def test_failing_node(self) -> None:
        """If the node fails, the client gets "nodes did not answer", not "not found"; of a PUT, that it is
        not known to be stored."""
        connection, wire = self.connect()
        connection.dataReceived(encode_get_record(key(1)) + encode_put(0, 4, key(2), b"v", receipt=True))
        for call in self.node.calls:
            call.answer.errback(CallFailed("shutting down"))
        receipt = Receipt(PutOutcome.NOT_STORED, 0, 4, PutReason.UNFINISHED)
        self.assertEqual(
            wire.replies(), [MissingRecord(key(1), NoRecord.UNANSWERED), PutReceipt(key(2), receipt)]
        )

    def test_hang_up(self) -> None:
        """A PUT WITH RECEIPT whose client hung up is carried out; a GET RECORD is not begun."""
        connection, _ = self.connect()
        same = encode_get(key(1)) + encode_put(0, 0, key(1), b"a", receipt=True) + encode_get_record(key(1))
        connection.dataReceived(same)
        self.hang_up(connection)
        self.node.calls[0].answer.callback(None)
        self.node.calls[1].answer.callback(STORED)
        self.assertEqual(self.node.asked(), [("get", 1), ("put", 1, b"a", 0, 0)])
        self.assertEqual(self.api.metrics.left_behind, 0)


class QuickTests(ApiTestCase):
    def make_node(self) -> QuickNode:
        return QuickNode({n: b"%d" % n for n in range(10)})

    def test_one_write(self) -> None:
        """Replies that are ready at once are written in one piece."""
        connection, wire = self.connect()
        connection.dataReceived(b"".join(encode_get(key(n % 10)) for n in range(100)))
        self.assertEqual(wire.replies(), [Success(key(n % 10), b"%d" % (n % 10)) for n in range(100)])
        self.assertEqual(wire.writes, 1)

    def test_byte_by_byte(self) -> None:
        """The pieces in which a request arrives do not matter."""
        connection, wire = self.connect()
        for byte in encode_put(0, 0, key(77), b"value") + encode_get(key(77)):
            connection.dataReceived(bytes([byte]))
        self.assertEqual(wire.replies(), [Success(key(77), b"value")] * 2)

    def test_turns(self) -> None:
        """A long pipeline is served in several turns of the reactor, and is not read meanwhile."""
        connection, wire = self.connect()
        connection.dataReceived(encode_get(key(1)) * (2 * REQUESTS_PER_TURN + 1))
        self.assertEqual((len(wire.replies()), wire.reading), (REQUESTS_PER_TURN, False))
        self.clock.advance(0)
        self.assertEqual((len(wire.replies()), wire.reading), (2 * REQUESTS_PER_TURN + 1, True))


class BackPressureTests(ApiTestCase):
    def test_requests_at_work(self) -> None:
        """With 64 requests under way nothing is read or begun until one is answered."""
        connection, wire = self.connect()
        connection.dataReceived(b"".join(encode_get(key(n)) for n in range(MAX_REQUESTS + 2)))
        self.assertEqual((len(self.node.calls), wire.reading), (64, False))
        self.node.calls[1].answer.callback(None)
        self.assertEqual(len(self.node.calls), 64)
        self.node.calls[0].answer.callback(None)
        self.assertEqual((len(self.node.calls), wire.reading), (66, False))
        self.node.calls[2].answer.callback(None)
        self.assertTrue(wire.reading)

    def test_bytes_held(self) -> None:
        """The same holds if the values of the requests take too much memory."""
        connection, wire = self.connect()
        for n in range(20):
            connection.dataReceived(encode_put(0, 0, key(n), bytes(MAX_VALUE)))
        enough = -(-MAX_HELD_BYTES // MAX_VALUE)
        self.assertEqual((len(self.node.calls), wire.reading), (enough, False))

    def test_slow_reader(self) -> None:
        """For a client that does not read its replies nothing is read or begun; when it reads, work
        continues."""
        self.api.node = QuickNode({1: bytes(MAX_VALUE)})
        connection, wire = self.connect(buffer=200_000)
        connection.dataReceived(encode_get(key(1)) * 100)
        got = len(wire.replies())
        self.assertTrue(0 < got < 10)
        self.assertFalse(wire.reading)
        while not wire.reading:
            wire.clear()
            connection.resumeProducing()
            got += len(wire.replies())
        self.assertEqual(got, 100)

    def test_late_answers_of_a_slow_reader(self) -> None:
        """A request that waited for its key does not begin either while the client does not read."""
        connection, _ = self.connect(buffer=10)
        connection.dataReceived(encode_get(key(2)) + encode_put(0, 0, key(1), b"v") + encode_get(key(1)))
        self.node.calls[0].answer.callback(b"more than the client takes")
        self.node.calls[1].answer.callback(True)
        self.assertEqual(len(self.node.calls), 2)
        connection.resumeProducing()
        self.assertEqual(self.node.asked()[2:], [("get", 1)])


class FrameTimeTests(ApiTestCase):
    def test_half_a_message(self) -> None:
        """A frame that is not complete 30 s after its first byte ends the connection, however it arrives."""
        connection, wire = self.connect()
        connection.dataReceived(encode_get(key(1))[:1])
        self.clock.advance(FRAME_TIMEOUT - 1)
        connection.dataReceived(encode_get(key(1))[1:2])
        self.assertEqual(wire.said, [])
        self.clock.advance(1)
        self.assertEqual(wire.said, ["write side closed"])
        self.assertEqual(self.bad_frames(), {BadFrame.TOO_SLOW: 1})

    def test_idle(self) -> None:
        """A connection without an incomplete frame stays open."""
        connection, wire = self.connect()
        connection.dataReceived(encode_get(key(1)))
        self.node.calls[0].answer.callback(None)
        self.clock.advance(100_000)
        self.assertEqual((wire.said, wire.reading), ([], True))

    def test_each_message(self) -> None:
        """Each frame has its own 30 s."""
        self.api.node = QuickNode()
        connection, wire = self.connect()
        half = len(encode_get(key(1))) // 2
        connection.dataReceived(encode_get(key(1))[:half])
        for _ in range(5):
            self.clock.advance(FRAME_TIMEOUT - 1)
            connection.dataReceived(encode_get(key(1))[half:] + encode_get(key(1))[:half])
        self.assertEqual((len(wire.replies()), wire.said), (5, []))
        self.clock.advance(FRAME_TIMEOUT)
        self.assertEqual(wire.said, ["write side closed"])

    def test_not_counted_while_not_read(self) -> None:
        """Time in which the node does not read does not count."""
        connection, wire = self.connect()
        connection.dataReceived(encode_get(key(1)) + encode_get(key(2))[:5])
        self.clock.advance(FRAME_TIMEOUT - 1)
        connection.pauseProducing()
        self.node.calls[0].answer.callback(None)
        self.assertFalse(wire.reading)
        self.clock.advance(1000)
        connection.resumeProducing()
        self.assertEqual((wire.said, wire.reading), ([], True))
        self.clock.advance(1)
        self.assertEqual(wire.said, ["write side closed"])


class BadFrameTests(ApiTestCase):
    def test_good_ones_first(self) -> None:
        """Replies to the requests before a bad frame are sent; bytes after it are ignored."""
        connection, wire = self.connect()
        connection.dataReceived(encode_get(key(1)) + BAD + encode_get(key(2)))
        connection.dataReceived(encode_get(key(3)))
        self.assertEqual((self.node.asked(), wire.said, wire.reading), ([("get", 1)], [], False))
        self.node.calls[0].answer.callback(b"v")
        self.assertEqual((wire.replies(), wire.said), ([Success(key(1), b"v")], ["write side closed"]))

    def test_client_closes(self) -> None:
        """After the node has closed its side, the connection ends with the client's side; bytes until then
        are discarded."""
        connection, wire = self.connect()
        connection.dataReceived(BAD)
        connection.dataReceived(encode_get(key(1)))
        connection.readConnectionLost()
        self.assertEqual((self.node.calls, wire.said), ([], ["write side closed", "closed"]))
        self.hang_up(connection)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_refused_by_its_head(self) -> None:
        """An impossible frame ends the connection with its fourth byte; requests before it are answered."""
        for head in (
            b"GET ",
            b"\x16\x03\x01\x02",
            b"SSH-",
            b"\x00\x25\x02\x8b",
            b"\x00\x28\x02\x94",
            b"\x00\x25\x02\x9c",
        ):
            connection, wire = self.connect()
            connection.dataReceived(encode_get(key(1)) + head[:3])
            self.node.calls[-1].answer.callback(b"v")
            self.assertEqual((wire.replies(), wire.said), ([Success(key(1), b"v")], []))
            connection.dataReceived(head[3:])
            self.assertEqual(wire.said, ["write side closed"])
            self.hang_up(connection)
        self.assertEqual(
            self.bad_frames(),
            {BadFrame.UNKNOWN_TYPE: 4, BadFrame.WRONG_SIZE: 1, BadFrame.EMPTY_VALUE: 1},
        )

    def test_client_does_not_close(self) -> None:
        """A client that does not close its side is cut off."""
        connection, wire = self.connect()
        connection.dataReceived(BAD)
        self.clock.advance(LINGER_TIMEOUT)
        self.assertEqual(wire.said, ["write side closed", "aborted"])

    def test_counted_and_logged(self) -> None:
        """Each bad frame is counted by reason and logged once for its connection, with the client's
        address."""
        with capturedLogs() as events:
            for bad in (BAD, b"\0\1\0\0", encode_get(key(1))[:2] + bytes(34), BAD):
                connection, _ = self.connect()
                connection.dataReceived(bad)
        reasons = ["unknown type", "size below the minimum", "unknown type", "unknown type"]
        self.assertEqual(fields(events, "client", "reason"), [("127.0.0.1", reason) for reason in reasons])
        self.assertEqual(self.bad_frames(), {BadFrame.UNKNOWN_TYPE: 3, BadFrame.TOO_SMALL: 1})

    def test_each_reason(self) -> None:
        """There is no reason that cannot be counted, but for texts of a later decoder."""
        for head in (b"GET ", b"\x00\x25\x02\x8b", b"\0\1", b"\x00\x28\x02\x8a", encode_get(key(1))[:1]):
            self.connect()[0].dataReceived(head)
        self.connect()[0].dataReceived(encode_get_record(key(1))[:-1] + b"\2")
        self.clock.advance(FRAME_TIMEOUT)
        self.assertEqual(self.bad_frames(), dict.fromkeys(set(BadFrame) - {BadFrame.OTHER}, 1))

    def test_log_is_bounded(self) -> None:
        """A flood of bad frames does not flood the log."""
        with capturedLogs() as events:
            for _ in range(1000):
                connection, _ = self.connect()
                connection.dataReceived(BAD)
                self.hang_up(connection)
        self.assertTrue(10 < len(events) < 100)
        self.assertEqual(self.api.metrics.bad_frames[BadFrame.UNKNOWN_TYPE], 1000)


class HangUpTests(ApiTestCase):
    def test_puts_are_carried_through(self) -> None:
        """A PUT whose client hung up is carried out, whether it is under way, waiting, or not decoded yet."""
        connection, _ = self.connect()
        same = encode_put(0, 0, key(1), b"a") + encode_get(key(1)) + encode_put(0, 0, key(1), b"b")
        others = b"".join(encode_put(0, 0, key(n), b"v") for n in range(2, 70))
        connection.dataReceived(same + others + encode_get(key(99)) + encode_put(0, 0, key(70), b"v") + b"\0")
        self.hang_up(connection)
        for call in self.node.calls:
            call.answer.callback(True)
        self.assertEqual(
            sorted(self.node.asked()),
            sorted(
                [
                    ("put", 1, b"a", 0, 0),
                    ("put", 1, b"b", 0, 0),
                    *(("put", n, b"v", 0, 0) for n in range(2, 71)),
                ]
            ),
        )
        self.assertEqual(self.api.metrics.left_behind, 0)

    def test_at_the_client_s_rate(self) -> None:
        """Requests that a client left still cost its tokens; its GETs cost nothing any more."""
        limits = evolve(UNLIMITED, requests_per_second=1, burst_size=1)
        self.api = ApiFactory(self.node, limits, self.clock)
        connection, _ = self.connect()
        connection.dataReceived(
            encode_put(0, 0, key(1), b"v") + encode_get(key(2)) * 50 + encode_put(0, 0, key(3), b"v")
        )
        self.hang_up(connection)
        self.assertEqual(len(self.node.calls), 1)
        self.clock.advance(1)
        self.assertEqual(len(self.node.calls), 2)
        for call in self.node.calls:
            call.answer.callback(True)
        self.assertEqual((self.api.metrics.left_behind, self.clock.getDelayedCalls()), (0, []))

    def test_half_close(self) -> None:
        """A client that only closes its own side gets all its replies; then the connection is closed."""
        connection, wire = self.connect()
        connection.dataReceived(b"".join(encode_get(key(n)) for n in range(70)))
        connection.readConnectionLost()
        for n in range(70):
            self.assertEqual(wire.said, [])
            self.node.calls[n].answer.callback(b"v")
        self.assertEqual((len(wire.replies()), wire.said), (70, ["closed"]))

    def test_bad_frame_before_half_close(self) -> None:
        """The end of the stream does not make a bad frame good."""
        connection, wire = self.connect()
        connection.dataReceived(encode_get(key(1)) + BAD)
        connection.readConnectionLost()
        self.node.calls[0].answer.callback(None)
        self.assertEqual((wire.replies(), wire.said), ([Failure(key(1))], ["write side closed"]))


class RandomFramesTests(ApiTestCase):
    def make_node(self) -> QuickNode:
        return QuickNode()

    def test_nonsense(self) -> None:
        """Random bytes raise nothing; only a decoded request reaches the node or is answered."""
        rng = random.Random(9)
        for _ in range(2000):
            connection, _ = self.connect()
            body = rng.randbytes(rng.choice([0, 31, 32, 33, 36, 37, 100]))
            kind = rng.choice([650, 651, 652, 653, 660, 662, rng.randrange(65_536)])
            size = rng.choice([4 + len(body), rng.randrange(65_536)])
            connection.dataReceived(size.to_bytes(2, "big") + kind.to_bytes(2, "big") + body)
            self.hang_up(connection)
        counters = self.api.metrics
        self.assertEqual(counters.successes + counters.failures, counters.puts + counters.gets)
        self.assertEqual((counters.connections, counters.left_behind), (0, 0))
        self.assertEqual(self.clock.getDelayedCalls(), [])
