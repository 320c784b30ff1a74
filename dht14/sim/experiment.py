"""The scenario of `dht14 sim` without a name: nodes join, clients put values, nodes may die, clients get
values."""

from dht14.sim.conditions import Conditions
from dht14.sim.operations import GetVerdict
from dht14.sim.run import ScenarioRun, verdicts_of
from dht14.sim.scenario import Scenario, Script
from dht14.sim.statistics import PhaseStatistics

PROMISED_RATE = 0.999
"""The share of the gets of acknowledged values that must return the right bytes."""

GETS = 1_000


def experiment(gets: int = GETS, kill: float = 0.0) -> Script:
    """Return a script with this number of gets; the share `kill` of the nodes with values dies after the
    puts."""

    def script(run: ScenarioRun) -> None:
        world = run.world
        joined = run.join()
        hops_of_joins = world.hops()
        stored = run.put_values({key: run.new_value() for key in run.random_keys(run.values)})
        nodes = run.nodes()
        killed = world.rng.sample(nodes, int(kill * len(nodes)))
        for node in killed:
            world.kill(node)
        keys = [write.key for write in run.acknowledged()]
        found = run.get(world.rng.choices(keys, k=gets) if keys else [])
        world.check_invariants()
        run.phases = {
            "joins": PhaseStatistics.of(joined, sum(join.result for join in joined)),
            "puts": PhaseStatistics.of(stored, len(keys)),
            "gets": PhaseStatistics.of(found, verdicts_of(found)[GetVerdict.RIGHT]),
        }
        run.hops = world.hops() - hops_of_joins
        run.notes["nodes killed"] = len(killed)
        run.promise("puts acknowledged", len(keys), at_least=1)
        run.promise("gets right", run.phases["gets"].rate, at_least=PROMISED_RATE)

    return script


EXPERIMENT = Scenario(
    "experiment",
    "values are put at random nodes and read from random nodes: 99.9 % of gets right",
    experiment(),
    nodes=200,
    values=500,
    value_bytes=1_000,
    conditions=Conditions(),
    checked=False,
)
"""Invariants are checked once, at its end."""
