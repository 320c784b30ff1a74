"""Fifty nodes of the PyPI package `kademlia` in one process on 127.0.0.1. Prints figures as JSON."""

import asyncio
import logging
from collections.abc import Sequence

from kademlia.network import Server
from workload import NODES, print_figures

FIRST_PORT = 28_500


class KademliaNetwork:
    """As the package ships: k 20, alpha 3, 20 copies."""

    def __init__(self) -> None:
        self._servers: list[Server] = []

    async def join(self) -> None:
        """Start the nodes one after another, all through the first."""
        for number in range(NODES):
            server = Server()
            await server.listen(FIRST_PORT + number, interface="127.0.0.1")
            if self._servers:
                await server.bootstrap([("127.0.0.1", FIRST_PORT)])
            self._servers.append(server)

    async def put(self, node: int, key: bytes, value: bytes) -> bool:
        return bool(await self._servers[node].set(key.hex(), value))

    async def get(self, node: int, key: bytes) -> bytes | None:
        value: bytes | None = await self._servers[node].get(key.hex())
        return value

    async def kill(self, nodes: Sequence[int]) -> None:
        for node in nodes:
            self._servers[node].stop()


async def _main() -> None:
    await print_figures(KademliaNetwork(), lambda works: asyncio.gather(*works))


if __name__ == "__main__":
    logging.disable()  # It says a line for each call that times out.
    asyncio.run(_main())
