"""Where a scenario is played: a world under watch, its clients, and the figures that it shall reach."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple

from attrs import define, field, frozen
from twisted.internet.defer import Deferred

from dht14.kademlia.contact import Contact
from dht14.kademlia.keyspace import random_id
from dht14.kademlia.parameters import HARD_TIMEOUT
from dht14.node.node import Node
from dht14.records.receipt import NoRecord, Receipt
from dht14.records.record import Record
from dht14.sim.history import GOOD, GetVerdict, History, PutResponse, Write
from dht14.sim.host import NodeRole, Operation, VirtualNode
from dht14.sim.invariants import InvariantChecker
from dht14.sim.timeline import Timeline
from dht14.sim.world import OPERATION_GAP, World
from dht14.wire.messages import FindNode, Nodes, Reply

SETTLE = 2 * HARD_TIMEOUT
"""Virtual seconds after which all calls of what was done have ended."""

COUNT_INTERVAL = 60.0
"""Between two counts of copies."""

KEYS_COUNTED = 200

VIOLATIONS_LISTED, HOLDERS_LISTED = 50, 24

Progress = Callable[[str, int, int], None]
"""Told the name of a phase, how much of it is over, and how much there is."""


class GetResult(NamedTuple):
    """What a get brought, and what that was."""

    value: bytes | None
    verdict: GetVerdict


@frozen
class Promise:
    """A figure, and what it must be."""

    name: str
    figure: float
    at_least: float | None = None
    at_most: float | None = None

    @property
    def kept(self) -> bool:
        """Whether it is what it must be."""
        return (self.at_least is None or self.figure >= self.at_least) and (
            self.at_most is None or self.figure <= self.at_most
        )


@define(eq=False)
class ScenarioRun:
    """What a scenario does and finds out. Its verbs are the lines of the play."""

    world: World
    values: int
    """How many values the scenario shall put."""
    value_bytes: int
    """The largest; sizes are drawn evenly from 1 up to it."""
    _progress: Progress = lambda phase, done, all_of_it: None
    history: History = field(factory=History)
    timeline: Timeline = field(factory=Timeline)
    promises: list[Promise] = field(factory=list)
    notes: dict[str, float] = field(factory=dict)
    """Figures without a promise."""
    violations: list[str] = field(factory=list)
    """The first gets that broke a promise, each with what the nodes nearest to its key held."""
    verdicts: Counter[GetVerdict] = field(factory=Counter)
    """Of all gets so far."""
    _began: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._began = self.world.clock.seconds()
        InvariantChecker(self.world, self.history).start()

    # What happens

    @property
    def now(self) -> float:
        """Virtual seconds since the beginning."""
        return self.world.clock.seconds() - self._began

    def join(self, numbers: Sequence[int] = ()) -> list[Operation[bool]]:
        """Begin these nodes (all, if none are named), and let them settle in."""
        joined = self.world.join(numbers, self._progress_of("joins", len(numbers) or self.world.size))
        self.world.wait(SETTLE)
        return joined

    def put(
        self, keys: Iterable[int] | None = None, ttl: int = 0, replication: int = 0, label: str = "puts"
    ) -> list[Operation[bool]]:
        """Put fresh values at random nodes, under these keys or random ones; ttl and replication as in PUT."""
        rng = self.world.rng
        chosen = [random_id(rng) for _ in range(self.values)] if keys is None else list(keys)
        puts = [partial(self.write, key, self._value(), ttl, replication) for key in chosen]
        stored = self.world.run_operations(puts, self._progress_of(label, len(puts)))
        self.world.wait(SETTLE)
        return stored

    def put_values(self, values: dict[int, bytes]) -> list[Operation[bool]]:
        """Put these at random nodes."""
        puts = [partial(self.write, key, value, 0, 0) for key, value in values.items()]
        stored = self.world.run_operations(puts, self._progress_of("puts", len(puts)))
        self.world.wait(SETTLE)
        return stored

    def put_in_background(self, key: int | None = None, replication: int = 0) -> None:
        """Begin to put a fresh value at a random node, if any runs, and do not wait for what becomes of it."""
        callers = self.world.callers()
        if callers:
            node = self.world.rng.choice(callers).stack.node
            chosen = random_id(self.world.rng) if key is None else key
            self.write(chosen, self._value(), 0, replication, node)

    def get(
        self,
        keys: Iterable[int],
        times: int = 1,
        callers: Sequence[VirtualNode] = (),
        gap: float = OPERATION_GAP,
    ) -> list[Operation[GetResult]]:
        """Get each of these so often, every time at another node (of the `callers`, if any are named). At one
        node `gap` seconds pass between two gets."""
        gets = [partial(self.read, key) for key in keys for _ in range(times)]
        return self.world.run_operations(gets, self._progress_of("gets", len(gets)), callers, gap)

    def get_for(self, seconds: float, gets: int) -> Counter[GetVerdict]:
        """So many gets of acknowledged values at random joined nodes, evenly over this time; what they were.

        Gets whose node leaves meanwhile do not count: there is nobody left to be wronged.
        """
        clock, verdicts = self.world.clock, Counter[GetVerdict]()
        step, began = self._progress_of("reading", int(seconds)), self.now

        def get(_: object) -> None:
            step(int(self.now - began))
            kept = self.acknowledged()
            callers = [node for node in self.world.callers() if node.stack.join.joined]
            if kept and callers:
                node = self.world.rng.choice(callers)
                self.read(self.world.rng.choice(kept).key, node.stack.node).addCallback(ended)

        def ended(result: GetResult) -> None:
            verdicts[result.verdict] += 1

        for turn in range(gets):
            clock.post(turn * seconds / gets, get, None)
        for turn in range(int(seconds // COUNT_INTERVAL) + 1):
            clock.post(turn * COUNT_INTERVAL, self._count, None)
        self.world.wait(seconds + SETTLE)
        step(int(seconds))
        return verdicts

    def wait(self, seconds: float) -> None:
        """Let time pass, counting copies meanwhile."""
        step, left = self._progress_of("waiting", int(seconds)), seconds
        while left > 0:
            self._count(None)
            self.world.wait(min(left, COUNT_INTERVAL))
            left -= COUNT_INTERVAL
            step(int(seconds - max(left, 0)))

    # What is looked at

    def acknowledged(self) -> list[Write]:
        """The writes that can be relied upon now."""
        return self.history.acknowledged(self.world.clock.seconds())

    def holders(self, key: int) -> list[VirtualNode]:
        """The running nodes that have a record under `key`."""
        running = (node for node in self.world.nodes.values() if node.running)
        return [node for node in running if _has(node, key)]

    def replicas(self, writes: Sequence[Write]) -> list[int]:
        """How many running nodes hold the value of each of these writes."""
        stores = [
            (node.stack.store, node.process.seconds())
            for node in self.world.nodes.values()
            if node.running and node.stack.store is not None and not node.host.is_hostile
        ]
        counts = []
        for write in writes:
            held = (store.get(write.key, now) for store, now in stores)
            counts.append(sum(record is not None and record.value == write.value for record in held))
        return counts

    def named_contacts(self, targets: Iterable[int]) -> set[Contact]:
        """Every contact that any node names to another one that looks for these. Who is behind a NAT is not
        asked: it may not hear it."""
        named: set[Contact] = set()
        world = self.world

        def heard(reply: Reply) -> None:
            if isinstance(reply, Nodes):
                named.update(reply.contacts)

        surveyor = world.callers()[0]
        for target in targets:
            for node in list(world.nodes.values()):
                if node.running and node is not surveyor and not node.host.behind_nat:
                    asked = surveyor.stack.rpc.ask(node.contact, FindNode(target))
                    asked.addCallbacks(heard, lambda _: None)
            world.wait(SETTLE)
        return named

    @property
    def right_share(self) -> float:
        """Of all gets so far."""
        return self.verdicts[GetVerdict.RIGHT] / max(1, self.verdicts.total())

    def promise(
        self, name: str, figure: float, at_least: float | None = None, at_most: float | None = None
    ) -> None:
        """What came out, and what must have."""
        self.promises.append(Promise(name, round(figure, 6), at_least, at_most))

    def promise_right(self, name: str, verdicts: Counter[GetVerdict], at_least: float) -> None:
        """Which part of some gets must have been right. What nobody wrote must never be found."""
        self.promise(name, verdicts[GetVerdict.RIGHT] / max(1, verdicts.total()), at_least=at_least)

    def promise_acknowledged(self, name: str, stored: Sequence[Operation[bool]], at_least: float) -> None:
        """Which part of some puts must have been acknowledged."""
        self.promise(name, success_share(stored), at_least=at_least)

    # Operations

    def write(self, key: int, value: bytes, ttl: int, replication: int, node: Node) -> "Deferred[bool]":
        """A put at this node; ttl and replication as in PUT."""
        policy, clock = self.world.options.policy, self.world.clock
        write = self.history.put_invoked(
            key, value, policy.ttl(ttl), clock.seconds(), policy.copies(replication), self._client_name(node)
        )

        def ended(receipt: Receipt) -> bool:
            self.history.put_responded(write, PutResponse.of(receipt), clock.seconds())
            return write.acknowledged

        return node.put(key, value, ttl, replication).addCallback(ended)

    def read(self, key: int, node: Node) -> "Deferred[GetResult]":
        """A get at this node."""
        began = self.world.clock.seconds()

        def ended(record: Record | NoRecord) -> GetResult:
            found = record.value if isinstance(record, Record) else None
            now = self.world.clock.seconds()
            read = self.history.get_responded(key, found, began, now, self._client_name(node))
            self.verdicts[read.verdict] += 1
            self.timeline.get_ended(now - self._began, read.verdict in GOOD, now - began)
            if read.verdict not in GOOD and len(self.violations) < VIOLATIONS_LISTED:
                self.violations.append(f"{read.describe(self._began)}; {self._held_near(key)}")
            return GetResult(found, read.verdict)

        return node.get(key).addCallback(ended)

    def _client_name(self, node: Node) -> str:
        return next(f"node {other.number}" for other in self.world.nodes.values() if other.stack.node is node)

    def _held_near(self, key: int) -> str:
        """What the nodes nearest to a key hold now, in the words of a violation."""
        numbers = {write.value: str(write.number) for write in self.history.writes(key)}
        nodes = [node for node in self.world.nodes.values() if node.role is NodeRole.NODE]
        told = []
        for node in sorted(nodes, key=lambda node: node.contact.node_id ^ key)[:HOLDERS_LISTED]:
            store = node.stack.store
            record = store.get(key, node.process.seconds()) if node.running and store is not None else None
            held = "-" if record is None else f"{numbers.get(record.value, '?')}/{record.replication}"
            told.append("liar" if node.host.is_hostile else held if node.running else "dead")
        return f"the nearest nodes hold put/r: {' '.join(told)}"

    def _value(self) -> bytes:
        return self.world.rng.randbytes(self.world.rng.randint(1, self.value_bytes))

    def _count(self, _: object) -> None:
        running = sum(node.running for node in self.world.nodes.values())
        self.timeline.counted(self.now, running, self.replicas(self.acknowledged()[:KEYS_COUNTED]))

    def _progress_of(self, phase: str, count: int) -> Callable[[int], None]:
        return lambda done: self._progress(phase, done, count)


def _has(node: VirtualNode, key: int) -> bool:
    store = node.stack.store
    return store is not None and store.get(key, node.process.seconds()) is not None


def verdicts_of(outcomes: Iterable[Operation[GetResult]]) -> Counter[GetVerdict]:
    """What these gets were."""
    return Counter(outcome.result.verdict for outcome in outcomes)


def success_share(outcomes: Sequence[Operation[bool]]) -> float:
    """Which part of these was a success."""
    return sum(outcome.result for outcome in outcomes) / max(1, len(outcomes))
