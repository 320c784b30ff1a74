import io
import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.internet.threads import blockingCallFromThread, deferToThread
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

import dht14
from dht14 import Node
from dht14.app.data_dir import DataDir
from dht14.embedding.node_calls import CALLS_AT_ONCE
from dht14.errors import AddressUnavailable, ConfigError, DataDirInUse
from dht14.files.manifest import PIECE_BYTES
from dht14.records.receipt import PutOutcome, PutReason
from tests.embedding.open_files import open_files
from tests.owners import Owner
from tests.process.ports import free_port

OPTIONS: dict[str, Any] = {"difficulty": 0, "bootstrap_retry_interval": 1, "network": "embedded"}


class NodeTestCase(TestCase):
    """Nodes in the process of the tests. trial itself finds what they leave in its reactor."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.nodes: list[Node] = []
        self.addCleanup(self.stop_all)

    def stop_all(self) -> "Deferred[list[None]]":
        return gatherResults([node.stop() for node in self.nodes])

    def make(self, name: str = "one", seeds: tuple[str, ...] = (), **options: object) -> Node:
        api = options.pop("api", None)
        assert api is None or isinstance(api, str)
        node = Node(self.folder / name, seeds, api=api, **{**OPTIONS, **options})
        self.nodes.append(node)
        return node

    async def start(self, name: str = "one", seeds: tuple[str, ...] = (), **options: object) -> Node:
        node = self.make(name, seeds, **options)
        await node.start()
        await node.ready()
        return node


class KeepTests(NodeTestCase):
    async def test_kept(self) -> None:
        """A value is kept, listed, renewed in time and let go; what is not there is not kept."""
        one = await self.start(min_ttl=1)
        receipt = await one.put(b"hello", key="greeting", ttl=2)
        kept = await one.keep("greeting", ttl=2)
        self.assertEqual((kept.state, kept.version, kept.size), ("renewed", receipt.version, 5))
        assert one._service is not None
        assert one._service.stack is not None
        keeper = one._service.stack.keeper
        assert keeper is not None
        for _ in range(300):
            if keeper.metrics.renewed > 2:
                break
            await deferLater(IReactorTime(reactor), 0.1, lambda: None)
        (listed,) = one.kept()
        self.assertEqual((listed.key, listed.ttl, listed.failure), (receipt.key, 2, None))
        self.assertEqual((keeper.metrics.renewed, keeper.metrics.failed), (3, 0))
        self.assertIsNotNone(await one.get("greeting"))
        self.assertEqual([await one.unkeep("greeting"), await one.unkeep("greeting")], [True, False])
        self.assertEqual(one.kept(), [])
        with self.assertRaises(dht14.NotKept):
            await one.keep("nothing")


class CallTests(NodeTestCase):
    async def test_two_nodes(self) -> None:
        """What is put at one node is found at the other: open values of any size, content, an owner's."""
        one = await self.start()
        two = await self.start("two", (one.p2p_address,))
        owner = Owner(14, b"blog").private_key
        receipt = await two.put(b"hello", key="greeting", ttl=600, replication=2)
        self.assertEqual((receipt.outcome, receipt.copies), (PutOutcome.STORED, 2))
        found = await one.get("greeting")
        assert found is not None
        assert found.expires_in is not None
        self.assertEqual((found.value, found.kind, found.version), (b"hello", "open", receipt.version))
        self.assertTrue(500 < found.expires_in <= 600)
        largest = await one.put(b"x" * 65_495, key="large")
        large = await two.get(largest.key)
        assert large is not None
        self.assertEqual(large.value, b"x" * 65_495)
        content = await two.put_content(b"content")
        got = await one.get_content(content.key)
        assert got is not None
        self.assertEqual((got.value, got.kind), (b"content", "content"))
        first = await one.put_signed(b"first", owner, b"blog")
        await one.put_signed(b"second", owner, b"blog")
        owned = await two.get(first.key)
        assert owned is not None
        self.assertEqual((owned.value, owned.kind, owned.salt), (b"second", "owner", b"blog"))
        await two.delete(owner, b"blog")
        self.assertIsNone(await one.get(first.key))
        self.assertIsNone(await one.get("nothing"))

    async def test_errors(self) -> None:
        """Its errors are those of the clients."""
        node = await self.start()
        owner = Owner().private_key
        await node.put_signed(b"first", owner, seq=5)
        refused: Any = await self.assertFailure(node.put_signed(b"older", owner, seq=4), dht14.Refused)
        self.assertEqual(refused.reason, PutReason.CONFLICT)
        await self.assertFailure(node.put(b"x" * 65_496, key="k"), dht14.TooLarge)
        await self.assertFailure(node.put(b"x", key=b"short"), dht14.BadKey)
        await self.assertFailure(node.put(b"", key="k"), ValueError)

    async def test_early(self) -> None:
        """A call before the node is ready waits for that. `ready` fails when it takes too long."""
        one = await self.start()
        two = self.make("two", (one.p2p_address,))
        await two.start()
        self.assertFalse(two.status().is_ready)
        await self.assertFailure(two.ready(0.0), dht14.NotReady)
        endless: Any = None
        error: Any = await self.assertFailure(two.ready(endless), TypeError)
        self.assertIn("seconds", str(error))
        await one.put(b"hello", key="greeting")
        found = await two.get("greeting")
        assert found is not None
        self.assertEqual(found.value, b"hello")

    async def test_status(self) -> None:
        """The status tells what the node waits for, whom it knows and what it holds."""
        one = await self.start(api="127.0.0.1:0")
        two = self.make("two", (one.p2p_address,))
        await two.start()
        self.assertIn("join", two.status().waits_for)
        await two.ready()
        await two.put(b"hello", key="greeting")
        status = two.status()
        self.assertEqual((status.is_ready, status.waits_for, status.joined), (True, (), True))
        self.assertEqual((status.contacts, status.values), (1, 1))
        self.assertGreater(status.stored_bytes, 0)
        self.assertEqual((status.p2p_address, status.api_address), (two.p2p_address, None))
        self.assertEqual(status.node_id, two.node_id)
        self.assertEqual(one.status().api_address, one.api_address)
        self.assertTrue(one.node_id != two.node_id and len(str(two.node_id)) == 64)

    async def test_cancelled(self) -> None:
        """A call can be cancelled; the node goes on."""
        node = await self.start("one", (f"127.0.0.1:{free_port()}",))
        call = node.get("greeting")
        call.cancel()
        if not call.called or call.result is not None:
            await self.assertFailure(call, CancelledError)
        await node.put(b"hello", key="greeting")


