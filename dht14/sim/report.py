"""One experiment on a virtual network, from the first join to the last get, and its figures."""

from collections import Counter
from collections.abc import Callable
from functools import partial

from attrs import define, field, frozen
from twisted.internet.defer import Deferred

from dht14.kademlia.keyspace import random_id
from dht14.kademlia.parameters import HARD_TIMEOUT
from dht14.node.node import Node
from dht14.records.record import Record
from dht14.sim.conditions import Conditions
from dht14.sim.host import NodeRole
from dht14.sim.network import Traffic
from dht14.sim.statistics import PhaseStatistics
from dht14.sim.world import START_TIME, World

PROMISED_RATE = 0.999
"""The part of the gets of acknowledged values that must bring the right bytes."""

SETTLE = 2 * HARD_TIMEOUT
"""Virtual seconds between two phases: the calls of the last one have ended by then."""

Progress = Callable[[str, int, int], None]
"""Told the name of a phase, how many of its operations have ended, and how many there are."""


@frozen
class Plan:
    """What shall be done. `kill` is the part of the value-holding nodes that dies silently after the puts."""

    nodes: int = 200
    bootstrap_nodes: int = 2
    seed: int = 1
    conditions: Conditions = field(factory=Conditions)
    values: int = 500
    value_bytes: int = 1_000
    """The largest value; sizes are drawn evenly from 1 up to it."""
    gets: int = 1_000
    kill: float = 0.0


@frozen
class Report:
    """The figures of one experiment. They depend on the plan alone: no wall time is among them."""

    plan: Plan
    joins: PhaseStatistics
    puts: PhaseStatistics
    gets: PhaseStatistics
    killed: int
    hops: Counter[int]
    """How many lookups of puts and gets took how many hops."""
    traffic: Traffic
    virtual_seconds: float
    events: int
    digest: str

    @property
    def promise_kept(self) -> bool:
        """Whether values were acknowledged, and the gets brought them."""
        return self.puts.good > 0 and self.gets.rate >= PROMISED_RATE


@define
class Experiment:
    """Carries out a plan: joins, puts, deaths, gets."""

    plan: Plan
    progress: Progress = lambda phase, ended, count: None

    def run(self) -> Report:
        """The whole of it. AssertionError when a node contradicts itself or an operation never ends."""
        plan = self.plan
        world = World(plan.nodes, plan.seed, plan.conditions, plan.bootstrap_nodes)
        joined = world.join(progress=self._progress_of("joins", world.size))
        world.wait(SETTLE)
        hops_of_joins = world.hops()
        values = [(random_id(world.rng), self._value(world)) for _ in range(plan.values)]
        puts = [partial(_put, key, value) for key, value in values]
        stored = world.run_operations(puts, self._progress_of("puts", len(puts)))
        world.wait(SETTLE)
        killed = self._kill(world)
        kept = [value for value, put in zip(values, stored, strict=True) if put.result]
        wanted = world.rng.choices(kept, k=plan.gets) if kept else []
        gets = [partial(_get, key) for key, _ in wanted]
        found = world.run_operations(gets, self._progress_of("gets", len(gets)))
        world.check_invariants()
        right = sum(get.result == value for get, (_, value) in zip(found, wanted, strict=True))
        return Report(
            plan=plan,
            joins=PhaseStatistics.of(joined, sum(join.result for join in joined)),
            puts=PhaseStatistics.of(stored, len(kept)),
            gets=PhaseStatistics.of(found, right),
            killed=killed,
            hops=world.hops() - hops_of_joins,
            traffic=world.network.traffic,
            virtual_seconds=world.clock.seconds() - START_TIME,
            events=world.clock.events,
            digest=world.network.digest(),
        )

    def _progress_of(self, phase: str, count: int) -> Callable[[int], None]:
        return lambda ended: self.progress(phase, ended, count)

    def _value(self, world: World) -> bytes:
        return world.rng.randbytes(world.rng.randint(1, self.plan.value_bytes))

    def _kill(self, world: World) -> int:
        holders = [node for node in world.nodes.values() if node.role is NodeRole.NODE]
        victims = world.rng.sample(holders, int(self.plan.kill * len(holders)))
        for node in victims:
            world.kill(node)
        return len(victims)


def _put(key: int, value: bytes, node: Node) -> "Deferred[bool]":
    return node.put(key, value, ttl=0, replication=0).addCallback(lambda receipt: receipt.acknowledged)


def _get(key: int, node: Node) -> "Deferred[bytes | None]":
    return node.get(key).addCallback(lambda found: found.value if isinstance(found, Record) else None)
