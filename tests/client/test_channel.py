import random
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from dht14.client.channel import (
    CHUNK_BYTES,
    PIPELINE_LIMIT,
    SILENCE_TIMEOUT,
    Channel,
    Exchange,
)
from dht14.client.dialect import Dialect, NodeDialect
from dht14.client.errors import NoNode, TimedOut
from dht14.kademlia.parameters import MAX_VALUE
from dht14.records.receipt import NoRecord, PutOutcome, Receipt
from dht14.wire.api_messages import (
    ApiReply,
    FoundRecord,
    Get,
    GetRecord,
    Put,
    PutReceipt,
    PutWithReceipt,
    decode_request,
    encode_failure,
    encode_no_record,
    encode_receipt,
    encode_record,
    encode_success,
)
from dht14.wire.frames import FrameSplitter

TIMEOUT = 15.0
STORED = Receipt(PutOutcome.STORED, 8, 8, version=7)


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def get(number: int, now: float = 0.0) -> Exchange:
    return Exchange(GetRecord(key(number)), now + TIMEOUT)


def put(number: int, value: bytes = b"value", now: float = 0.0) -> Exchange:
    return Exchange(PutWithReceipt(60, 8, key(number), value), now + TIMEOUT)


def found(number: int) -> bytes:
    return encode_record(key(number), 1, 7, 60, b"value")


def requests(frames: bytes) -> list[Put | Get]:
    splitter = FrameSplitter()
    splitter.feed(frames)
    return [decode_request(frame) for frame in iter(splitter.next_frame, None)]


class ChannelTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.node = NodeDialect()
        self.channel = Channel(self.node)

    def begin(self, *exchanges: Exchange, now: float = 0.0) -> bytes:
        """Add some, connect, send."""
        for exchange in exchanges:
            self.channel.add(exchange)
        self.channel.connected(now)
        return self.channel.to_send(now)

    def prove(self) -> None:
        """Let the node answer one request in the extended dialect, and keep the connection."""
        self.begin(get(0))
        self.channel.received(found(0), 0.0)


class MatchingTests(ChannelTestCase):
    """Which reply belongs to which request."""

    def test_one(self) -> None:
        """A request is sent once there is a connection, and has its reply."""
        one = get(1)
        self.channel.add(one)
        self.assertTrue(self.channel.has_work())
        frames = self.begin()
        self.assertEqual(requests(frames), [GetRecord(key(1))])
        self.assertEqual(self.channel.received(found(1), 1.0), [one])
        self.assertEqual(one.outcome, FoundRecord(key(1), 1, 7, 60, b"value"))
        self.assertFalse(self.channel.has_work())

    def test_in_order(self) -> None:
        """Replies go to the requests in their order, also of requests for one key."""
        one, two, three = put(1), get(1), get(2)
        self.begin(one, two, three)
        replies = encode_receipt(key(1), STORED) + found(1) + encode_no_record(key(2), NoRecord.NOT_FOUND)
        self.assertEqual(self.channel.received(replies, 1.0), [one, two, three])
        self.assertIsInstance(one.outcome, PutReceipt)

    def test_pipelined(self) -> None:
        """Some requests are under way at a time; a reply makes room for the next."""
        first = self.begin(*(get(number) for number in range(1000)))
        self.assertEqual(len(requests(first)), PIPELINE_LIMIT)
        self.assertEqual(self.channel.to_send(0.0), b"")
        self.channel.received(found(0) + found(1), 0.0)
        self.assertEqual(len(requests(self.channel.to_send(0.0))), 2)

    def test_large_values_wait(self) -> None:
        """Values are encoded some at a time."""
        frames = self.begin(*(put(number, bytes(MAX_VALUE)) for number in range(100)))
        self.assertLess(len(frames), CHUNK_BYTES + (1 << 16))

    def test_abandoned(self) -> None:
        """A request that nobody waits for is not sent; the reply to one that was sent is thrown away."""
        one, two, three = get(1), get(2), get(3)
        two.abandon()
        frames = self.begin(one, two, three)
        self.assertEqual([request.key for request in requests(frames)], [key(1), key(3)])
        one.abandon()
        self.assertEqual(self.channel.received(found(1) + found(3), 0.0), [three])
        self.assertIsInstance(one.outcome, TimedOut)

    def test_of_another_question(self) -> None:
        """A reply with another key, or to a request of the other kind, is nonsense: all that was under way
        fails, and the connection is done with."""
        makers: list[tuple[Callable[[int], Exchange], bytes]] = [
            (get, found(2)),
            (get, encode_receipt(key(1), STORED)),
            (put, found(1)),
            (put, encode_no_record(key(1), NoRecord.NOT_FOUND)),
            (get, b"HTTP/1.1 400 Bad Request\r\n\r\n"),
            (get, b"\0\0\0\0"),
        ]
        for make, reply in makers:
            self.setUp()
            exchanges = [make(1), make(2)]
            self.begin(*exchanges)
            self.assertEqual(self.channel.received(reply, 0.0), exchanges, reply)
            for exchange in exchanges:
                self.assertIsInstance(exchange.outcome, NoNode)
            self.assertFalse(self.channel.is_connected)

    def test_before_nonsense(self) -> None:
        """What came before the nonsense counts."""
        one, two = get(1), get(2)
        self.begin(one, two)
        self.assertEqual(self.channel.received(found(1) + b"\0\0\0\0", 0.0), [one, two])
        self.assertIsInstance(one.outcome, FoundRecord)
        self.assertIsInstance(two.outcome, NoNode)

    def test_unasked(self) -> None:
        """A reply that nobody asked for ends the connection."""
        self.begin()
        self.assertEqual(self.channel.received(found(1), 0.0), [])
        self.assertFalse(self.channel.is_connected)

    @given(st.lists(st.integers(0, 3), max_size=30), st.randoms(use_true_random=False))
    def test_any_pieces(self, numbers: list[int], rng: random.Random) -> None:
        """However the stream is cut into pieces, each request has the reply that is its own."""
        self.setUp()
        exchanges = [get(number) if rng.random() < 0.5 else put(number) for number in numbers]
        self.begin(*exchanges)
        stream = b"".join(
            found(number) if isinstance(one.request, Get) else encode_receipt(key(number), STORED)
            for number, one in zip(numbers, exchanges, strict=True)
        )
        settled: list[Exchange] = []
        while stream:
            cut = rng.choice((1, 2, 3, 40, 200))
            settled += self.channel.received(stream[:cut], 0.0)
            stream = stream[cut:]
        self.assertEqual(settled, exchanges)
        self.assertEqual([outcome_key(one) for one in settled], [one.request.key for one in exchanges])

    @given(st.lists(st.binary(max_size=80), max_size=8))
    def test_any_bytes(self, pieces: list[bytes]) -> None:
        """Whatever bytes come, nothing is raised, and what is settled was asked."""
        self.setUp()
        exchanges = [get(1), put(2)]
        self.begin(*exchanges)
        for piece in pieces:
            settled = self.channel.received(piece, 0.0)
            self.assertLessEqual(set(settled), set(exchanges))
            if not self.channel.is_connected:
                break


