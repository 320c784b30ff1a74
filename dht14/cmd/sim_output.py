"""The output of `dht14 sim`, for people and for programs."""

from attrs import asdict, frozen

from dht14.sim.run import Promise
from dht14.sim.scenario import Result
from dht14.sim.statistics import PhaseStatistics

VIOLATIONS_SHOWN = 10
"""To people; the JSON has more of them."""


@frozen
class ExperimentOutput:
    """The result of `experiment`, with what only this process knows: wall time, and the errors that nodes
    logged."""

    result: Result
    gets: int
    kill: float
    wall_seconds: float
    errors: int

    @property
    def good(self) -> bool:
        """Whether every promise was kept, and no node logged an error."""
        return self.result.kept and not self.errors

    @property
    def events_per_second(self) -> float:
        """Events of the clock per second of wall time."""
        return self.result.events / self.wall_seconds

    def as_object(self) -> dict[str, object]:
        """Return an object for programs. All but `wall_seconds` and `events_per_second` depends on `plan`
        alone."""
        result, scenario = self.result, self.result.scenario
        return {
            "plan": {
                "nodes": scenario.nodes,
                "bootstrap_nodes": scenario.bootstrap_nodes,
                "seed": result.seed,
                "conditions": asdict(scenario.conditions),
                "values": scenario.values,
                "value_bytes": scenario.value_bytes,
                "gets": self.gets,
                "kill": self.kill,
            },
            **{name: asdict(phase) for name, phase in result.phases.items()},
            "killed": result.notes["nodes killed"],
            "hops": {str(hops): count for hops, count in sorted(result.hops.items())},
            "traffic": asdict(result.traffic),
            "virtual_seconds": result.virtual_seconds,
            "events": result.events,
            "digest": result.digest,
            "errors": self.errors,
            "good": self.good,
            "wall_seconds": round(self.wall_seconds, 3),
            "events_per_second": round(self.events_per_second),
        }

    def as_text(self) -> str:
        """Return a table for people."""
        result, scenario, traffic = self.result, self.result.scenario, self.result.traffic
        lookups = max(1, sum(result.hops.values()))
        mean_hops = sum(hops * count for hops, count in result.hops.items()) / lookups
        killed = f"{result.notes['nodes killed']} killed"
        lines = {
            "nodes": f"{scenario.nodes} and {scenario.bootstrap_nodes} bootstrap nodes; {killed}",
            "joins": _phase_line(result.phases["joins"], "joined"),
            "puts": _phase_line(result.phases["puts"], "acknowledged"),
            "gets": _phase_line(result.phases["gets"], "right"),
            "hops": f"{mean_hops:.2f} per lookup, {max(result.hops, default=0)} at most",
            "datagrams": f"{traffic.sent} sent, {traffic.lost} lost, {traffic.duplicated} doubled, "
            f"{traffic.unreachable} to nobody",
            "bytes": f"{traffic.sent_bytes} sent, {traffic.largest_bytes} in the largest datagram",
            "events": f"{result.events} in {result.virtual_seconds:.1f} virtual seconds",
            "here": f"{self.wall_seconds:.1f} s, {self.events_per_second:.0f} events per second",
            "errors": f"{self.errors} logged",
            "digest": result.digest,
        }
        return "\n".join(f"{name:<10} {line}" for name, line in lines.items())


def _phase_line(phase: PhaseStatistics, good: str) -> str:
    return (
        f"{phase.good} of {phase.count} {good} ({phase.rate:.2%}); datagrams each: {phase.datagrams}; "
        f"p50 {phase.p50_ms} ms, p99 {phase.p99_ms} ms, at most {phase.max_ms} ms"
    )


@frozen
class ScenarioOutput:
    """The result of a named scenario, with what only this process knows: its times, and the errors that nodes
    logged."""

    result: Result
    wall_seconds: float
    cpu_seconds: float
    errors: int
    """Logged by nodes."""
    replay: str
    """The command that runs the same again."""

    @property
    def good(self) -> bool:
        """Whether every promise was kept, and no node logged an error."""
        return self.result.kept and not self.errors

    @property
    def speed(self) -> dict[str, int]:
        """Rates per CPU second: the process has one thread, and other processes may use the machine."""
        done = {
            "node_seconds_per_second": self.result.node_seconds,
            "datagrams_per_second": self.result.traffic.sent,
            "events_per_second": self.result.events,
        }
        return {name: round(count / self.cpu_seconds) for name, count in done.items()}

    def as_object(self) -> dict[str, object]:
        """Return an object for programs. All but `wall_seconds`, `cpu_seconds` and `..._per_second` depends
        on scenario and seed alone."""
        result, scenario = self.result, self.result.scenario
        return {
            "scenario": scenario.name,
            "says": scenario.summary,
            "nodes": scenario.nodes,
            "bootstrap_nodes": scenario.bootstrap_nodes,
            "values": scenario.values,
            "seed": result.seed,
            "promises": [{**asdict(promise), "kept": promise.kept} for promise in result.promises],
            "notes": result.notes,
            "phases": {name: asdict(phase) for name, phase in result.phases.items()},
            "hops": {str(hops): count for hops, count in sorted(result.hops.items())},
            "gets": result.verdicts,
            "violations": result.violations,
            "moments": [asdict(interval) for interval in result.intervals],
            "traffic": asdict(result.traffic),
            "virtual_seconds": round(result.virtual_seconds, 3),
            "node_seconds": result.node_seconds,
            "events": result.events,
            "digest": result.digest,
            "errors": self.errors,
            "good": self.good,
            "replay": self.replay,
            "wall_seconds": round(self.wall_seconds, 3),
            "cpu_seconds": round(self.cpu_seconds, 3),
            **self.speed,
        }

    def as_text(self) -> str:
        """Return a table of promises for people, with the other results."""
        result, scenario, speed = self.result, self.result.scenario, self.speed
        heads = [
            f"{scenario.name}: {scenario.summary}",
            f"nodes: {scenario.nodes}, bootstrap nodes: {scenario.bootstrap_nodes}, "
            + f"values: {scenario.values}, seed {result.seed}",
            "",
        ]
        table = [_promise_line(promise) for promise in result.promises]
        table += [f"        {name:<48} {value:>12.6g}" for name, value in result.notes.items()]
        facts = {
            "gets": ", ".join(f"{count} {what}" for what, count in result.verdicts.items()),
            "datagrams": f"{result.traffic.sent} sent, {result.traffic.lost} lost, "
            f"{result.traffic.filtered} kept out by NATs, {result.traffic.unreachable} to nobody",
            "time": f"{result.virtual_seconds:.0f} virtual seconds, {result.node_seconds} of nodes",
            "here": f"{self.wall_seconds:.1f} s, {self.cpu_seconds:.1f} s of CPU; in a second of it "
            f"{speed['node_seconds_per_second']} of nodes, "
            f"{speed['datagrams_per_second']} datagrams, {speed['events_per_second']} events",
            "errors": f"{self.errors} logged",
            "digest": result.digest,
        }
        lines = [*heads, *table, "", *(f"{name:<10} {fact}" for name, fact in facts.items())]
        lines += [f"violation  {line}" for line in result.violations[:VIOLATIONS_SHOWN]]
        if not self.good:
            lines.append(f"To see this again: {self.replay}")
        return "\n".join(lines)


def _promise_line(promise: Promise) -> str:
    if promise.at_least is not None:
        bound = f"at least {promise.at_least:g}"
    else:
        bound = f"at most {promise.at_most:g}"
    return f"{'kept' if promise.kept else 'MISSED':<7} {promise.name:<48} {promise.figure:>12.6g}   {bound}"