class FileTests(NodeTestCase):
    """Files of any size."""

    async def test_put_and_get(self) -> None:
        """What is put at one node from a path or an open file is found at the other, under its address and
        that of its owner."""
        one = await self.start()
        two = await self.start("two", (one.p2p_address,))
        source, target = self.folder / "source", self.folder / "target"
        content = bytes(range(250)) * 600
        source.write_bytes(content)
        reports: list[dht14.FileProgress] = []
        stored = await one.put_file(source, ttl=600, progress=reports.append)
        self.assertEqual((stored.size, stored.pieces, stored.copies), (len(content), 3, 2))
        self.assertEqual(reports[-1].bytes_done, len(content))
        fetched = await two.get_file(stored.address, target)
        assert fetched is not None
        self.assertEqual((fetched.size, target.read_bytes()), (len(content), content))
        keys = await two.file_keys(stored.address)
        assert keys is not None
        self.assertEqual((keys[0], len(keys)), (stored.key, 4))
        owned = await one.put_file(io.BytesIO(content), owner=Owner().private_key, ttl=600)
        self.assertEqual(owned.bytes_found, len(content) - PIECE_BYTES)
        memory = io.BytesIO()
        await two.get_file(owned.address, memory)
        self.assertEqual(memory.getvalue(), content)
        await self.assertFailure(two.get_file(stored.address, memory, max_bytes=9), dht14.TooLarge)
        await self.assertFailure(two.get_file("nonsense", memory), ValueError)
        self.assertIsNone(await two.get_file(f"dht14:{'0' * 64}", memory))

    async def test_stop(self) -> None:
        """A transfer under way fails when the node stops, or is cancelled. One of a node that does not run
        fails at once."""
        node = await self.start()
        reading, writing = os.pipe()
        with os.fdopen(reading, "rb", buffering=0) as pipe, os.fdopen(writing, "wb") as other_end:
            cancelled, stopped = node.put_file(pipe), node.put_file(pipe)
            cancelled.cancel()
            await self.assertFailure(cancelled, CancelledError)
            await node.stop()
            await self.assertFailure(stopped, dht14.NotReady)
            other_end.write(b"x")
        await self.assertFailure(node.put_file(self.folder), RuntimeError)


