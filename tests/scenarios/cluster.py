"""A run without a script: the steps of `ScenarioRun`, taken by a test."""

from collections.abc import Iterable

from dht14.sim.conditions import Conditions
from dht14.sim.host import Operation, VirtualNode
from dht14.sim.operations import GetVerdict
from dht14.sim.run import GetResult, ScenarioRun
from dht14.sim.world import PLAIN_CONDITIONS, SHIPPED_OPTIONS, World
from dht14.stack import StackOptions


class Cluster(ScenarioRun):
    """A simulated network, with values of up to 1,000 bytes. Invariants are checked after gets: all the time
    takes too long."""

    def __init__(
        self,
        nodes: int,
        conditions: Conditions = PLAIN_CONDITIONS,
        seed: int = 1,
        bootstrap_nodes: int = 2,
        options: StackOptions = SHIPPED_OPTIONS,
        sealed: bool = False,
    ) -> None:
        world = World(nodes, seed, conditions, bootstrap_nodes, options, sealed)
        super().__init__(world, values=0, value_bytes=1_000, checked=False)

    def join_all(self) -> None:
        """Start all nodes; all of them must join."""
        assert all(outcome.result for outcome in self.join()), "not every node has joined"

    def put_new(self, count: int, ttl: int = 0) -> None:
        """Put values under random keys at random nodes, for `ttl` seconds."""
        self.put(self.random_keys(count), ttl)

    def keys(self) -> list[int]:
        """Return the keys whose newest value is acknowledged and has not expired."""
        return [write.key for write in self.acknowledged()]

    def get_all(self, times: int, keys: Iterable[int] | None = None) -> list[Operation[GetResult]]:
        """Get all acknowledged values, or those of `keys`, each time at another node."""
        found = self.get(self.keys() if keys is None else keys, times)
        self.world.check_invariants()
        return found

    def wrong_from_everywhere(self) -> int:
        """Get every value at every node; return how many gets are wrong."""
        return wrong(self.get_all(times=len(self.world.callers())))

    def some_nodes(self, share: float) -> list[VirtualNode]:
        """Return a random share of the nodes that hold values."""
        nodes = self.nodes()
        return self.world.rng.sample(nodes, round(share * len(nodes)))


def wrong(found: Iterable[Operation[GetResult]]) -> int:
    """Return how many of these gets are wrong."""
    return sum(get.result.verdict is not GetVerdict.RIGHT for get in found)
