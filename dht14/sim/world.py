"""A network of shipped nodes in one process: `net.stack` builds each of them, exactly as for a real one.

Only the clock, the datagrams and the random source are virtual, and all that is random comes from one
seed. Nodes die as processes do: killed without a word, frozen, cut off from the network, begun anew.
"""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Generic, TypeVar

from attrs import evolve, frozen
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from dht14.kademlia.contact import Address, Contact, Seed
from dht14.net.stack import Stack, StackOptions, build_stack
from dht14.node.node import Node
from dht14.security.identity import Identity, Puzzle
from dht14.sim.clock import HeapClock, Process, ProcessState
from dht14.sim.network import Conditions, VirtualNetwork, VirtualPort

T = TypeVar("T")
Progress = Callable[[int], None]
"""Told how many operations have ended, after each."""

PORT, PROBE_PORT = 8000, 8001

BEGINNING = 1_700_000_000.0
"""The virtual time at the start. Versions are as long on the wire as real ones only when it is as late."""

PLAIN_CONDITIONS = Conditions()
SHIPPED_OPTIONS = StackOptions()

JOIN_GAP = 0.05
"""Seconds between the starts of two nodes."""

OPERATION_GAP = 2.0
"""Seconds between two operations at one node, so that each one's datagrams can be told from the next's."""

PATIENCE = 60.0
"""Seconds after which an operation that has not ended is a bug."""

JOIN_PATIENCE = 30.0
"""Seconds after which a node that has not joined is counted as one that failed to."""

LOOK_INTERVAL = 0.05
"""Seconds between two looks at whether a node has joined."""


def _ignore(ended: int) -> None:
    """The progress of those who do not ask."""


class Role(Enum):
    """A bootstrap node routes but holds no values, and no client talks to it."""

    NODE = "node"
    BOOTSTRAP = "bootstrap"


@frozen(eq=False)
class VirtualNode:
    """One life of one node, and the machine it runs on."""

    number: int
    role: Role
    contact: Contact
    process: Process
    port: VirtualPort
    probe_port: VirtualPort
    stack: Stack

    @property
    def running(self) -> bool:
        """Whether its process is neither frozen nor dead."""
        return self.process.state is ProcessState.RUNNING


@frozen
class Outcome(Generic[T]):
    """One operation: its result, how long it took, and the datagrams from and to its node meanwhile."""

    result: T
    seconds: float
    datagrams: int