class LifeTests(NodeTestCase):
    async def test_nothing_left(self) -> None:
        """After the stop no socket, thread or timer is left, the directory is free, and calls raise."""
        await deferLater(reactor, 0)  # The reactor opens its own things when it starts.
        before = open_files()
        timers = len(IReactorTime(reactor).getDelayedCalls())
        one = await self.start(api="127.0.0.1:0")
        two = await self.start("two", (one.p2p_address,))
        await two.put(b"x" * 50_000, key="large")
        self.assertGreater(len(open_files()), len(before))
        await gatherResults([one.stop(), two.stop(), one.stop()])
        self.assertEqual(open_files(), before)
        self.assertEqual([thread.name for thread in threading.enumerate() if thread.name == "database"], [])
        self.assertEqual(len(IReactorTime(reactor).getDelayedCalls()), timers)
        for name in ("one", "two"):
            DataDir.open(str(self.folder / name)).close()
        await self.assertFailure(one.get("large"), RuntimeError)
        self.assertRaises(RuntimeError, one.status)
        await one.stop()

    async def test_again(self) -> None:
        """A stopped node starts again with its id and its values; a running one cannot be started."""
        node = await self.start()
        await node.put(b"hello", key="greeting")
        await self.assertFailure(node.start(), RuntimeError)
        node_id = node.node_id
        await node.stop()
        self.assertEqual(node.node_id, node_id)
        await node.start()
        await node.ready()
        found = await node.get("greeting")
        assert found is not None
        self.assertEqual((found.value, node.node_id), (b"hello", node_id))

    async def test_calls_under_way(self) -> None:
        """A call under way when the node stops fails, and one that waited for the start says so."""
        one = await self.start()
        two = self.make("two", (one.p2p_address,))
        await two.start()
        call = two.put(b"hello", key="greeting")
        ready = two.ready()
        stopped = two.stop()
        await self.assertFailure(call, dht14.NotReady)
        await self.assertFailure(ready, dht14.NotReady)
        await stopped

    async def test_unfinished(self) -> None:
        """No call outlives its node: a put that was begun may be stored, and a get has no answer."""
        one = await self.start()
        await one.put(b"hello", key="greeting")
        for _ in range(3):
            put, kept = one.put(b"hello", key="greeting"), one.keep("greeting")
            owned = one.put_signed(b"hello", Owner().private_key)
            await one.stop()
            calls: list[Deferred[Any]] = [put, kept, owned]
            for call in calls:
                self.assertTrue(call.called)
                if isinstance(call.result, Failure):
                    await self.assertFailure(call, dht14.TimedOut, dht14.NotReady)
            await one.start()
            await one.ready()

    async def test_turns(self) -> None:
        """Of many calls at once some are under way, and the others wait for their turn, or for the stop."""
        node = self.make(difficulty=8)
        await node.start()
        calls = [node.put(b"hello", key=f"key {number}") for number in range(2 * CALLS_AT_ONCE)]
        assert node._service is not None
        self.assertEqual(len(node._service.readiness._waiting), CALLS_AT_ONCE)
        await node.stop()
        for call in calls:
            await self.assertFailure(call, dht14.NotReady)

    async def test_refused(self) -> None:
        """A node that cannot start says why, leaves nothing open, and can be tried again."""
        one = await self.start()
        before = open_files()
        twin = self.make("one")
        await self.assertFailure(twin.start(), DataDirInUse)
        other = self.make("other", api=one.p2p_address)
        await self.assertFailure(other.start(), AddressUnavailable)
        self.assertEqual(open_files(), before)
        self.assertRaises(RuntimeError, getattr, twin, "p2p_address")
        self.assertRaises(RuntimeError, twin.status)
        await one.stop()
        await twin.start()
        self.assertRaises(ConfigError, self.make, replicaton=3)

    async def test_other_thread(self) -> None:
        """A call from another thread than that of the reactor is refused; one that is handed over is
        answered."""
        one = await self.start()
        get: Callable[[], Deferred[Any]] = partial(one.get, "greeting")
        hand_over: Any = blockingCallFromThread
        with self.assertRaisesRegex(RuntimeError, "another thread"):
            await deferToThread(one.status)
        self.assertIsNone(await deferToThread(hand_over, reactor, get))

    async def test_api(self) -> None:
        """Clients can only connect where an API was asked for."""
        node = await self.start()
        self.assertIsNone(node.api_address)
        host, port = node.p2p_address.split(":")
        listening = Path("/proc/net/tcp").read_text()
        self.assertEqual(host, "127.0.0.1")
        self.assertIn(f"0100007F:{int(port):04X}", listening)


class WatchTests(NodeTestCase):
    async def test_watch(self) -> None:
        """A watch brings the present value and each change of it, and ends when the node stops."""
        one = await self.start()
        two = await self.start("two", (one.p2p_address,))
        values = two.watch("k")
        self.assertIsNone(await anext(values))
        await one.put(b"1", key="k", ttl=60)
        found = await anext(values)
        assert found is not None
        self.assertEqual((found.value, found.kind), (b"1", "open"))
        stopped = two.stop()
        self.assertEqual([value async for value in values], [])
        await stopped
