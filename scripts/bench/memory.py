"""Question: how much memory does an idle node with contacts take, in a process with other nodes?

Makes the shipped stack of each node as `build_stack` composes it, without sockets, sessions, data directory
and API, and lets all nodes know the same contacts. Prints what Python's allocator holds for a node, before
and after it knows them, and the resident memory of the process for each.

    python scripts/bench/memory.py [--nodes N] [--contacts N]
"""

import argparse
import gc
import random
import resource
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from dht14.kademlia.contact import Address, Contact, shared_contact
from dht14.net.bulk.client import BulkClient
from dht14.net.bulk.tls import NodeTls
from dht14.security.identity import Identity, Puzzle
from dht14.sim.memory_store import MemoryStore
from dht14.stack import Stack, StackOptions
from dht14.stack_builder import StackInputs, build_stack

PUZZLE = Puzzle("bench", 0)
WARM = 2
"""Nodes made before: they fill the caches of the process."""


def make_node(number: int, clock: Clock) -> Stack:
    """Make a stack and start its services."""
    rng = random.Random(number)
    identity = Identity.made_up(PUZZLE, rng)
    stack = build_stack(
        StackInputs(
            make_store=MemoryStore.of,
            identity=identity,
            verify_proof=PUZZLE.verify_proof,
            clock=clock,
            wall=time.time,
            rng=rng,
            resolve=_resolve,
            bulk=BulkClient(NodeTls(identity.private_key), PUZZLE.verify_proof, reactor),
            options=StackOptions(),
        )
    )
    for service in stack.services:
        service.startService()
    return stack


def _resolve(host: str, port: int) -> "Deferred[list[Address]]":
    return succeed([(host, port)])


def as_in_sessions(proofs: list[bytes]) -> Iterator[Contact]:
    """Yield contacts made of bytes of their own, as a session layer makes them of a handshake."""
    for number, proof in enumerate(proofs):
        address = f"10.{number >> 8}.{number & 255}.1", 8000 + number
        own_copy = bytes(bytearray(proof))
        yield shared_contact(PUZZLE.verify_proof(own_copy), address, own_copy)


def measure(nodes: int, contacts: int, held: Callable[[], int]) -> tuple[float, float, float]:
    """Return KiB of a node without contacts and with them, and how many contacts its table took. `held`
    returns the bytes of the process."""
    clock = Clock()
    rng = random.Random(14)
    proofs = [Identity.made_up(PUZZLE, rng).proof for _ in range(contacts)]
    warm = [make_node(number, clock) for number in range(WARM)]
    gc.collect()
    before = held()
    stacks = [make_node(WARM + number, clock) for number in range(nodes)]
    gc.collect()
    alone = held()
    for stack in stacks:
        for contact in as_in_sessions(proofs):
            stack.table.confirmed(contact, 1.0, 0.01)
        stack.table.closest(stack.table.own_id)
    gc.collect()
    known = held()
    taken = sum(len(stack.table) for stack in stacks) / nodes
    warm.clear()
    return (alone - before) / nodes / 1024, (known - before) / nodes / 1024, taken


def _resident() -> int:
    """Linux only."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


def _traced() -> int:
    return tracemalloc.get_traced_memory()[0]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure the memory of idle nodes that share a process.")
    parser.add_argument("--nodes", type=int, default=50, metavar="N", help="%(default)s")
    parser.add_argument("--contacts", type=int, default=160, metavar="N", help="of each node (%(default)s)")
    args = parser.parse_args()
    resident = measure(args.nodes, args.contacts, _resident)
    tracemalloc.start(1)
    traced = measure(args.nodes, args.contacts, _traced)
    for name, (alone, known, taken) in (("resident", resident), ("Python's", traced)):
        print(f"{name}: {alone:.1f} KiB a node, {known:.1f} with {taken:.0f} contacts")


if __name__ == "__main__":
    main()
