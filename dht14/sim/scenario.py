"""A scenario: a network and a script, and the result of a run."""

from collections import Counter
from collections.abc import Callable

from attrs import field, frozen

from dht14.sim.collector import rare_collections
from dht14.sim.conditions import Conditions
from dht14.sim.network import Traffic
from dht14.sim.operations import GetVerdict
from dht14.sim.run import Progress, Promise, ScenarioRun
from dht14.sim.statistics import PhaseStatistics
from dht14.sim.timeline import Interval
from dht14.sim.world import World
from dht14.stack import StackOptions

Script = Callable[[ScenarioRun], None]
"""A function that takes the steps of a run, one after another."""

MAX_INTERVALS = 120
"""A timeline has no more intervals than this, and none is shorter than SHORTEST_INTERVAL."""

SHORTEST_INTERVAL = 10.0


@frozen
class Scenario:
    """A network and what happens to it. `name` is the argument of `dht14 sim`."""

    name: str
    summary: str
    """What it shows, in one line."""
    script: Script
    nodes: int
    values: int
    value_bytes: int = 200
    bootstrap_nodes: int = 2
    conditions: Conditions = field(factory=Conditions.worldwide)
    options: StackOptions = field(factory=StackOptions)
    sealed: bool = False
    """Whether datagrams are encrypted, as between real nodes; a run takes several times as long then."""
    checked: bool = True
    """Whether nodes are checked for contradictions all the time."""

    def run(
        self,
        seed: int,
        progress: Progress = lambda phase, over, count: None,
        on_joined: Callable[[World], None] = lambda world: None,
    ) -> "Result":
        """Run it. `on_joined` is called after the first join. Raises AssertionError when an invariant is
        broken or an operation never ends."""
        world = World(self.nodes, seed, self.conditions, self.bootstrap_nodes, self.options, self.sealed)
        run = ScenarioRun(world, self.values, self.value_bytes, progress, self.checked, on_joined)
        with rare_collections():
            self.script(run)
        forged = run.verdicts[GetVerdict.FORGED]
        run.promise("values that nobody wrote", forged, at_most=0)
        width = max(SHORTEST_INTERVAL, -(-run.timeline.end // MAX_INTERVALS))
        return Result(
            scenario=self,
            seed=seed,
            promises=tuple(run.promises),
            notes=run.notes,
            phases=run.phases,
            hops=run.hops,
            violations=tuple(run.violations),
            verdicts={verdict.value: run.verdicts[verdict] for verdict in GetVerdict},
            intervals=tuple(run.timeline.intervals(width)),
            traffic=world.network.traffic,
            node_seconds=round(world.node_seconds()),
            virtual_seconds=run.now,
            events=world.clock.events,
            digest=world.network.digest(),
        )


@frozen
class Result:
    """The result of a run. It depends on scenario and seed alone, and has no wall time."""

    scenario: Scenario
    seed: int
    promises: tuple[Promise, ...]
    notes: dict[str, float]
    phases: dict[str, PhaseStatistics]
    hops: Counter[int]
    violations: tuple[str, ...]
    """The first gets that broke a promise."""
    verdicts: dict[str, int]
    """How many gets had which verdict."""
    intervals: tuple[Interval, ...]
    traffic: Traffic
    node_seconds: int
    """Virtual seconds that nodes ran, summed over all nodes."""
    virtual_seconds: float
    events: int
    digest: str

    @property
    def kept(self) -> bool:
        """Whether every promise was kept."""
        return all(promise.kept for promise in self.promises)
