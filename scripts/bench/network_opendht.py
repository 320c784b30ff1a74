"""Fifty nodes of OpenDHT in one process on 127.0.0.1. Prints figures as JSON."""

import asyncio
from collections.abc import Sequence
from typing import Any

import opendht
import opendht.aio
from workload import NODES, print_figures

FIRST_PORT = 28_700
TIMEOUT = 10.0
"""Seconds for one operation. Now and then OpenDHT does not call back at all."""
UNLIMITED = 10_000_000


class OpenDhtNetwork:
    """As it ships, without its limit of requests; each node has a thread of its own."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []

    async def join(self) -> None:
        """Start the nodes one after another, all through the first, and wait until each can put."""
        for number in range(NODES):
            config = opendht.DhtConfig()
            config.setRateLimit(UNLIMITED, UNLIMITED)
            config.setPeerDiscovery(False, False)
            node = opendht.aio.DhtRunner()
            node.run(port=FIRST_PORT + number, ipv4="127.0.0.1", config=config)
            if number:
                node.bootstrap("127.0.0.1", str(FIRST_PORT))
            self._nodes.append(node)
        for number in range(NODES):
            while not await self.put(number, b"join %d" % number, b"joined"):
                await asyncio.sleep(0.01)

    async def put(self, node: int, key: bytes, value: bytes) -> bool:
        storing = self._nodes[node].put(opendht.InfoHash.get(key.hex()), opendht.Value(value))
        try:
            stored: bool = await asyncio.wait_for(storing, TIMEOUT)
        except TimeoutError:
            return False
        return stored

    async def get(self, node: int, key: bytes) -> bytes | None:
        search = self._nodes[node].getFirst(opendht.InfoHash.get(key.hex()))
        try:
            value = await asyncio.wait_for(search, TIMEOUT)
        except TimeoutError:
            return None
        return None if value is None else bytes(value.data)

    async def kill(self, nodes: Sequence[int]) -> None:
        for node in nodes:
            await self._nodes[node].join()


async def _main() -> None:
    await print_figures(OpenDhtNetwork(), lambda works: asyncio.gather(*works))


if __name__ == "__main__":
    asyncio.run(_main())
