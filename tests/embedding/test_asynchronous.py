import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

import dht14
from dht14.aio import Client, run_node
from dht14.app.data_dir import DataDir
from dht14.errors import ConfigError, DataDirInUse
from tests.embedding.open_files import open_files
from tests.embedding.test_node import OPTIONS
from tests.owners import Owner
from tests.process.nodes import TOP, environment

TIMEOUT = 60.0

FRESH = """
import asyncio, sys, tempfile
from dht14.aio import run_node

async def main(folder):
    async with run_node(folder, difficulty=0) as node:
        await node.put(b"x" * 50_000, key="large")
    print("twisted.internet.reactor" in sys.modules)

with tempfile.TemporaryDirectory() as folder:
    for _ in range(2):
        asyncio.run(main(folder))
"""


async def _awaited(call: Any) -> Any:
    return await call


class RunNodeTests(SynchronousTestCase):
    """Nodes on loops of their own, inside trial, whose reactor stands still meanwhile."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.files = open_files()

    def node(self, name: str = "one", *seeds: str, **options: Any) -> Any:
        return run_node(self.folder / name, seeds, **{**OPTIONS, **options})

    def assert_nothing_left(self) -> None:
        self.assertEqual(open_files(), self.files)
        self.assertEqual([thread for thread in threading.enumerate() if thread.name == "database"], [])
        for folder in self.folder.iterdir():
            DataDir.open(str(folder)).close()

    def test_other_loop(self) -> None:
        """A call from the loop of another thread is refused at once; one that is handed over is answered."""

        async def main() -> None:
            loop = asyncio.get_running_loop()
            async with self.node() as one:
                await one.put(b"hello", key="greeting")
                for call in (one.get("greeting"), one.put(b"x", key="other"), anext(one.watch("greeting"))):
                    with self.assertRaisesRegex(RuntimeError, "another event loop"):
                        await asyncio.to_thread(asyncio.run, _awaited(call))
                handed_over = asyncio.run_coroutine_threadsafe(one.get("greeting"), loop)
                found = await asyncio.to_thread(handed_over.result, TIMEOUT)
                assert found is not None
                self.assertEqual(found.value, b"hello")

        asyncio.run(main())
        self.assert_nothing_left()

    def test_two_nodes(self) -> None:
        """What is put at one node is found at the other, and by a client on the same loop."""

        async def main() -> None:
            async with self.node(api="127.0.0.1:0") as one, self.node("two", one.p2p_address) as two:
                await two.ready()
                self.assertEqual((await two.put(b"hello", key="greeting")).copies, 2)
                self.assertEqual((await one.get("greeting")).value, b"hello")
                content = await two.put_content(b"x" * 50_000)
                self.assertEqual((await one.get_content(content.key)).value, b"x" * 50_000)
                owner = Owner().private_key
                signed = await two.put_signed(b"signed", owner)
                assert one.api_address is not None
                async with Client(one.api_address) as client:
                    found = await client.get(signed.key)
                assert found is not None
                self.assertEqual((found.value, found.kind), (b"signed", "owner"))
                await two.delete(owner)
                self.assertIsNone(await one.get(signed.key))
                self.assertEqual(two.status().node_id, two.node_id)
                self.assertTrue(two.status().is_ready and two.api_address is None)

        asyncio.run(main())
        self.assert_nothing_left()

    def test_concurrent(self) -> None:
        """Tasks use a node at the same time; a cancelled one leaves the others theirs."""

        async def main() -> None:
            async with self.node() as node:
                puts = [asyncio.ensure_future(node.put(b"%d" % n, key=f"key {n}")) for n in range(50)]
                puts[14].cancel()
                results = await asyncio.gather(*puts, return_exceptions=True)
                self.assertIsInstance(results.pop(14), asyncio.CancelledError)
                self.assertTrue(all(isinstance(result, dht14.Receipt) for result in results))

        asyncio.run(main())
        self.assert_nothing_left()

    def test_files(self) -> None:
        """A file goes from a path to a path; a cancelled put of a pipe that says nothing leaves nothing."""

        async def main() -> None:
            async with self.node() as node:
                source, target = self.folder / "source", self.folder / "target"
                source.write_bytes(b"x" * 150_000)
                stored = await node.put_file(source)
                fetched = await node.get_file(stored.address, target)
                self.assertEqual((fetched.size, target.read_bytes()), (150_000, source.read_bytes()))
                self.assertEqual(len(await node.file_keys(stored.address)), 3)
                reading, writing = os.pipe()
                with os.fdopen(reading, "rb", buffering=0) as pipe, os.fdopen(writing, "wb"):
                    task = asyncio.ensure_future(node.put_file(pipe))
                    await asyncio.sleep(0)
                    task.cancel()
                    with self.assertRaises(asyncio.CancelledError):
                        await task
                source.unlink()
                target.unlink()

        asyncio.run(main())
        self.assert_nothing_left()

    def test_watch(self) -> None:
        """A watch brings the present value and each change of it; its task can be cancelled."""

        async def main() -> None:
            async with self.node() as one, self.node("two", one.p2p_address) as two:
                values: asyncio.Queue[bytes | None] = asyncio.Queue()

                async def watch() -> None:
                    async for value in two.watch("k"):
                        values.put_nowait(value and value.value)

                task = asyncio.ensure_future(watch())
                self.assertIsNone(await values.get())
                for value in (b"1", b"2"):
                    await one.put(value, key="k", ttl=60)
                    self.assertEqual(await asyncio.wait_for(values.get(), TIMEOUT), value)
                task.cancel()
                with self.assertRaises(asyncio.CancelledError):
                    await task

        asyncio.run(main())
        self.assert_nothing_left()

    def test_loops(self) -> None:
        """Each loop can have a node, one after the other, with the values of the former one."""

        async def put() -> None:
            async with self.node() as node:
                await node.put(b"hello", key="greeting")

        async def get() -> bytes:
            async with self.node() as node:
                value: bytes = (await node.get("greeting")).value
                return value

        asyncio.run(put())
        self.assertEqual(asyncio.run(get()), b"hello")
        self.assert_nothing_left()

    def test_failed_block(self) -> None:
        """A block that raises ends the node, and what it raised goes on."""

        async def main() -> None:
            async with self.node() as node:
                await node.ready()
                raise ZeroDivisionError

        self.assertRaises(ZeroDivisionError, asyncio.run, main())
        self.assert_nothing_left()

    def test_cancelled_block(self) -> None:
        """A task that is cancelled in the block, and again while the node stops, ends when that has
        stopped."""

        async def main() -> bool:
            entered = asyncio.Event()

            async def block() -> None:
                async with self.node() as node:
                    await node.ready()
                    entered.set()
                    await asyncio.Event().wait()

            task = asyncio.ensure_future(block())
            await asyncio.wait_for(entered.wait(), TIMEOUT)
            for _ in range(3):
                task.cancel()
                await asyncio.sleep(0)
            await asyncio.wait([task], timeout=TIMEOUT)
            DataDir.open(str(self.folder / "one")).close()
            return task.cancelled()

        self.assertTrue(asyncio.run(main()))
        self.assert_nothing_left()

    def test_refused(self) -> None:
        """What cannot start raises, and leaves nothing. After the block a node's calls raise."""

        async def main() -> None:
            with self.assertRaises(ConfigError):
                async with self.node(replicaton=3):
                    pass
            async with self.node() as node:
                with self.assertRaises(DataDirInUse):
                    async with self.node():
                        pass
            with self.assertRaisesRegex(RuntimeError, "is stopped"):
                await node.get("greeting")

        asyncio.run(main())
        with self.assertRaisesRegex(RuntimeError, "dht14.Node"):
            self.node().__aenter__().send(None)
        self.assert_nothing_left()

    def test_global_reactor(self) -> None:
        """No reactor is installed in a process that has none, whatever the node does."""
        ended = subprocess.run(
            [sys.executable, "-c", FRESH],
            env=environment({}),
            cwd=TOP,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        self.assertEqual((ended.stdout, ended.returncode), ("False\nFalse\n", 0), ended.stderr)