def outcome_key(exchange: Exchange) -> bytes:
    outcome = exchange.outcome
    assert isinstance(outcome, ApiReply)
    return outcome.key


class LossTests(ChannelTestCase):
    """What happens to requests when a connection breaks."""

    def setUp(self) -> None:
        super().setUp()
        self.prove()

    def test_sent_again(self) -> None:
        """What was under way is sent again on the next connection, once, before what waits."""
        one, two = get(1), put(2)
        self.begin(one, two)
        self.assertEqual(self.channel.lost(), [])
        self.assertEqual([r.key for r in requests(self.begin(get(3)))], [key(1), key(2), key(3)])
        self.assertEqual(self.channel.lost(), [one, two])
        self.assertIsInstance(one.outcome, NoNode)
        self.assertEqual([r.key for r in requests(self.begin())], [key(3)])

    def test_answered_ones(self) -> None:
        """What has its reply is not sent again."""
        self.begin(put(1), put(2))
        self.channel.received(encode_receipt(key(1), STORED), 0.0)
        self.channel.lost()
        self.assertEqual([r.key for r in requests(self.begin())], [key(2)])

    def test_half_a_reply(self) -> None:
        """Half a reply from the connection that broke is no part of the next one's."""
        one = get(1)
        self.begin(one)
        self.channel.received(found(1)[:20], 0.0)
        self.channel.lost()
        self.begin()
        self.assertEqual(self.channel.received(found(1), 0.0), [one])

    def test_unreachable(self) -> None:
        """Where no connection can be made a new request fails at once; one that was under way waits."""
        one, two = get(1), get(2)
        self.begin(one)
        self.channel.lost()
        self.channel.add(two)
        self.assertEqual(self.channel.unreachable("Connection refused"), [two])
        self.assertIn("refused", str(two.outcome))
        self.assertTrue(self.channel.has_work())
        self.assertEqual(self.channel.expire(TIMEOUT), ([one], False))
        self.assertIsInstance(one.outcome, NoNode)

    def test_not_awaited(self) -> None:
        """A channel that does not wait for a node to come back fails what was under way, too."""
        self.channel = Channel(self.node, awaits_return=False)
        one = get(1)
        self.begin(one)
        self.channel.lost()
        self.assertEqual(self.channel.unreachable("Connection refused"), [one])

    def test_close(self) -> None:
        """When the client is closed everything fails."""
        one, two = get(1), get(2)
        self.begin(one)
        self.channel.add(two)
        self.assertEqual(self.channel.close(), [one, two])
        self.assertFalse(self.channel.has_work())


