"""A scenario: what is played on a stage, and what came of it."""

from collections.abc import Callable

from attrs import field, frozen

from dht14.sim.conditions import Conditions
from dht14.sim.history import GetVerdict
from dht14.sim.network import Traffic
from dht14.sim.run import Progress, Promise, ScenarioRun
from dht14.sim.timeline import Interval
from dht14.sim.world import World
from dht14.stack import StackOptions

Script = Callable[[ScenarioRun], None]
"""What happens on a stage."""

MAX_INTERVALS = 120
"""In how many pieces a timeline is told, at most; no piece is shorter than SHORTEST_MOMENT."""

SHORTEST_INTERVAL = 10.0


@frozen
class Scenario:
    """A network, and what happens to it. Its name is the one that is typed."""

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
    """Whether datagrams are sealed, as they are between real nodes; that takes several times as long."""

    def run(self, seed: int, progress: Progress = lambda phase, over, all_of_it: None) -> "Result":
        """Play it. AssertionError where something was found that must never be."""
        world = World(self.nodes, seed, self.conditions, self.bootstrap_nodes, self.options, self.sealed)
        run = ScenarioRun(world, self.values, self.value_bytes, progress)
        self.script(run)
        forged = run.verdicts[GetVerdict.FORGED]
        run.promise("values that nobody wrote", forged, at_most=0)
        width = max(SHORTEST_INTERVAL, -(-run.timeline.end // MAX_INTERVALS))
        return Result(
            scenario=self,
            seed=seed,
            promises=tuple(run.promises),
            notes=run.notes,
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
    """What came of a scenario. It depends on the scenario and the seed alone: no wall time is in it."""

    scenario: Scenario
    seed: int
    promises: tuple[Promise, ...]
    notes: dict[str, float]
    violations: tuple[str, ...]
    """The first gets that broke a promise."""
    verdicts: dict[str, int]
    """All gets, by what they were."""
    intervals: tuple[Interval, ...]
    traffic: Traffic
    node_seconds: int
    """Virtual seconds that nodes ran, all together."""
    virtual_seconds: float
    events: int
    digest: str

    @property
    def kept(self) -> bool:
        """Whether every promise was."""
        return all(promise.kept for promise in self.promises)
