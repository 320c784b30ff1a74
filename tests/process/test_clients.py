"""The Python clients against real nodes, and the examples of the pages as they stand there."""

import asyncio
import re
import sys
import threading
import time
from collections.abc import Iterator

from dht14 import Client, DhtError, NoNode, NotReady, TimedOut, aio
from tests.owners import Owner
from tests.process.nodes import TIMEOUT, TOP, Twistd, eventually, run_program
from tests.process.test_network import NetworkTestCase

REQUESTS = 1_000


def address_of(node: Twistd) -> str:
    return f"127.0.0.1:{node.api_port}"


class ClientsTests(NetworkTestCase):
    def test_two_nodes(self) -> None:
        """What one client puts at one node the other client finds at another: open values, content, an
        owner's."""
        one, two = self.cluster(2)
        owner = Owner(14, b"blog").private_key
        with Client(address_of(one)) as client:
            self.assertEqual(client.put(b"hello", key="greeting", ttl=600).copies, 2)
            content = client.put_content(b"content").key
            owned = client.put_signed(b"first", owner, b"blog")
            client.put_signed(b"second", owner, b"blog")

        async def main() -> None:
            async with aio.Client(address_of(two)) as client:
                found = await client.get_many(["greeting", content, owned.key, "nothing"])
                values = [value and (value.value, value.kind) for value in found]
                expected = [(b"hello", "open"), (b"content", "content"), (b"second", "owner"), None]
                self.assertEqual(values, expected)
                assert found[0] is not None and found[0].expires_in is not None
                self.assertTrue(500 < found[0].expires_in <= 600)
                await client.delete(owner, b"blog")
                self.assertIsNone(await client.get(owned.key))

        asyncio.run(main())

    def test_repeated(self) -> None:
        """An owner's value and content put twice, as after a lost connection, are acknowledged twice."""
        node = self.network.node().wait_for_api()
        owner = Owner().private_key
        with Client(address_of(node)) as client:
            client.put_signed(b"first", owner)
            second = client.put_signed(b"second", owner)
            found = client.get(second.key)
            assert found is not None and found.envelope is not None
            self.assertEqual(client.put(found.envelope, key=second.key).version, second.version)
            for _ in range(2):
                client.put_content(b"content")

    def test_pipelined(self) -> None:
        """A thousand puts and gets, all of them begun before the first is answered."""
        node = self.network.node().wait_for_api()
        items = [(f"key {number}", b"%d" % number) for number in range(REQUESTS)]
        values = [value for _, value in items]

        async def main() -> None:
            async with aio.Client(address_of(node), timeout=TIMEOUT) as client:
                await asyncio.gather(*(client.put(value, key=key) for key, value in items))
                found = await asyncio.gather(*(client.get(key) for key, _ in items))
                self.assertEqual([value and value.value for value in found], values)

        asyncio.run(main())
        with Client(address_of(node), timeout=TIMEOUT) as client:
            found = client.get_many([key for key, _ in items], concurrency=REQUESTS)
            self.assertEqual([value and value.value for value in found], values)

    def test_killed_node(self) -> None:
        """A node is killed and started again while both clients use it: they go on by themselves, and find
        everything that was acknowledged; nothing but the errors for it is raised meanwhile."""
        node = self.network.node().wait_for_api()
        ended = threading.Event()
        stored: dict[str, bytes] = {}
        errors: list[DhtError] = []

        def use_blocking() -> None:
            with Client(address_of(node)) as client:
                for number in self._until(ended):
                    try:
                        client.put(b"%d" % number, key=f"blocking {number}")
                        stored[f"blocking {number}"] = b"%d" % number
                    except DhtError as error:
                        errors.append(error)
                        time.sleep(0.05)

        async def use_asyncio() -> None:
            async with aio.Client(address_of(node)) as client:
                for number in self._until(ended):
                    items = [(f"asyncio {number} {n}", b"%d" % n) for n in range(20)]
                    results = await asyncio.gather(
                        *(client.put(value, key=key) for key, value in items), return_exceptions=True
                    )
                    for (key, value), result in zip(items, results, strict=True):
                        if isinstance(result, BaseException):
                            assert isinstance(result, DhtError), result
                            errors.append(result)
                        else:
                            stored[key] = value
                    await asyncio.sleep(0.05)

        threads = [
            threading.Thread(target=use_blocking),
            threading.Thread(target=lambda: asyncio.run(use_asyncio())),
        ]
        for thread in threads:
            thread.start()
        try:
            for _ in range(2):
                self._wait_for_progress(stored)
                node.kill()
                time.sleep(0.3)
                node.start()
                node.wait_for_api()
                self._wait_for_progress(stored)
        finally:
            ended.set()
            for thread in threads:
                thread.join()
        self.assertEqual([e for e in errors if not isinstance(e, NoNode | NotReady | TimedOut)], [])
        with Client(address_of(node)) as client:
            found = client.get_many(stored)
        self.assertEqual([value and value.value for value in found], list(stored.values()))

    def _until(self, ended: threading.Event) -> Iterator[int]:
        number = 0
        while not ended.is_set():
            yield number
            number += 1

    def _wait_for_progress(self, stored: dict[str, bytes]) -> None:
        """Until both clients have stored some more."""
        before = [sum(key.startswith(kind) for key in list(stored)) for kind in ("blocking", "asyncio")]

        def progressed() -> bool:
            keys = list(stored)
            now = [sum(key.startswith(kind) for key in keys) for kind in ("blocking", "asyncio")]
            return all(n > b + 20 for n, b in zip(now, before, strict=True))

        eventually(progressed, "puts of both clients")


class ExamplesTests(NetworkTestCase):
    def test_pages(self) -> None:
        """The Python examples of README.md and docs/clients.md work as they stand there."""
        node = self.network.node().wait_for_api()
        film = self.network.folder / "film.mkv"
        film.write_bytes(bytes(100_000))
        outputs = [
            self.run_example(block, node)
            for page in (TOP / "README.md", TOP / "docs" / "clients.md")
            for block in re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
        ]
        readme, blocking, asynchronous, owners, watching, files = outputs
        self.assertEqual(readme, "1 of 8 copies\nb'hello, all'\n")
        self.assertIn("b'hello, all'\n", blocking)
        self.assertIn(" b'never changes'\n", blocking)
        self.assertEqual(asynchronous, f"{sum(range(100))}\n")
        self.assertIn("not stored: the key has another value", owners)
        self.assertIn("b'on the way'\n", owners)
        self.assertEqual(watching, "None\nb'rain'\nb'sun'\n")
        self.assertIn("100000 of 100000\n", files)
        self.assertTrue(files.endswith("\n100000\n"))
        self.assertEqual(film.read_bytes(), film.with_name("copy.mkv").read_bytes())

    def run_example(self, code: str, node: Twistd) -> str:
        """What it prints."""
        lines = [line for line in code.splitlines() if line]
        self.assertLessEqual(len(lines), 15)
        code_here = code.replace("127.0.0.1:7400", address_of(node))
        ended = run_program(sys.executable, "-W", "error", "-c", code_here, folder=self.network.folder)
        self.assertEqual((ended.returncode, ended.stderr), (0, ""), code)
        return ended.stdout
