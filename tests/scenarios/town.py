"""A simulated network together with what was put into it."""

from functools import partial

from twisted.internet.defer import Deferred

from dht14.kademlia.keyspace import random_id
from dht14.node.node import Node
from dht14.sim.conditions import Conditions
from dht14.sim.host import NodeRole, Operation, VirtualNode
from dht14.sim.world import PLAIN_CONDITIONS, SHIPPED_OPTIONS, World
from dht14.stack import StackOptions
from tests.told import acknowledged, value_of

SETTLE = 6.0
"""Seconds after which all calls of what was done have ended."""


class Town:
    """A world, and the values that its nodes have acknowledged."""

    def __init__(
        self,
        nodes: int,
        conditions: Conditions = PLAIN_CONDITIONS,
        seed: int = 1,
        bootstrap_nodes: int = 2,
        options: StackOptions = SHIPPED_OPTIONS,
        sealed: bool = False,
    ) -> None:
        self.world = World(nodes, seed, conditions, bootstrap_nodes, options, sealed)
        self.values: dict[int, bytes] = {}

    def join(self) -> None:
        """Begin all nodes; all of them must join."""
        outcomes = self.world.join()
        assert all(outcome.result for outcome in outcomes), "not every node has joined"
        self.world.wait(SETTLE)

    def put(self, count: int, ttl: int = 0) -> list[Operation[bool]]:
        """Put fresh values of 1 to 1,000 bytes at random nodes, for `ttl` seconds."""
        rng = self.world.rng
        values = {random_id(rng): rng.randbytes(rng.randint(1, 1000)) for _ in range(count)}
        return self.put_values(values, ttl)

    def put_values(self, values: dict[int, bytes], ttl: int = 0) -> list[Operation[bool]]:
        """Put these values, by their keys, at random nodes."""
        outcomes = self.world.run_operations(
            [partial(_put, key, value, ttl) for key, value in values.items()]
        )
        acknowledged = zip(values.items(), outcomes, strict=True)
        self.values |= dict(item for item, outcome in acknowledged if outcome.result)
        self.world.wait(SETTLE)
        return outcomes

    def get(self, times: int) -> tuple[int, list[Operation[bytes | None]]]:
        """Get every value so often, each time at another node: how many gets were wrong, and all of them."""
        wanted = [key for key in self.values for _ in range(times)]
        outcomes = self.world.run_operations([partial(_get, key) for key in wanted])
        found = zip(wanted, outcomes, strict=True)
        wrong = sum(outcome.result != self.values[key] for key, outcome in found)
        self.world.check_invariants()
        return wrong, outcomes

    def wrong_from_everywhere(self) -> int:
        """How many gets are wrong when every node is asked for every value."""
        return self.get(times=len(self.world.callers()))[0]

    def nodes(self, role: NodeRole) -> list[VirtualNode]:
        """All nodes of this kind, by number."""
        return [node for _, node in sorted(self.world.nodes.items()) if node.role is role]

    def some_nodes(self, part: float) -> list[VirtualNode]:
        """A random part of the nodes that hold values."""
        holders = self.nodes(NodeRole.NODE)
        return self.world.rng.sample(holders, round(part * len(holders)))


def _put(key: int, value: bytes, ttl: int, node: Node) -> "Deferred[bool]":
    return node.put(key, value, ttl, replication=0).addCallback(acknowledged)


def _get(key: int, node: Node) -> "Deferred[bytes | None]":
    return node.get(key).addCallback(value_of)