class TimeoutTests(ChannelTestCase):
    """Requests that are not answered in time."""

    def setUp(self) -> None:
        super().setUp()
        self.prove()

    def test_deadlines(self) -> None:
        """A request fails at its deadline, no earlier; later ones go on waiting."""
        one, two = get(1, 0.0), get(2, 1.0)
        self.begin(one, two)
        self.assertEqual(self.channel.next_deadline(), TIMEOUT)
        self.assertEqual(self.channel.expire(TIMEOUT - 0.1), ([], False))
        failed, _ = self.channel.expire(TIMEOUT)
        self.assertEqual(failed, [one])
        self.assertIsInstance(one.outcome, TimedOut)
        self.assertEqual(self.channel.next_deadline(), TIMEOUT + 1)

    def test_late_reply(self) -> None:
        """The reply to a request that has timed out is thrown away, and the next one is matched all the
        same."""
        one = Exchange(GetRecord(key(1)), 1.0)
        two = get(2, 1.0)
        self.begin(one, two)
        self.assertEqual(self.channel.expire(1.0), ([one], False))
        self.assertEqual(self.channel.received(found(1) + found(2), 2.0), [two])

    def test_dead_connection(self) -> None:
        """A connection with requests under way that has brought nothing for long is dead."""
        one = get(1)
        self.begin(one)
        self.assertEqual(self.channel.expire(TIMEOUT), ([one], True))

    def test_busy_connection(self) -> None:
        """One that has just brought something is not."""
        self.begin(get(1), get(2))
        self.channel.received(found(1), TIMEOUT - 1)
        self.assertFalse(self.channel.expire(TIMEOUT)[1])

    def test_never_sent(self) -> None:
        """A request that never was its turn fails, too, and is not sent later."""
        self.begin(*(get(number) for number in range(PIPELINE_LIMIT)))
        last = Exchange(GetRecord(key(999)), TIMEOUT)
        self.channel.add(last)
        self.assertIn(last, self.channel.expire(TIMEOUT)[0])
        self.channel.lost()
        self.assertEqual(self.begin(), b"")


class DialectTests(ChannelTestCase):
    """Other nodes of a VoidPhone know 650 to 653 alone."""

    def test_closed(self) -> None:
        """A node that closes the connection at a message of ours is asked again in the plain dialect, one
        request at a time."""
        one, two = put(1), get(2)
        self.assertEqual(len(requests(self.begin(one, two))), 2)
        self.channel.lost()
        self.assertIs(self.node.current(), Dialect.PLAIN)
        self.assertEqual(requests(self.begin()), [Put(60, 8, key(1), b"value")])
        self.assertEqual(self.channel.received(encode_success(key(1), b"value"), 0.0), [one])
        self.assertEqual(requests(self.channel.to_send(0.0)), [Get(key(2))])
        self.assertEqual(self.channel.received(encode_failure(key(2)), 0.0), [two])

    def test_silent(self) -> None:
        """So is one that keeps silent."""
        self.begin(get(1))
        self.assertEqual(self.channel.next_deadline(), SILENCE_TIMEOUT)
        self.assertEqual(self.channel.expire(SILENCE_TIMEOUT), ([], True))
        self.channel.lost(by_node=False)
        self.assertEqual(requests(self.begin(now=SILENCE_TIMEOUT)), [Get(key(1))])

    def test_not_for_one_loss(self) -> None:
        """A node that has answered in the extended dialect is asked in it after one loss; after two in the
        plain one."""
        self.prove()
        self.channel.lost()
        for dialect in (Dialect.EXTENDED, Dialect.EXTENDED, Dialect.PLAIN):
            self.assertIs(self.node.current(), dialect)
            self.begin(get(1))
            self.channel.lost()

    def test_again_extended(self) -> None:
        """When the connection in the plain dialect ends the extended one is tried again."""
        self.begin(get(1))
        self.channel.lost()
        self.begin()
        self.channel.received(encode_failure(key(1)), 0.0)
        self.begin(get(2))
        self.channel.lost()
        self.assertIs(self.node.current(), Dialect.EXTENDED)

    def test_idle_end(self) -> None:
        """A connection that ends while nothing is under way says nothing about the node."""
        self.begin()
        self.channel.lost()
        self.assertIs(self.node.current(), Dialect.EXTENDED)

    def test_hopeless(self) -> None:
        """A node that closes every connection fails each request after a few tries."""
        one = get(1)
        self.channel.add(one)
        for _ in range(6):
            self.begin()
            if self.channel.lost():
                break
        self.assertIsInstance(one.outcome, NoNode)

    def test_put_without_reply(self) -> None:
        """A PUT that a node follows the letter of the specification with, without a reply, costs its
        connection alone."""
        one, two = put(1), get(2, 1.0)
        self.begin(one, two)
        self.channel.lost()
        self.begin()
        self.assertEqual(self.channel.expire(TIMEOUT), ([one], True))
        self.channel.lost(by_node=False)
        self.assertEqual([r.key for r in requests(self.begin(now=TIMEOUT))], [key(2)])
