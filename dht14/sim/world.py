"""A network of shipped nodes in one process: `stack` builds each of them, as it builds a real one.

Only clock, datagrams and randomness are virtual, and one seed determines all randomness. Nodes fail as
processes do: they are killed, frozen, cut off from the network, restarted.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from attrs import evolve
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred, succeed

from dht14.database.database import Database
from dht14.kademlia.contact import Address, Contact, Seed
from dht14.maintenance.handover import HAND_OVER_TIMEOUT
from dht14.node.node import Node
from dht14.security.identity import Identity
from dht14.sim.availability import Availability
from dht14.sim.clock import HeapClock, Process, ProcessState
from dht14.sim.conditions import Conditions
from dht14.sim.host import PUZZLE, Host, NodeRole, Operation, VirtualNode
from dht14.sim.memory_store import MemoryStore
from dht14.sim.network import VirtualNetwork
from dht14.sim.staggered import OnEnded, ignore, run_staggered
from dht14.sim.virtual_bulk import VirtualBulk
from dht14.sim.virtual_disk import DiskFault
from dht14.stack import StackOptions
from dht14.stack_builder import StackInputs, build_stack
from dht14.wire.contacts import make_room

T = TypeVar("T")
PORT = 8000

START_TIME = 1_700_000_000.0
"""The virtual time at the start: a present date, since versions are as long on the wire as real ones only
then."""

PLAIN_CONDITIONS = Conditions()
SHIPPED_OPTIONS = StackOptions()

JOIN_GAP = 0.05
"""Seconds between the starts of two nodes."""

OPERATION_GAP = 2.0
"""Seconds between two operations at one node, so that the datagrams of each can be counted."""

JOIN_TIMEOUT = 30.0
"""Seconds after which a node that has not joined has failed to join."""

JOIN_CHECK_INTERVAL = 0.05
"""Seconds between two checks whether a node has joined."""


class World:
    """`bootstrap_nodes` + `nodes` nodes on one clock and one network.

    Nodes are numbered, bootstrap nodes first; without bootstrap nodes the first node is the seed of all.
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
        self.clock = HeapClock(START_TIME)
        self.network = VirtualNetwork(self.clock, random.Random(f"{seed}/network"), conditions)
        self.rng = random.Random(f"{seed}/world")
        self.nodes: dict[int, VirtualNode] = {}
        """The last process of each node that was ever started, by number."""
        self.hosts: list[Host] = []
        """By number. `set_host` changes or adds one."""
        self._seed = seed
        self.availability = Availability()
        """When each value-holding node was up."""
        self._leaving: set[VirtualNode] = set()
        """The nodes that have got their SIGTERM, and still hand over their records."""
        self._incarnations: Counter[int] = Counter()
        self._newcomers = 0
        self._past_node_seconds = 0.0
        """Virtual seconds that all dead processes ran."""
        self._real: set[tuple[int, Address]] = set()
        """Ids and addresses of all nodes that ever existed."""
        for number in range(nodes + bootstrap_nodes):
            role = NodeRole.BOOTSTRAP if number < bootstrap_nodes else NodeRole.NODE
            self.set_host(Host(number, role, Identity.made_up(PUZZLE, self.rng), address_of(number)))
        make_room(2 * self.size)
        seeds = tuple(Seed(*host.address) for host in self.hosts[: bootstrap_nodes or 1])
        self.options = evolve(options, seeds=seeds, sealed=sealed)
        """Of all nodes."""

    @property
    def size(self) -> int:
        """The number of hosts."""
        return len(self.hosts)

    def set_host(self, host: Host) -> None:
        """Set the host of a node from its next start on; the next free number adds a node."""
        self._real.add((host.identity.node_id, host.address))
        if host.number == len(self.hosts):
            self.hosts.append(host)
        else:
            self.hosts[host.number] = host

    def is_real(self, contact: Contact) -> bool:
        """Whether a node with this id and address exists or existed."""
        return (contact.node_id, contact.address) in self._real

    def replace(self, number: int) -> None:
        """Replace a node, from its next start on, by a new one at another address and without records."""
        host = self.hosts[number]
        if host.disk is not None:
            host.disk.erase()
        self.set_host(evolve(host, identity=Identity.made_up(PUZZLE, self.rng), address=self._free_address()))

    def add(self) -> int:
        """Add a node that is not started yet; return its number."""
        identity = Identity.made_up(PUZZLE, self.rng)
        self.set_host(Host(self.size, NodeRole.NODE, identity, self._free_address()))
        return self.size - 1

    def branch(self, number: int) -> None:
        """Let all that happens from now on depend on this number too; 0 changes nothing."""
        if number:
            self.rng.seed(f"{self._seed}/world/branch {number}")
            self.network.reseed(f"{self._seed}/network/branch {number}")

    def _free_address(self) -> Address:
        self._newcomers += 1
        return address_of(self.size + self._newcomers)

    # Processes

    def start(self, number: int) -> VirtualNode:
        """Start the node of this number, for the first time or again; records in memory are lost then."""
        self._incarnations[number] += 1
        host = self.hosts[number]
        process = Process(self.clock, host.skew)
        bulk = VirtualBulk(host.identity.proof, PUZZLE.verify_proof, process)
        limit = None if host.role is NodeRole.BOOTSTRAP else self.options.storage_limit

        def begin_services() -> None:
            for service in self.nodes[number].stack.services:
                service.startService()

        stack = build_stack(
            StackInputs(
                identity=host.identity,
                verify_proof=PUZZLE.verify_proof,
                clock=process,
                wall=process.wall,
                rng=random.Random(f"{self._seed}/node {number}/life {self._incarnations[number]}"),
                resolve=_resolve,
                bulk=bulk,
                options=evolve(self.options, storage_limit=limit),
                saved=host.disk.contacts if host.disk else (),
                make_store=host.disk.store_of(process, begin_services) if host.disk else MemoryStore.of,
                make_responder=host.make_responder,
            )
        )
        bulk.serve(stack.rpc, stack.responder)
        ports = (
            self.network.listen(host.address, bulk, host.behind_nat),
            self.network.listen(host.probe_address, stack.probe, host.behind_nat),
        )
        node = self.nodes[number] = VirtualNode(host, process, ports, stack, self.clock.seconds())
        if host.disk is None or limit is None:
            begin_services()
        if host.is_holder:
            self.availability.came_up(host.identity.node_id, node.started_at, kept=host.disk is not None)
        if host.is_hostile:
            self.availability.turned_hostile(host.identity.node_id)
        return node

    def join(self, numbers: Sequence[int] = (), progress: OnEnded = ignore) -> list[Operation[bool]]:
        """Start the nodes of these numbers (default: all) one by one; return whether each has joined, and its
        time."""
        numbers = numbers or range(self.size)

        def start(turn: int) -> "Deferred[Operation[bool]]":
            node = self.start(numbers[turn])
            return self._measured(node, lambda _: self.joined(node))

        return run_staggered(self.clock, start, len(numbers), JOIN_GAP, progress)

    def joined(self, node: VirtualNode) -> "Deferred[bool]":
        """Fire with True once the node has joined, with False after JOIN_TIMEOUT."""
        deadline = self.clock.seconds() + JOIN_TIMEOUT
        outcome: Deferred[bool] = Deferred()

        def look(_: object) -> None:
            if node.stack.join.joined or self.clock.seconds() > deadline:
                outcome.callback(node.stack.join.joined)
            else:
                self.clock.post(JOIN_CHECK_INTERVAL, look, None)

        look(None)
        return outcome

    def kill(self, node: VirtualNode) -> None:
        """SIGKILL: the node disappears without a notice."""
        if node.process.state is ProcessState.DEAD:
            return
        self._past_node_seconds += self.clock.seconds() - node.started_at
        node.process.kill()
        self._leaving.discard(node)
        self.availability.went_down(node.contact.node_id, self.clock.seconds())
        for port in node.ports:
            self.network.remove(port)
        if node.host.disk is not None:
            node.host.disk.crashed(node.stack.table.contacts())

    def stop(self, node: VirtualNode) -> "Deferred[None]":
        """SIGTERM; fires when its process has ended."""
        return Deferred.fromCoroutine(self._stop(node))

    async def _stop(self, node: VirtualNode) -> None:
        # The order of `app.service`: clients are served no more from now on.
        self._leaving.add(node)
        await node.stack.leave(HAND_OVER_TIMEOUT)
        stopped = gatherResults([maybeDeferred(service.stopService) for service in node.stack.services])
        node.stack.stop_calls()
        await stopped
        if isinstance(node.stack.store, Database):
            node.stack.store.close()
        self.kill(node)

    def partition(self, *sides: Iterable[int]) -> None:
        """Partition these groups of nodes, by number, and the rest; without groups, end the partition."""
        self.network.partition(*([self.hosts[number].address[0] for number in side] for side in sides))

    def freeze(self, node: VirtualNode) -> None:
        """SIGSTOP."""
        if node.running:
            self.availability.went_down(node.contact.node_id, self.clock.seconds())
        node.process.freeze()
        for port in node.ports:
            self.network.freeze(port)

    def hang_disk(self, node: VirtualNode) -> None:
        """Let no write to the disk of a node's host end from now on, neither of this process nor of the
        next."""
        if node.host.disk is None:
            return
        node.host.disk.hangs = True
        self.availability.disk_hung(node.contact.node_id, self.clock.seconds())

    def mend_disk(self, node: VirtualNode) -> None:
        """Let the disk of a node's host write again."""
        if node.host.disk is None:
            return
        node.host.disk.hangs = False
        self.availability.disk_mended(node.contact.node_id, self.clock.seconds())

    def set_disk(self, node: VirtualNode, fault: DiskFault | None, flush_seconds: float) -> None:
        """Let all writes to the disk of a node's host fail from now on, or let them take this long."""
        if node.host.disk is None:
            return
        node.host.disk.fault, node.host.disk.flush_seconds = fault, flush_seconds
        self.availability.disk_mended(node.contact.node_id, self.clock.seconds())
        if fault is not None:
            self.availability.disk_hung(node.contact.node_id, self.clock.seconds())

    def set_clock(self, node: VirtualNode, skew: float) -> None:
        """Set the wall clock of a node's host `skew` seconds ahead, now and for later processes."""
        self.set_host(evolve(self.hosts[node.number], skew=skew))
        node.process.skew = skew

    def thaw(self, node: VirtualNode) -> None:
        """SIGCONT."""
        if node.process.state is ProcessState.FROZEN and node.host.is_holder:
            self.availability.came_up(node.contact.node_id, self.clock.seconds(), kept=True)
        node.process.thaw()
        for port in node.ports:
            self.network.mend(port)

    # Operations

    def callers(self) -> list[VirtualNode]:
        """Return the running honest nodes that serve clients."""
        nodes = (node for node in self.nodes.values() if node.running and node.role is NodeRole.NODE)
        return [node for node in nodes if not node.host.is_hostile and node not in self._leaving]

    def is_leaving(self, node: Node) -> bool:
        """Whether the process of this node has got its SIGTERM: it serves clients no more."""
        return any(leaving.stack.node is node for leaving in self._leaving)

    def run_operations(
        self,
        operations: "Sequence[Callable[[Node], Deferred[T]]]",
        progress: OnEnded = ignore,
        callers: Sequence[VirtualNode] = (),
        gap: float = OPERATION_GAP,
    ) -> list[Operation[T]]:
        """Run operations, each at another node in a random order of `callers` (default: `callers()`), with
        `gap` seconds between two at one node; return the results in the order of the operations."""
        shuffled = list(callers or self.callers())
        self.rng.shuffle(shuffled)

        def start(turn: int) -> "Deferred[Operation[T]]":
            return self._measured(shuffled[turn % len(shuffled)], operations[turn])

        return run_staggered(self.clock, start, len(operations), gap / len(shuffled), progress)

    def _measured(
        self, node: VirtualNode, operation: "Callable[[Node], Deferred[T]]"
    ) -> "Deferred[Operation[T]]":
        port, started_at = node.port, self.clock.seconds()
        exchanged, exchanged_bytes = port.exchanged, port.exchanged_bytes
        return operation(node.stack.node).addCallback(
            lambda result: Operation(
                result,
                self.clock.seconds() - started_at,
                port.exchanged - exchanged,
                port.exchanged_bytes - exchanged_bytes,
            )
        )

    def wait(self, seconds: float) -> None:
        """Let virtual time pass."""
        self.clock.run_until(self.clock.seconds() + seconds)

    # Queries

    def node_seconds(self) -> float:
        """Return the virtual seconds that nodes ran, summed over all nodes."""
        now = self.clock.seconds()
        living = (node for node in self.nodes.values() if node.process.state is not ProcessState.DEAD)
        return self._past_node_seconds + sum(now - node.started_at for node in living)

    def hops(self) -> Counter[int]:
        """Count the lookups of all nodes so far by their hops."""
        return sum((node.stack.node.lookups_by_hops for node in self.nodes.values()), Counter[int]())

    def check_invariants(self) -> None:
        """Check table and store of all nodes. Raises AssertionError when one is inconsistent."""
        for node in self.nodes.values():
            if node.process.state is ProcessState.DEAD:
                continue
            node.stack.table.check_invariants()
            if node.stack.store is not None:
                node.stack.store.check_invariants()


def address_of(number: int) -> Address:
    """Return the address of the host of this number, unless `set_host` has changed it."""
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}", PORT


def _resolve(host: str, port: int) -> "Deferred[list[Address]]":
    """Resolve a seed: its host is an address."""
    return succeed([(host, port)])
