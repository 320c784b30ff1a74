"""Question: how long do puts and gets take over the internet, right after 30 % of the nodes died too?

Fifty shipped stacks on a virtual clock, with sealed datagrams over made-up paths: each ordered pair of nodes
has its own delay, log-normal with a median of 35 ms (10th to 90th percentile 11 to 115 ms), each datagram
2 ms more or less; 1 % are lost. On a virtual clock the machine does not count, so single runs can be
compared: the same seed gives the same figures. With `--content` the keys are those of content, and the gets
know it.

    python scripts/bench/wide_area.py [--content] [--puts N] [--gets N] [SEED ...]
"""

import argparse
import hashlib
import math
import random
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, succeed

from dht14.kademlia.contact import Address, Seed
from dht14.net.bulk.client import BulkClient
from dht14.net.bulk.tls import NodeTls
from dht14.records.receipt import Receipt
from dht14.records.record import Record
from dht14.security.identity import Identity, Puzzle
from dht14.session.acceptor import Limits
from dht14.sim.clock import HeapClock
from dht14.sim.memory_store import MemoryStore
from dht14.stack import Stack, StackOptions
from dht14.stack_builder import StackInputs, build_stack

NODES, KILLED, IN_FLIGHT, COPIES = 50, 0.3, 16, 8
MEDIAN_DELAY, SIGMA, JITTER, LOSS, SHORTEST_DELAY = 0.035, 0.93, 0.002, 0.01, 0.0002
SETTLED, PAUSE = 60.0, 0.3
VALUE_BYTES, TTL = 100, 3600
PUZZLE = Puzzle("bench", 0)


@define(eq=False)
class Paths:
    """Carries datagrams between the addresses at which protocols listen."""

    clock: HeapClock
    rng: random.Random
    sent: int = 0
    _protocols: dict[Address, Any] = field(factory=dict)
    _delays: dict[tuple[Address, Address], float] = field(factory=dict)

    def listen(self, address: Address, protocol: Any) -> None:
        """Connect a protocol to an address."""
        self._protocols[address] = protocol
        protocol.makeConnection(_Transport(address, self))

    def close(self, address: Address) -> None:
        """Lose what is sent to this address, and what is sent from there."""
        del self._protocols[address]

    def send(self, source: Address, target: Address, datagram: bytes) -> None:
        """Lose a datagram, or let it arrive later."""
        if source not in self._protocols:
            return
        self.sent += 1
        if self.rng.random() < LOSS:
            return
        delay = self._delays.get((source, target))
        if delay is None:
            delay = self._delays[source, target] = MEDIAN_DELAY * math.exp(self.rng.gauss(0, SIGMA))
        delay = max(delay + self.rng.uniform(-JITTER, JITTER), SHORTEST_DELAY)
        self.clock.post(delay, self._arrive, (source, target, datagram))

    def _arrive(self, journey: tuple[Address, Address, bytes]) -> None:
        source, target, datagram = journey
        if (protocol := self._protocols.get(target)) is not None:
            protocol.datagramReceived(datagram, source)


@define(eq=False)
class _Transport:
    _address: Address
    _paths: Paths

    def write(self, datagram: bytes, address: Address) -> None:
        self._paths.send(self._address, address, datagram)


Operation = Callable[[], "Deferred[bool]"]
"""Begins one put or get; fires with whether its result was right."""