class World:
    """`nodes` and `bootstrap_nodes` of them besides, on one clock and one network.

    Nodes are numbered, the bootstrap nodes first; without any, the first node is everybody's seed.
    """

    def __init__(
        self,
        nodes: int,
        seed: int,
        conditions: Conditions = PLAIN_CONDITIONS,
        bootstrap_nodes: int = 2,
        options: StackOptions = SHIPPED_OPTIONS,
        sealed: bool = False,
    ) -> None:
        self.clock = HeapClock(BEGINNING)
        self.network = VirtualNetwork(self.clock, random.Random(f"{seed}/network"), conditions)
        self.rng = random.Random(f"{seed}/world")
        self.nodes: dict[int, VirtualNode] = {}
        """The last life of each node that was ever begun, by its number."""
        self.size = nodes + bootstrap_nodes
        self._seed = seed
        self._bootstrap_nodes = bootstrap_nodes
        self._lives: Counter[int] = Counter()
        self._puzzle = Puzzle("sim", 0)
        self._identities = [Identity.made_up(self._puzzle, self.rng) for _ in range(self.size)]
        seeds = tuple(Seed(*_address(number)) for number in range(bootstrap_nodes or 1))
        self._options = evolve(options, seeds=seeds, sealed=sealed)

    # Lives

    def begin(self, number: int) -> VirtualNode:
        """Start the node of this number, for the first time or anew: all that it held is gone then."""
        self._lives[number] += 1
        role = Role.BOOTSTRAP if number < self._bootstrap_nodes else Role.NODE
        identity = self._identities[number]
        contact = Contact(identity.node_id, _address(number), identity.proof)
        process = Process(self.clock)
        limit = None if role is Role.BOOTSTRAP else self._options.storage_limit
        stack = build_stack(
            identity=identity,
            check=self._puzzle.check,
            clock=process,
            rng=random.Random(f"{self._seed}/node {number}/life {self._lives[number]}"),
            resolve=_resolve,
            options=evolve(self._options, storage_limit=limit),
        )
        port = self.network.listen(contact.address, stack.rpc)
        probe_port = self.network.listen((contact.address[0], PROBE_PORT), stack.probe)
        node = VirtualNode(number, role, contact, process, port, probe_port, stack)
        self.nodes[number] = node
        for service in stack.services:
            service.startService()
        return node

    def join(self, numbers: Sequence[int] = (), progress: Progress = _ignore) -> list[Outcome[bool]]:
        """Begin these nodes (all, if none are named) one by one: whether each has joined, and how quickly."""
        numbers = numbers or range(self.size)

        def begin(turn: int) -> "Deferred[Outcome[bool]]":
            node = self.begin(numbers[turn])
            return self._measured(node, lambda _: self.joined(node))

        return self._stagger(begin, len(numbers), JOIN_GAP, progress)

    def joined(self, node: VirtualNode) -> "Deferred[bool]":
        """Fires with True once the node has joined, with False if it has not after JOIN_PATIENCE."""
        deadline = self.clock.seconds() + JOIN_PATIENCE
        outcome: Deferred[bool] = Deferred()

        def look(_: object) -> None:
            if node.stack.join.joined or self.clock.seconds() > deadline:
                outcome.callback(node.stack.join.joined)
            else:
                self.clock.post(LOOK_INTERVAL, look, None)

        look(None)
        return outcome

    def kill(self, node: VirtualNode) -> None:
        """SIGKILL, and nobody is told."""
        node.process.kill()
        for port in (node.port, node.probe_port):
            self.network.remove(port)

    def freeze(self, node: VirtualNode) -> None:
        """SIGSTOP."""
        node.process.freeze()
        for port in (node.port, node.probe_port):
            self.network.freeze(port)

    def thaw(self, node: VirtualNode) -> None:
        """SIGCONT."""
        node.process.thaw()
        for port in (node.port, node.probe_port):
            self.network.mend(port)

    # Work

    def callers(self) -> list[VirtualNode]:
        """The nodes that clients can talk to now."""
        return [node for node in self.nodes.values() if node.running and node.role is Role.NODE]

    def perform(
        self, operations: "Sequence[Callable[[Node], Deferred[T]]]", progress: Progress = _ignore
    ) -> list[Outcome[T]]:
        """Run operations, each at another node, in a random order of nodes; their outcomes, as given."""
        callers = self.callers()
        self.rng.shuffle(callers)

        def begin(turn: int) -> "Deferred[Outcome[T]]":
            return self._measured(callers[turn % len(callers)], operations[turn])

        return self._stagger(begin, len(operations), OPERATION_GAP / len(callers), progress)

    def _measured(
        self, node: VirtualNode, operation: "Callable[[Node], Deferred[T]]"
    ) -> "Deferred[Outcome[T]]":
        began, exchanged = self.clock.seconds(), node.port.exchanged
        return operation(node.stack.node).addCallback(
            lambda result: Outcome(result, self.clock.seconds() - began, node.port.exchanged - exchanged)
        )

    def _stagger(
        self, begin: "Callable[[int], Deferred[T]]", count: int, gap: float, progress: Progress
    ) -> list[T]:
        """Call `begin` with 0, 1, 2 and so on, `gap` seconds apart; what its Deferreds brought, in order."""
        results: dict[int, T] = {}
        failures: list[Failure] = []

        def run(turn: int) -> None:
            begin(turn).addCallback(ended, turn).addErrback(failures.append)

        def ended(result: T, turn: int) -> None:
            results[turn] = result
            progress(len(results))

        for turn in range(count):
            self.clock.post(turn * gap, run, turn)
        deadline = self.clock.seconds() + count * gap + PATIENCE
        over = self.clock.run_until_true(lambda: len(results) == count or bool(failures), deadline)
        for failure in failures:
            failure.raiseException()
        assert over, f"{count - len(results)} of {count} operations did not end within {PATIENCE} s"
        return [results[turn] for turn in range(count)]

    def wait(self, seconds: float) -> None:
        """Let so much virtual time pass."""
        self.clock.run_until(self.clock.seconds() + seconds)

    # Looking

    def hops(self) -> Counter[int]:
        """How many lookups of all nodes took how many hops, so far."""
        return sum((node.stack.node.hops for node in self.nodes.values()), Counter[int]())

    def check_invariants(self) -> None:
        """AssertionError where a node's table or store contradicts itself."""
        for node in self.nodes.values():
            node.stack.table.check_invariants()
            if node.stack.store is not None:
                node.stack.store.check_invariants()


def _address(number: int) -> Address:
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}", PORT


def _resolve(host: str, port: int) -> "Deferred[list[Address]]":
    """Seeds are named by their addresses."""
    return succeed([(host, port)])
