import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from functools import partial
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from dht14.files.content_store import Hope, StoreTrouble, in_order, try_often
from tests.files.memory import MemoryStore, sha256

VALUE = b"value"
KEY = sha256(VALUE)


class TryOftenTests(SynchronousTestCase):
    """A call is repeated as long as there is hope, with growing pauses."""

    def attempt(self, *hopes: Hope) -> MemoryStore:
        store = MemoryStore(troubles={KEY: list(hopes)})
        asyncio.run(try_often(store, lambda: store.put(VALUE)))
        return store

    def test_it_works_in_the_end(self) -> None:
        """What fails some times is done once."""
        store = self.attempt(Hope.GREAT, Hope.GREAT, Hope.GREAT)
        self.assertEqual(store.pauses, [0.5, 1.0, 2.0])
        self.assertEqual(store.puts, [KEY])

    def test_hope_ends(self) -> None:
        """The last trouble is raised when its hope is used up: at once, after seconds, after a minute."""
        for hope in Hope:
            store = MemoryStore(troubles={KEY: [hope] * 20})
            self.assertRaises(StoreTrouble, asyncio.run, try_often(store, partial(store.put, VALUE)))
            self.assertEqual(tuple(store.pauses), hope.value)
        self.assertGreater(sum(Hope.GREAT.value), 50)


class InOrderTests(SynchronousTestCase):
    """Jobs run beside each other, and their results come in order."""

    def run_jobs(self, count: int, limit: int, stop_after: int | None = None) -> tuple[list[int], list[int]]:
        ended: list[int] = []
        store = MemoryStore()

        async def job(number: int) -> int:
            for _ in range(10 if number % 3 == 0 else 1):
                await asyncio.sleep(0)
            ended.append(number)
            return number

        async def jobs() -> AsyncGenerator[Coroutine[Any, Any, int], None]:
            for number in range(count):
                self.most = max(getattr(self, "most", 0), number - len(ended))
                yield job(number)

        async def collect() -> list[int]:
            results = []
            async with aclosing(in_order(store, jobs(), lambda: limit)) as found:
                async for number in found:
                    results.append(number)
                    if len(results) == stop_after:
                        break
            await asyncio.sleep(0)
            return results

        return asyncio.run(collect()), ended

    def test_order(self) -> None:
        """A slow job delays the results behind it, not their work; `limit` of them run at once."""
        results, ended = self.run_jobs(20, 4)
        self.assertEqual(results, list(range(20)))
        self.assertNotEqual(ended, results)
        self.assertEqual(self.most, 3)

    def test_left_early(self) -> None:
        """What runs when the generator is closed is cancelled."""
        results, ended = self.run_jobs(1_000, 4, stop_after=3)
        self.assertEqual(results, [0, 1, 2])
        self.assertLess(len(ended), 10)