class WideAreaNetwork:
    """All nodes, joined one after another, and the figures of what they do."""

    def __init__(self, seed: int, content: bool) -> None:
        self._rng = random.Random(seed)
        self._content = content
        self._clock = HeapClock(1000.0)
        self._paths = Paths(self._clock, random.Random(seed + 1))
        self._stacks: list[Stack] = []
        self.figures: dict[str, list[float]] = {}

    def join(self) -> None:
        """Start the nodes, all through the first, each when the one before has joined."""
        for number in range(NODES):
            began = self._clock.seconds()
            stack = self._start(number)
            if number:
                self._until(partial(_has_joined, stack))
                self.figures.setdefault("join", []).append(self._clock.seconds() - began)
        self._wait(SETTLED)

    def _start(self, number: int) -> Stack:
        identity = Identity.made_up(PUZZLE, self._rng)
        stack = build_stack(
            StackInputs(
                make_store=MemoryStore.of,
                identity=identity,
                verify_proof=PUZZLE.verify_proof,
                clock=self._clock,
                wall=lambda: 1.7e9 + self._clock.seconds(),
                rng=random.Random(self._rng.getrandbits(64)),
                resolve=lambda host, port: succeed([(host, port)]),
                bulk=BulkClient(NodeTls(identity.private_key), PUZZLE.verify_proof, self._clock),
                options=StackOptions(
                    seeds=(Seed(*_address(0)),) if number else (), limits=Limits(peer_rate=0)
                ),
            )
        )
        self._paths.listen(_address(number), stack.rpc)
        self._paths.listen(_probe_address(number), stack.probe)
        for service in stack.services:
            service.startService()
        self._stacks.append(stack)
        return stack

    def kill(self) -> None:
        """Cut some of the nodes off, without notice."""
        dead = self._rng.sample(range(NODES), int(NODES * KILLED))
        for number in dead:
            for service in self._stacks[number].services:
                service.stopService()
            self._paths.close(_address(number))
            self._paths.close(_probe_address(number))
        self._stacks = [stack for number, stack in enumerate(self._stacks) if number not in dead]

    def pair(self) -> tuple[int, bytes]:
        """Return a new key with its value."""
        value = self._rng.randbytes(VALUE_BYTES)
        named = value if self._content else self._rng.randbytes(20)
        return int.from_bytes(hashlib.sha256(named).digest(), "big"), value

    def put(self, key: int, value: bytes) -> Operation:
        """Return a put by a random node."""
        node = self._rng.choice(self._stacks).node
        return lambda: node.put(key, value, TTL, COPIES).addCallback(_is_stored)

    def get(self, key: int, value: bytes) -> Operation:
        """Return a get by a random node."""
        node = self._rng.choice(self._stacks).node
        return lambda: node.get(key, content=self._content).addCallback(
            lambda found: isinstance(found, Record) and found.value == value
        )

    def measure(
        self, name: str, operations: Iterable[Operation], in_flight: int = 1, pause: float = 0.0
    ) -> None:
        """Run these operations, so many at once, each worker with a pause after each."""
        took, right, before, left = [], [], self._paths.sent, iter(operations)
        working = set(range(in_flight))

        def begin(worker: int) -> None:
            operation = next(left, None)
            if operation is None:
                working.discard(worker)
                return
            began = self._clock.seconds()

            def ended(is_right: bool) -> None:
                took.append(self._clock.seconds() - began)
                right.append(is_right)
                self._clock.callLater(pause, begin, worker)

            operation().addCallback(ended)

        for worker in range(in_flight):
            begin(worker)
        self._until(lambda: not working)
        self.figures[name] = took
        self.figures[f"{name}: datagrams"] = [(self._paths.sent - before) / len(took)]
        if not all(right):
            self.figures[f"{name}: WRONG"] = [right.count(False)]

    def _wait(self, seconds: float) -> None:
        self._clock.run_until(self._clock.seconds() + seconds)

    def _until(self, condition: Callable[[], bool]) -> None:
        if not self._clock.run_until_true(condition, self._clock.seconds() + 3600):
            raise RuntimeError("an operation did not end within an hour")


def _address(number: int) -> Address:
    return "127.0.0.1", 1000 + number


def _probe_address(number: int) -> Address:
    return "127.0.0.1", 11_000 + number


def _has_joined(stack: Stack) -> bool:
    return stack.join.joined


def _is_stored(receipt: Receipt) -> bool:
    return receipt.acknowledged


def one_run(seed: int, content: bool, puts: int, gets: int) -> dict[str, list[float]]:
    """Return the seconds of all operations by kind, and datagrams an operation, of one network."""
    network = WideAreaNetwork(seed, content)
    network.join()
    pairs = [network.pair() for _ in range(2 * puts)]
    rng = random.Random(seed)
    network.measure("put", [network.put(*pair) for pair in pairs[:puts]], pause=PAUSE)
    network.measure("put, 16 in flight", [network.put(*pair) for pair in pairs[puts:]], IN_FLIGHT)
    network.measure("get", [network.get(*rng.choice(pairs)) for _ in range(gets)], pause=PAUSE)
    network.measure("get, 16 in flight", [network.get(*rng.choice(pairs)) for _ in range(gets)], IN_FLIGHT)
    network.kill()
    network.measure("get after 30 % died", [network.get(*rng.choice(pairs)) for _ in range(gets)])
    return network.figures


def main() -> None:
    """Print the figures of all runs together."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("seeds", metavar="SEED", type=int, nargs="*", default=[1, 2, 3, 4])
    parser.add_argument("--content", action="store_true", help="keys of content")
    parser.add_argument("--puts", type=int, default=60, help="of each kind (60)")
    parser.add_argument("--gets", type=int, default=200, help="of each kind (200)")
    arguments = parser.parse_args()
    runs = [one_run(seed, arguments.content, arguments.puts, arguments.gets) for seed in arguments.seeds]
    print(f"{'':32}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}")
    for name in dict.fromkeys(name for run in runs for name in run):
        found = sorted(figure for run in runs for figure in run.get(name, ()))
        if ":" in name:
            print(f"{name:32}{sum(found) / len(found):9.1f}")
            continue
        at = (found[min(len(found) * part // 100, len(found) - 1)] for part in (50, 95, 99))
        print(f"{name:32}" + "".join(f"{1000 * figure:9.0f}" for figure in at))


if __name__ == "__main__":
    main()
