"""`watch` of both clients, against nodes of the test."""

import asyncio
import threading
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

import dht14
import dht14.aio
from dht14.client import feeds, sockets
from dht14.errors import Dht14Error
from dht14.records.receipt import NoRecord
from dht14.wire.api_messages import (
    ApiRequest,
    GetRecord,
    WatchKey,
    encode_changed,
    encode_gone,
    encode_no_record,
    encode_record,
    encode_success,
)
from tests.client import fake_node
from tests.client.both import KEY, AsyncioCalls, BothClients
from tests.client.fake_node import Conversation, Script

LARGE = bytes(65_495)


def telling(present: bytes, later: bytes = b"", then_end: bool = False) -> Script:
    """Answer a WATCH with the present state; send another one when the test has fetched that."""

    def script(talk: Conversation) -> None:
        for request in talk.requests():
            if isinstance(request, WatchKey) and request.on:
                talk.send(present)
                if then_end:
                    return
                if later:
                    FETCHED.wait(10)
                    talk.send(later)
            elif isinstance(request, WatchKey):
                talk.send(encode_no_record(KEY, NoRecord.NOT_FOUND))
            else:
                talk.send(encode_success(KEY, LARGE))

    return script


def found(value: bytes, version: int) -> bytes:
    return encode_record(KEY, 1, version, 60, value)


def changed(value: bytes, version: int) -> bytes:
    return encode_changed(KEY, 1, version, 60, value)


GONE = encode_gone(KEY, NoRecord.NOT_FOUND)


FETCHED = threading.Event()
"""Set when a test has fetched the first state."""


class WatchingAsyncio:
    """The asynchronous iterator as a plain one."""

    def __init__(self, calls: Any, key: str) -> None:
        self._loop, self._values = calls._loop, calls._client.watch(key)

    def __iter__(self) -> "WatchingAsyncio":
        return self

    def __next__(self) -> Any:
        return self._loop.run_until_complete(anext(self._values))

    def close(self) -> None:
        self._loop.run_until_complete(self._values.aclose())


class WatchCases(BothClients):
    """What holds for both."""

    def watch(self, client: Any) -> Any:
        if isinstance(client, AsyncioCalls):
            return WatchingAsyncio(client, "k")
        return client.watch("k")

    def states(self, count: int, *scripts: Script) -> list[bytes | None]:
        """So many states that a watch brings, then it is closed."""
        self.served = self.node(*scripts)
        watch = self.watch(self.connect(self.served))
        FETCHED.clear()
        states = [next(watch)]
        FETCHED.set()
        states += [next(watch) for _ in range(count - 1)]
        watch.close()
        return [state and state.value for state in states]

    def test_changes(self) -> None:
        """The present state is followed by each change, and by the end of the value."""
        script = telling(encode_no_record(KEY, NoRecord.NOT_FOUND), changed(b"1", 1))
        self.assertEqual(self.states(2, script), [None, b"1"])

    def test_gone(self) -> None:
        """A value that is gone is None."""
        self.assertEqual(self.states(2, telling(found(b"1", 1), GONE)), [b"1", None])

    def test_reconnects(self) -> None:
        """When the connection breaks the watch begins again; only a state that is new is handed out."""
        scripts = [
            telling(found(b"1", 1), then_end=True),
            telling(found(b"1", 1), then_end=True),
            telling(found(b"2", 2)),
        ]
        self.assertEqual(self.states(2, *scripts), [b"1", b"2"])
        self.assertEqual(self.served.accepted, 3)

    def test_large(self) -> None:
        """A value that is too large for its message is fetched."""
        script = telling(encode_no_record(KEY, NoRecord.NOT_FOUND), changed(LARGE, 1))
        self.assertEqual(self.states(2, script)[1], LARGE)
        self.assertIn(GetRecord(KEY), self.served.requests)

    def test_change_behind_large(self) -> None:
        """A change that comes right behind a value that was fetched is handed out, and nothing older."""

        def script(talk: Conversation) -> None:
            for request in talk.requests():
                if isinstance(request, GetRecord):
                    # The end of the value and the change come in one piece.
                    both = encode_success(KEY, LARGE) + changed(b"3", 3)
                    talk.send(both[:65_000])
                    talk.send(both[65_000:])
                elif isinstance(request, WatchKey) and request.on:
                    talk.send(found(b"1", 1))
                    FETCHED.wait(10)
                    talk.send(changed(LARGE, 2))

        self.assertEqual(self.states(2, script), [b"1", b"3"])

    def test_other_node(self) -> None:
        """A node of another kind is asked again and again."""
        self.patch(feeds, "POLL_INTERVAL", 0.05)
        node = self.node(fake_node.voidphone)
        client = self.connect(node)
        client.put(b"1", key="k")
        watch = self.watch(client)
        self.assertEqual(next(watch).value, b"1")
        node.values[KEY] = b"2"
        self.assertEqual(next(watch).value, b"2")
        watch.close()

    def test_errors(self) -> None:
        """What is wrong at the beginning is raised."""
        for reason, error in (
            (NoRecord.NOT_READY, dht14.NotReady),
            (NoRecord.TOO_MANY_WATCHES, dht14.TooManyWatches),
        ):
            refusing = telling(encode_no_record(KEY, reason))
            watch = self.watch(self.connect(self.node(refusing)))
            self.assertRaises(error, next, watch)
        self.assertRaises(Dht14Error, next, self.watch(self.connect(self.node(lambda talk: None))))

    def test_misuse(self) -> None:
        """A key that is none is refused."""
        client = self.connect(self.node())
        self.assertRaises(
            dht14.BadKey,
            next,
            client.watch("") if not isinstance(client, AsyncioCalls) else WatchingAsyncio(client, ""),
        )


