import asyncio
import threading
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

import dht14
import dht14.aio
from dht14.client.errors import (
    NoNode,
)
from tests.client import fake_node
from tests.client.both import AsyncioCalls, BothClients
from tests.client.fake_node import Conversation


class AsyncioTests(BothClients, SynchronousTestCase):
    """`dht14.aio.Client` and tasks."""

    client = AsyncioCalls

    def test_tasks(self) -> None:
        """Calls of many tasks go through one connection; each has its own reply."""
        node = self.node()

        async def main() -> list[Any]:
            async with dht14.aio.Client(node.address) as client:
                await asyncio.gather(*(client.put(b"%d" % n, key=f"k{n}") for n in range(500)))
                return await asyncio.gather(*(client.get(f"k{n}") for n in range(500)))

        found = asyncio.run(main())
        self.assertEqual([value.value for value in found], [b"%d" % n for n in range(500)])
        self.assertEqual(node.accepted, 1)

    def test_connections(self) -> None:
        """With more connections a key always uses the same one."""
        node = self.node()

        async def main() -> None:
            async with dht14.aio.Client(node.address, connections=4) as client:
                for n in range(100):
                    put = asyncio.ensure_future(client.put(b"%d" % n, key=f"k{n}"))
                    await asyncio.sleep(0)
                    found = await client.get(f"k{n}")
                    assert found is not None
                    self.assertEqual(found.value, b"%d" % n)
                    await put

        asyncio.run(main())
        self.assertEqual(node.accepted, 4)

    def test_cancelled(self) -> None:
        """A cancelled call leaves the others theirs."""
        go_on = threading.Event()

        def script(talk: Conversation) -> None:
            for request in talk.requests():
                go_on.wait(10)
                talk.send(talk.node.reply_to(request))

        node = self.node(script)

        async def main() -> None:
            async with dht14.aio.Client(node.address) as client:
                cancelled = asyncio.ensure_future(client.get("a"))
                other = asyncio.ensure_future(client.put(b"x", key="b"))
                await asyncio.sleep(0.1)
                cancelled.cancel()
                go_on.set()
                self.assertEqual((await other).copies, 8)
                self.assertTrue(cancelled.cancelled())

        asyncio.run(main())

    def test_closed_while_waiting(self) -> None:
        """Calls that wait when the client is closed fail, and nothing of the client is left in the loop."""
        node = self.node(fake_node.keep_silent)

        async def main() -> None:
            client = dht14.aio.Client(node.address)
            waiting = asyncio.ensure_future(client.get("k"))
            await asyncio.sleep(0.05)
            await client.close()
            with self.assertRaises(NoNode):
                await waiting
            self.assertEqual(asyncio.all_tasks(), {asyncio.current_task()})

        asyncio.run(main())

    def test_batch_cancelled(self) -> None:
        """A cancelled batch cancels its calls."""
        node = self.node(fake_node.keep_silent)

        async def main() -> None:
            async with dht14.aio.Client(node.address) as client:
                batch = asyncio.ensure_future(client.get_many(["a", "b", "c"]))
                await asyncio.sleep(0.05)
                batch.cancel()
                with self.assertRaises(asyncio.CancelledError):
                    await batch
                self.assertLessEqual(len(asyncio.all_tasks()), 2)

        asyncio.run(main())

    def test_other_loop(self) -> None:
        """A call, or a close, on another loop is refused at once, and disturbs nothing on the first one."""
        node = self.node()

        async def main() -> None:
            async with dht14.aio.Client(node.address) as client:
                await client.put(b"x", key="a")
                for call in (client.get, client.watch, client.close):
                    arguments = () if call == client.close else ("a",)
                    with self.assertRaisesRegex(RuntimeError, "another event loop"):
                        await asyncio.to_thread(asyncio.run, first_of(call(*arguments)))
                self.assertIsNotNone(await asyncio.wait_for(client.get("a"), 5))

        asyncio.run(main())

    def test_no_loop(self) -> None:
        """Without a running loop, as on Twisted's own reactors, a call says what it needs."""
        call = dht14.aio.Client("127.0.0.1:1").get("k")
        error = self.assertRaises(RuntimeError, call.send, None)
        self.assertIn("dht14.Node", str(error))


async def first_of(call: Any) -> Any:
    return await (anext(call) if hasattr(call, "__anext__") else call)
