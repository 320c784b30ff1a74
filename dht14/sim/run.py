"""One run of a scenario: a checked world, its clients, and the results that the scenario promises."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
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
from dht14.sim.history import History
from dht14.sim.host import NodeRole, Operation, VirtualNode
from dht14.sim.invariants import InvariantChecker
from dht14.sim.operations import GOOD, GetVerdict, PutResponse, Write
from dht14.sim.statistics import PhaseStatistics
from dht14.sim.timeline import Timeline
from dht14.sim.world import OPERATION_GAP, World
from dht14.wire.messages import FindNode, Nodes, Reply

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0

SETTLE = 2 * HARD_TIMEOUT
"""Virtual seconds after which all RPCs of the last operations have ended."""

SNAPSHOT_INTERVAL = 60.0
"""Virtual seconds between two counts of copies."""

KEYS_COUNTED = 200

VIOLATIONS_LISTED, HOLDERS_LISTED = 50, 24

Progress = Callable[[str, int, int], None]
"""Called with the name of a phase, how many of its operations (or seconds) are over, and how many there
are."""


class GetResult(NamedTuple):
    """The value that a get returned, and its verdict."""

    value: bytes | None
    verdict: GetVerdict


@frozen
class Promise:
    """A figure with its bound."""

    name: str
    figure: float
    at_least: float | None = None
    at_most: float | None = None

    @property
    def kept(self) -> bool:
        """Whether the figure is within its bound."""
        return (self.at_least is None or self.figure >= self.at_least) and (
            self.at_most is None or self.figure <= self.at_most
        )


@define(eq=False)
class ScenarioRun:
    """The state of one run. Its methods are the steps of a script."""

    world: World
    values: int
    """How many values the script puts."""
    value_bytes: int
    """The largest value; sizes are drawn evenly from 1 up to it."""
    _progress: Progress = lambda phase, over, count: None
    checked: bool = True
    """Whether an `InvariantChecker` runs all the time."""
    _on_joined: Callable[[World], None] = lambda world: None
    """Called once, after the first `join`."""
    history: History = field(factory=History)
    timeline: Timeline = field(factory=Timeline)
    promises: list[Promise] = field(factory=list)
    notes: dict[str, float] = field(factory=dict)
    """Figures without a bound."""
    phases: dict[str, PhaseStatistics] = field(factory=dict)
    """By name, where the script records them."""
    hops: Counter[int] = field(factory=Counter)
    """How many lookups took how many hops, where the script records them."""
    violations: list[str] = field(factory=list)
    """The first gets that broke a promise, each with the records of the nodes nearest to its key."""
    verdicts: Counter[GetVerdict] = field(factory=Counter)
    """Of all gets so far."""
    _started_at: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._started_at = self.world.clock.seconds()
        if self.checked:
            InvariantChecker(self.world, self.history).start()

    # Steps of a script

    @property
    def now(self) -> float:
        """Virtual seconds since the start of the run."""
        return self.world.clock.seconds() - self._started_at

    def join(self, numbers: Sequence[int] = ()) -> list[Operation[bool]]:
        """Start the nodes of these numbers (default: all nodes), and wait until they have settled."""
        joined = self.world.join(numbers, self._progress_of("joins", len(numbers) or self.world.size))
        self.world.wait(SETTLE)
        on_joined, self._on_joined = self._on_joined, lambda world: None
        on_joined(self.world)
        return joined

    def put(
        self, keys: Iterable[int] | None = None, ttl: int = 0, replication: int = 0, label: str = "puts"
    ) -> list[Operation[bool]]:
        """Put new values at random nodes, under `keys` or random keys; `ttl` and `replication` as in PUT."""
        chosen = list(self.random_keys(self.values) if keys is None else keys)
        return self._put_all([(key, self.new_value()) for key in chosen], ttl, replication, label)

    def put_values(self, values: dict[int, bytes]) -> list[Operation[bool]]:
        """Put these values, by their keys, at random nodes."""
        return self._put_all(values.items(), 0, 0, "puts")

    def _put_all(
        self, values: Iterable[tuple[int, bytes]], ttl: int, replication: int, label: str
    ) -> list[Operation[bool]]:
        puts = [partial(self.write, key, value, ttl, replication) for key, value in values]
        stored = self.world.run_operations(puts, self._progress_of(label, len(puts)))
        self.world.wait(SETTLE)
        return stored

    def put_in_background(self, key: int | None = None, replication: int = 0) -> None:
        """Start to put a new value at a random joined node, if there is one, and do not wait for the
        response."""
        callers = [node for node in self.world.callers() if node.stack.join.joined]
        if callers:
            node = self.world.rng.choice(callers).stack.node
            chosen = random_id(self.world.rng) if key is None else key
            self.write(chosen, self.new_value(), 0, replication, node)

    def get(
        self,
        keys: Iterable[int],
        times: int = 1,
        callers: Sequence[VirtualNode] = (),
        gap: float = OPERATION_GAP,
    ) -> list[Operation[GetResult]]:
        """Get each key `times` times, each time at another node (of `callers`, if given). `gap` seconds pass
        between two gets at one node."""
        gets = [partial(self.read, key) for key in keys for _ in range(times)]
        return self.world.run_operations(gets, self._progress_of("gets", len(gets)), callers, gap)

    def get_for(self, seconds: float, gets: int) -> Counter[GetVerdict]:
        """Get acknowledged values at random joined nodes, `gets` times, evenly over `seconds`; return the
        verdicts.

        Gets whose node leaves meanwhile do not count: they have no client any more.
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
        for turn in range(int(seconds // SNAPSHOT_INTERVAL) + 1):
            clock.post(turn * SNAPSHOT_INTERVAL, self._take_snapshot, None)
        self.world.wait(seconds + SETTLE)
        step(int(seconds))
        return verdicts

    def wait(self, seconds: float) -> None:
        """Let virtual time pass, and count copies meanwhile."""
        step, left = self._progress_of("waiting", int(seconds)), seconds
        while left > 0:
            self._take_snapshot(None)
            self.world.wait(min(left, SNAPSHOT_INTERVAL))
            left -= SNAPSHOT_INTERVAL
            step(int(seconds - max(left, 0)))

    def partition(self, *sides: Iterable[int]) -> None:
        """Partition these groups of nodes, by number, and the rest."""
        self.world.partition(*sides)
        self.history.partitioned()

    def heal(self) -> None:
        """End the partition, if there is one."""
        self.world.partition()
        self.history.healed(self.world.clock.seconds())

    def promise(
        self, name: str, figure: float, at_least: float | None = None, at_most: float | None = None
    ) -> None:
        """Record a figure with its bound."""
        self.promises.append(Promise(name, round(figure, 6), at_least, at_most))

    def promise_right(self, name: str, verdicts: Counter[GetVerdict], at_least: float) -> None:
        """Record the share of right gets with its lower bound."""
        self.promise(name, verdicts[GetVerdict.RIGHT] / max(1, verdicts.total()), at_least=at_least)

    def promise_acknowledged(self, name: str, stored: Sequence[Operation[bool]], at_least: float) -> None:
        """Record the share of acknowledged puts with its lower bound."""
        self.promise(name, success_share(stored), at_least=at_least)

    # Random choices

    def random_keys(self, count: int) -> Iterator[int]:
        """Yield random keys, each drawn when it is asked for."""
        return (random_id(self.world.rng) for _ in range(count))

    def new_value(self) -> bytes:
        """Return a random value of 1 to `value_bytes` bytes."""
        return self.world.rng.randbytes(self.world.rng.randint(1, self.value_bytes))

    # What is known of the network

    def nodes(self, role: NodeRole = NodeRole.NODE) -> list[VirtualNode]:
        """Return the nodes of this role that were ever started, by number, dead ones included."""
        return [node for _, node in sorted(self.world.nodes.items()) if node.role is role]

    def acknowledged(self) -> list[Write]:
        """Return the writes whose values a get must return now."""
        return self.history.acknowledged(self.world.clock.seconds())

    def holders(self, key: int) -> list[VirtualNode]:
        """Return the running nodes that have a record under `key`."""
        running = (node for node in self.world.nodes.values() if node.running)
        return [node for node in running if _has(node, key)]

    def replicas(self, writes: Sequence[Write]) -> list[int]:
        """Count the running nodes that hold the value of each write."""
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
        """Send FIND_NODE with each target from one node to all others; return the contacts of all replies.
        Nodes behind NATs are left out: the request may not reach them."""
        named: set[Contact] = set()
        world = self.world

        def add(reply: Reply) -> None:
            if isinstance(reply, Nodes):
                named.update(reply.contacts)

        surveyor = world.callers()[0]
        for target in targets:
            for node in list(world.nodes.values()):
                if node.running and node is not surveyor and not node.host.behind_nat:
                    asked = surveyor.stack.rpc.ask(node.contact, FindNode(target))
                    asked.addCallbacks(add, lambda _: None)
            world.wait(SETTLE)
        return named

    @property
    def right_share(self) -> float:
        """The share of right gets among all gets so far."""
        return self.verdicts[GetVerdict.RIGHT] / max(1, self.verdicts.total())

    @property
    def broken(self) -> int:
        """How many gets so far have broken a promise."""
        return sum(count for verdict, count in self.verdicts.items() if verdict not in GOOD)

    # Single operations

    def write(self, key: int, value: bytes, ttl: int, replication: int, node: Node) -> "Deferred[bool]":
        """Put at this node; `ttl` and `replication` as in PUT. Fires with whether it was acknowledged."""
        policy, clock = self.world.options.policy, self.world.clock
        write = self.history.put_invoked(
            key, value, policy.ttl(ttl), clock.seconds(), policy.copies(replication), self._client_name(node)
        )

        def ended(receipt: Receipt) -> bool:
            self.history.put_responded(write, PutResponse.of(receipt), clock.seconds())
            return write.acknowledged

        return node.put(key, value, ttl, replication).addCallback(ended)

    def read(self, key: int, node: Node) -> "Deferred[GetResult]":
        """Get at this node."""
        invoked_at = self.world.clock.seconds()

        def ended(record: Record | NoRecord) -> GetResult:
            if record is NoRecord.UNANSWERED and self.world.is_leaving(node):
                return GetResult(None, GetVerdict.EXCUSED)  # Its client is disconnected.
            found = record.value if isinstance(record, Record) else None
            now = self.world.clock.seconds()
            read = self.history.get_responded(key, found, invoked_at, now, self._client_name(node))
            self.verdicts[read.verdict] += 1
            self.timeline.get_ended(now - self._started_at, read.verdict in GOOD, now - invoked_at)
            if read.verdict not in GOOD and len(self.violations) < VIOLATIONS_LISTED:
                self.violations.append(f"{read.describe(self._started_at)}; {self._held_near(key)}")
            return GetResult(found, read.verdict)

        return node.get(key).addCallback(ended)

    def _client_name(self, node: Node) -> str:
        return next(f"node {other.number}" for other in self.world.nodes.values() if other.stack.node is node)

    def _held_near(self, key: int) -> str:
        """Describe the records of the nodes nearest to a key, for a violation."""
        numbers = {write.value: str(write.number) for write in self.history.writes(key)}
        nodes = [node for node in self.world.nodes.values() if node.role is NodeRole.NODE]
        words = []
        for node in sorted(nodes, key=lambda node: node.contact.node_id ^ key)[:HOLDERS_LISTED]:
            store = node.stack.store
            record = store.get(key, node.process.seconds()) if node.running and store is not None else None
            held = "-" if record is None else f"{numbers.get(record.value, '?')}/{record.replication}"
            words.append("liar" if node.host.is_hostile else held if node.running else "dead")
        return f"the nearest nodes hold put/r: {' '.join(words)}"

    def _take_snapshot(self, _: object) -> None:
        running = sum(node.running for node in self.world.nodes.values())
        self.timeline.counted(self.now, running, self.replicas(self.acknowledged()[:KEYS_COUNTED]))

    def _progress_of(self, phase: str, count: int) -> Callable[[int], None]:
        return lambda over: self._progress(phase, over, count)


def _has(node: VirtualNode, key: int) -> bool:
    store = node.stack.store
    return store is not None and store.get(key, node.process.seconds()) is not None


def verdicts_of(outcomes: Iterable[Operation[GetResult]]) -> Counter[GetVerdict]:
    """Count the verdicts of these gets."""
    return Counter(outcome.result.verdict for outcome in outcomes)


def success_share(outcomes: Sequence[Operation[bool]]) -> float:
    """Return the share of these operations that succeeded."""
    return sum(outcome.result for outcome in outcomes) / max(1, len(outcomes))
