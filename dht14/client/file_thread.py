"""Runs a call of the asyncio client for a thread that blocks."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import TypeVar

from dht14.client.asynchronous import Client

T = TypeVar("T")


def run(address: str, timeout: float, call: Callable[[Client], Awaitable[T]]) -> T:
    """Return what the call brings. It runs in a thread with a loop and a connection of its own: this thread
    may have a loop already, as in a notebook. Ctrl-C cancels it."""
    cancel: SimpleQueue[Callable[[], object]] = SimpleQueue()

    async def work() -> T:
        task = asyncio.current_task()
        assert task is not None
        loop = asyncio.get_running_loop()
        cancel.put(lambda: loop.call_soon_threadsafe(task.cancel))
        async with Client(address, timeout=timeout) as client:
            return await call(client)

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(lambda: asyncio.run(work()))
        try:
            return running.result()
        except BaseException:
            if not running.done():
                cancel.get()()
            raise
