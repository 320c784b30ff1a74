"""Fifty DHT-14 nodes in one process, over real UDP sockets on 127.0.0.1. Prints figures as JSON.

With `--content` the key of each value is its SHA-256, and the gets know it.
"""

import argparse
import random
import time
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.task import deferLater, react
from workload import NODES, print_figures

from dht14.kademlia.contact import Address, Seed
from dht14.kademlia.keyspace import hash_id
from dht14.net.bulk.client import BulkClient
from dht14.net.bulk.tls import NodeTls
from dht14.net.rpc.udp_port import UdpPort
from dht14.records.receipt import Receipt
from dht14.records.record import Record
from dht14.security.identity import Identity, Puzzle
from dht14.sim.memory_store import MemoryStore
from dht14.stack import StackOptions
from dht14.stack_builder import StackInputs, build_stack


class Dht14Network:
    """The shipped stacks, each with its own port."""

    def __init__(self, reactor: Any, content: bool) -> None:
        self._reactor = reactor
        self._content = content
        self._content_keys: dict[bytes, int] = {}
        self._stacks: list[Any] = []
        self._ports: list[UdpPort] = []
        self._probe_ports: list[UdpPort] = []

    async def join(self) -> None:
        """Start the nodes one after another, all through the first, and wait until each has joined."""
        puzzle = Puzzle("bench", 0)
        for number in range(NODES):
            rng = random.Random(number)
            identity = Identity.made_up(puzzle, rng)
            seeds = (Seed("127.0.0.1", self._ports[0].getHost().port),) if self._ports else ()
            stack = build_stack(
                StackInputs(
                    make_store=MemoryStore.of,
                    identity=identity,
                    verify_proof=puzzle.verify_proof,
                    clock=self._reactor,
                    wall=time.time,
                    rng=rng,
                    resolve=_resolve,
                    bulk=BulkClient(NodeTls(identity.private_key), puzzle.verify_proof, self._reactor),
                    options=StackOptions(seeds=seeds),
                )
            )
            port = UdpPort(("127.0.0.1", 0), stack.rpc, self._reactor)
            port.startListening()
            probe_port = UdpPort(("127.0.0.1", 0), stack.probe, self._reactor)
            probe_port.startListening()
            for service in stack.services:
                service.startService()
            self._stacks.append(stack)
            self._ports.append(port)
            self._probe_ports.append(probe_port)
            while seeds and not stack.join.joined:
                await deferLater(self._reactor, 0.001)

    async def put(self, node: int, key: bytes, value: bytes) -> bool:
        if self._content:
            self._content_keys[key] = hash_id(value)
        receipt: Receipt = await self._stacks[node].node.put(self._id_of(key), value, 3600, 8)
        return receipt.acknowledged

    async def get(self, node: int, key: bytes) -> bytes | None:
        found = await self._stacks[node].node.get(self._id_of(key), self._content)
        return found.value if isinstance(found, Record) else None

    def _id_of(self, key: bytes) -> int:
        return self._content_keys[key] if self._content else hash_id(key)

    async def kill(self, nodes: Sequence[int]) -> None:
        """Close the ports of these nodes without notice."""
        for node in nodes:
            for service in self._stacks[node].services:
                service.stopService()
            await self._ports[node].stopListening()
            await self._probe_ports[node].stopListening()


def _resolve(host: str, port: int) -> "Deferred[list[Address]]":
    return succeed([(host, port)])


async def _main(reactor: Any, content: bool) -> None:
    await print_figures(
        Dht14Network(reactor, content), lambda works: gatherResults(map(Deferred.fromCoroutine, works))
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--content", action="store_true", help="the key of a value is its SHA-256")
    options = parser.parse_args()
    react(lambda reactor: Deferred.fromCoroutine(_main(reactor, options.content)))
