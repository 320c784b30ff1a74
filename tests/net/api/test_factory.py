from attrs import evolve
from twisted.internet.error import ConnectionDone
from twisted.python import failure

from dht14.net.api.factory import ApiFactory
from dht14.records.receipt import PutReason
from dht14.wire.api_messages import (
    Failure,
    PutReceipt,
    Success,
    encode_get,
    encode_put,
)
from tests.net.api.case import STORED, UNLIMITED, ApiTestCase, QuickNode, key


class CloseTests(ApiTestCase):
    def test_nothing_to_close(self) -> None:
        """Without connections it closes at once."""
        self.successResultOf(self.api.close())

    def test_finishes_what_is_at_work(self) -> None:
        """Requests under way are answered, no new ones begin, and it is closed when all connections have
        ended."""
        (busy, wire), (idle, other) = self.connect(), self.connect()
        busy.dataReceived(b"".join(encode_get(key(n)) for n in range(65)))
        closed = self.api.close()
        self.assertEqual((wire.said, other.said), ([], ["closed"]))
        for n in range(64):
            self.node.calls[n].answer.callback(b"v")
        self.assertEqual((len(wire.replies()), wire.said, len(self.node.calls)), (64, ["closed"], 64))
        self.hang_up(busy)
        self.assertNoResult(closed)
        self.hang_up(idle)
        self.successResultOf(closed)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_patience_ends(self) -> None:
        """A request that takes too long is answered with FAILURE, in its place; the node's result is
        ignored then."""
        connection, wire = self.connect()
        connection.dataReceived(encode_get(key(1)) + encode_put(0, 0, key(1), b"v") + encode_get(key(2)))
        self.api.close(timeout=2.0)
        self.node.calls[1].answer.callback(b"two")
        self.clock.advance(2.0)
        self.assertEqual(wire.replies(), [Failure(key(1)), Failure(key(1)), Success(key(2), b"two")])
        self.assertEqual(wire.said, ["closed"])
        self.node.calls[0].answer.callback(b"late")
        self.assertEqual((len(wire.replies()), len(self.node.calls)), (3, 2))
        self.clock.advance(2.0)
        self.assertEqual(wire.said, ["closed", "aborted"])

    def test_put_under_way(self) -> None:
        """A put that is under way when the patience ends may be stored: its receipt says that this is not
        known. One that has not begun will not be stored, and its receipt says so."""
        connection, wire = self.connect()
        connection.dataReceived(2 * encode_put(0, 8, key(1), b"v", receipt=True))
        self.api.close(timeout=2.0)
        self.assertEqual(len(self.node.calls), 1)
        self.clock.advance(2.0)
        reasons = [reply.receipt.reason for reply in wire.replies() if isinstance(reply, PutReceipt)]
        self.assertEqual(reasons, [PutReason.UNFINISHED, PutReason.NOT_READY])
        self.clock.advance(2.0)

    def test_throttled(self) -> None:
        """A client that waits for tokens or does not read does not delay the close."""
        self.api = ApiFactory(QuickNode(), evolve(UNLIMITED, requests_per_second=1), self.clock)
        connection, wire = self.connect()
        connection.dataReceived(encode_get(key(1)) * 5)
        closed = self.api.close()
        self.assertEqual((len(wire.replies()), wire.said), (1, ["closed"]))
        connection.connectionLost(failure.Failure(ConnectionDone()))
        self.successResultOf(closed)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_left_behind(self) -> None:
        """The close waits for PUTs whose client hung up, but not longer than for others."""
        connection, _ = self.connect()
        connection.dataReceived(encode_put(0, 0, key(1), b"v"))
        self.hang_up(connection)
        closed = self.api.close(timeout=2.0)
        self.assertNoResult(closed)
        self.clock.advance(2.0)
        self.successResultOf(closed)


class SilentPutTests(ApiTestCase):
    answers_puts = False

    def test_no_reply(self) -> None:
        """Where PUTs are not answered, a GET behind a PUT still waits for it."""
        connection, wire = self.connect()
        connection.dataReceived(encode_put(0, 0, key(1), b"v") + encode_get(key(1)))
        self.assertEqual(self.node.asked(), [("put", 1, b"v", 0, 0)])
        self.node.calls[0].answer.callback(True)
        self.node.calls[1].answer.callback(b"v")
        self.assertEqual(wire.replies(), [Success(key(1), b"v")])

    def test_receipt(self) -> None:
        """A client that asks for a receipt gets one in any case."""
        connection, wire = self.connect()
        connection.dataReceived(encode_put(0, 0, key(1), b"v", receipt=True))
        self.node.calls[0].answer.callback(STORED)
        self.assertEqual(wire.replies(), [PutReceipt(key(1), STORED)])