class BlockingWatchTests(WatchCases, SynchronousTestCase):
    client = dht14.Client

    def test_slow_program(self) -> None:
        """A program that looks for changes rarely gets the latest state, whatever has piled up before it."""
        self.patch(sockets, "_RECEIVE_BYTES", 500)
        has_sent, last = threading.Event(), 12

        def script(talk: Conversation) -> None:
            for request in talk.requests():
                if isinstance(request, WatchKey) and request.on:
                    talk.send(found(b"1", 1))
                    FETCHED.wait(10)
                    talk.send(b"".join(changed(bytes(300), version) for version in range(2, last + 1)))
                    has_sent.set()

        watch = self.connect(self.node(script)).watch("k")
        FETCHED.clear()
        self.assertEqual(next(watch).version, 1)
        FETCHED.set()
        self.assertTrue(has_sent.wait(10))
        self.assertEqual(next(watch).version, last)
        watch.close()

    def test_beside_calls(self) -> None:
        """A watch leaves the connections to the calls, and ends when the client is closed."""
        client = self.connect(self.node(telling(found(b"1", 1)), fake_node.serve), connections=1)
        watch = client.watch("k")
        self.assertEqual(next(watch).value, b"1")
        client.put(b"v", key="other")
        client.close()
        self.assertEqual(list(watch), [])


class AsyncioWatchTests(WatchCases, SynchronousTestCase):
    client = AsyncioCalls

    def test_shared(self) -> None:
        """Two watches and a call go through one connection; the last watch that ends says so to the node."""
        node = self.node(self.serve)

        async def talk() -> None:
            async with dht14.aio.Client(node.address) as client:
                first, second = client.watch("k"), client.watch("k")
                self.assertIsNone(await anext(first))
                self.assertIsNone(await anext(second))
                await client.put(b"v", key="other")
                await first.aclose()
                await second.aclose()
                await client.get("other")

        asyncio.run(talk())
        self.assertEqual(node.accepted, 1)
        ends = [request for request in node.requests if request == WatchKey(KEY, on=False)]
        self.assertEqual(len(ends), 1)

    def test_closed(self) -> None:
        """A watch ends when its client is closed."""
        node = self.node(self.serve)

        async def talk() -> int:
            client = dht14.aio.Client(node.address)
            values = client.watch("k")
            await anext(values)
            rest = asyncio.ensure_future(count(values))
            await asyncio.sleep(0)
            await client.close()
            return await asyncio.wait_for(rest, 10)

        async def count(values: Any) -> int:
            return len([value async for value in values])

        self.assertEqual(asyncio.run(talk()), 0)

    def test_cancelled(self) -> None:
        """A task that watches can be cancelled."""
        node = self.node(self.serve)

        async def talk() -> None:
            async with dht14.aio.Client(node.address) as client:
                seen = asyncio.Event()

                async def watch() -> None:
                    async for _ in client.watch("k"):
                        seen.set()

                task = asyncio.ensure_future(watch())
                await seen.wait()
                task.cancel()
                with self.assertRaises(asyncio.CancelledError):
                    await task

        asyncio.run(talk())

    @staticmethod
    def serve(talk: Conversation) -> None:
        for request in talk.requests():
            talk.send(reply_to(talk, request))


def reply_to(talk: Conversation, request: ApiRequest) -> bytes:
    if isinstance(request, WatchKey):
        return encode_no_record(request.key, NoRecord.NOT_FOUND)
    return talk.node.reply_to(request)
