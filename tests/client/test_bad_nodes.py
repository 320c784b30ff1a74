import random
import threading
import time

from twisted.trial.unittest import SynchronousTestCase

import dht14
import dht14.aio
from dht14.client.errors import (
    Incomplete,
    NoNode,
    TimedOut,
)
from dht14.client.keys import content_key, text_key
from dht14.kademlia.parameters import MAX_VALUE
from dht14.wire.api_messages import (
    Put,
    encode_receipt,
    encode_record,
    encode_success,
)
from tests.client import fake_node
from tests.client.both import KEY, AsyncioCalls, BothClients, in_time
from tests.client.fake_node import Conversation, FakeNode
from tests.process.nodes import eventually


class BadNodeCases(BothClients):
    """Nodes that end, hang or talk nonsense."""

    def test_nobody(self) -> None:
        """Where nobody listens a call fails at once."""
        node = FakeNode()
        node.__enter__()
        node.__exit__()
        client = self.connect(node)
        began = time.monotonic()
        error = self.assertRaises(NoNode, client.get, "k")
        self.assertRegex(str(error), r"no node at 127\.0\.0\.1:\d+: Connection refused")
        self.assertRaises(NoNode, client.put, b"x", key="k")
        self.assertLess(time.monotonic() - began, 5)

    def test_no_such_host(self) -> None:
        """So does one to a host that does not exist."""
        client = type(self).client("no such host:7400")
        self.addCleanup(client.__exit__, None, None, None)
        self.assertRaises(NoNode, client.get, "k")

    def test_closing(self) -> None:
        """A node that closes every connection fails the call, not the client."""
        node = self.node(*[fake_node.hang_up] * 4, fake_node.serve)
        client = self.connect(node)
        self.assertRaises(NoNode, client.get, "k")
        self.assertIsNone(client.get("k"))

    def test_closing_at_puts(self) -> None:
        """A put is sent twice at most, also to a node that has never answered."""
        node = self.node(fake_node.hang_up)
        self.assertRaises(NoNode, self.connect(node).put, b"value", key="k")
        puts = [request.value for request in node.requests if isinstance(request, Put)]
        self.assertEqual(puts, [b"value"] * 2)

    def test_closing_at_once(self) -> None:
        """So does one that closes it before any request."""
        client = self.connect(self.node(lambda talk: None))
        self.assertRaises(NoNode, client.get, "k")

    def test_lost_connection(self) -> None:
        """A get and a put whose connection breaks are sent once more on a new one."""
        node = self.node(*[fake_node.serve_first(2)] * 3, fake_node.serve)
        client = self.connect(node)
        for number in range(3):
            client.put(b"x", key=f"k{number}")
            self.assertEqual(client.get(f"k{number}").value, b"x")
        client.put(b"y", key="last")
        self.assertEqual(node.accepted, 4)

    def test_lost_in_a_batch(self) -> None:
        """Connections that break in the middle of a batch cost nothing but the repetition."""
        node = self.node(*[fake_node.serve_first(40)] * 3, fake_node.serve)
        client = self.connect(node)
        client.get("first")
        keys = [f"k{number}" for number in range(60)]
        # 8 at a time: none of them is under way twice when a connection breaks.
        client.put_many([(key, key.encode()) for key in keys], concurrency=8)
        self.assertEqual([found.value.decode() for found in client.get_many(keys, concurrency=8)], keys)

    def test_idle_loss(self) -> None:
        """A connection that the node has closed in the meantime is no failure, and no put is repeated for
        it."""

        closed = threading.Event()

        def one_then_close(talk: Conversation) -> None:
            talk.send(talk.node.reply_to(next(talk.requests())))
            talk.socket.close()
            closed.set()

        node = self.node(one_then_close, fake_node.serve)
        client = self.connect(node)
        client.get("k")
        closed.wait(10)
        client.put(b"x", key="k")
        self.assertEqual(len([request for request in node.requests if isinstance(request, Put)]), 1)

    def test_restart(self) -> None:
        """A call under way when the node dies waits for it to come back."""
        asked = threading.Event()

        def die_at_the_second(talk: Conversation) -> None:
            requests = talk.requests()
            talk.send(talk.node.reply_to(next(requests)))
            next(requests)
            asked.set()
            talk.node.ended.wait()

        first = FakeNode(die_at_the_second)
        first.__enter__()
        client = self.connect(first)
        client.get("k")

        def restart() -> None:
            asked.wait(10)
            first.__exit__()
            time.sleep(0.3)
            restarted = FakeNode(port=first.port)
            self.addCleanup(restarted.__exit__)
            restarted.__enter__()

        thread = threading.Thread(target=restart)
        thread.start()
        self.assertIsNone(client.get("k"))
        thread.join()

    def test_nonsense(self) -> None:
        """What is no message of a node fails the call at once, whatever it is; the next one has a new
        connection."""
        for reply in (
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            b"\0\0",
            b"\0\x04\xff\xff",
            encode_success(text_key("other"), b"x"),
            encode_receipt(KEY, fake_node.STORED),
        ):
            client = self.connect(self.node(fake_node.send_bytes(reply), fake_node.serve))
            began = time.monotonic()
            self.assertRaises(NoNode, client.get, "k")
            self.assertIsNone(client.get("k"))
            self.assertLess(time.monotonic() - began, 5)

    def test_half_a_frame(self) -> None:
        """A reply that never becomes whole times out."""
        reply = encode_record(KEY, 1, 7, 60, b"hello")
        for half in (reply[:1], reply[:3], reply[:20], reply[:-1]):
            client = self.connect(self.node(fake_node.send_bytes(half)), timeout=0.2)
            began = time.monotonic()
            self.assertRaises(TimedOut, client.get, "k")
            self.assertLess(time.monotonic() - began, 10)

    def test_silence(self) -> None:
        """A node that never answers times out, each call after its own timeout."""
        client = self.connect(self.node(fake_node.keep_silent), timeout=0.2)
        for _ in range(2):
            began = time.monotonic()
            self.assertRaises(TimedOut, client.get, "k")
            self.assertTrue(0.19 < time.monotonic() - began < 10)
        error = self.assertRaises(Incomplete, client.get_many, ["a", "b"])
        self.assertEqual([type(result) for result in error.results], [TimedOut, TimedOut])

    def test_slow_replies(self) -> None:
        """A reply that comes after its timeout is thrown away, and the next call has its own."""

        timed_out = threading.Event()

        def script(talk: Conversation) -> None:
            for request in talk.requests():
                timed_out.wait(10)
                talk.send(talk.node.reply_to(request))

        client = self.connect(self.node(script), timeout=0.25)
        self.assertRaises(TimedOut, client.put, b"late", key="k")
        timed_out.set()
        found = eventually(lambda: in_time(client.get, "k"), "a reply in time")
        self.assertEqual(found.value, b"late")

    def test_any_trouble(self) -> None:
        """Connections that end anywhere, in the middle of a reply too, and replies in any pieces: every
        call ends, with the value of its own key or with an error for the trouble."""
        rng = random.Random(15)

        def script(talk: Conversation) -> None:
            left = rng.randrange(1, 3_000)
            for request in talk.requests():
                reply = encode_record(request.key, 1, 7, 60, request.key)
                while reply:
                    size = rng.randrange(1, 90)
                    piece, reply = reply[:size], reply[size:]
                    if (left := left - len(piece)) < 0:
                        return
                    talk.send(piece)

        client = self.connect(self.node(script))
        keys = [content_key(b"%d" % number) for number in range(600)]
        began = time.monotonic()
        try:
            results = client.get_many(keys, concurrency=8)
        except Incomplete as incomplete:
            results = incomplete.results
        for key, result in zip(keys, results, strict=True):
            self.assertTrue(isinstance(result, NoNode) or result.value == key, result)
        self.assertGreater(sum(not isinstance(result, NoNode) for result in results), 100)
        self.assertLess(time.monotonic() - began, 30)

    def test_slow_reader(self) -> None:
        """A node that reads slowly holds the client back; large values in both directions do not block
        each other."""

        def script(talk: Conversation) -> None:
            time.sleep(0.2)
            fake_node.serve(talk)

        client = self.connect(self.node(script))
        items = [(f"k{number}", bytes([number]) * MAX_VALUE) for number in range(100)]
        client.put_many(items, concurrency=100)
        found = client.get_many([key for key, _ in items], concurrency=100)
        self.assertEqual([value.value for value in found], [value for _, value in items])


class BlockingBadNodeTests(BadNodeCases, SynchronousTestCase):
    client = dht14.Client


class AsyncioBadNodeTests(BadNodeCases, SynchronousTestCase):
    client = AsyncioCalls
