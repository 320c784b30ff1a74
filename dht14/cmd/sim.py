"""`dht14 sim`: a whole network of the shipped node code on a virtual clock and network, and its figures."""

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import TextIO

from attrs import asdict, define, field, frozen
from twisted.logger import ILogObserver, LogEvent, LogLevel, eventAsText, globalLogPublisher
from zope.interface import implementer

from dht14.kademlia.parameters import MAX_INLINE_VALUE
from dht14.sim.conditions import Conditions
from dht14.sim.figures import Phase
from dht14.sim.report import PROMISED_RATE, Experiment, Plan, Progress, Report

KEPT, BROKEN, INTERRUPTED = 0, 1, 130
"""Exit codes; argparse ends with 2."""

ERRORS_SHOWN = 5

PROGRESS_INTERVAL = 0.2
"""Seconds between two looks at the progress, for eyes."""


def whole(low: int, high: int) -> Callable[[str], int]:
    """A parser of whole numbers within bounds."""

    def parse(text: str) -> int:
        if text.strip().lstrip("-").isdecimal() and low <= int(text) <= high:
            return int(text)
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {low} to {high}")

    return parse


def part(text: str) -> float:
    """A part of a whole, from 0 to less than 1."""
    return _number(text, 1.0, "a part from 0 to less than 1, such as 0.05")


def milliseconds(text: str) -> float:
    """A latency."""
    return _number(text, 10_000.0, "a number of milliseconds from 0 to less than 10000")


def _number(text: str, limit: float, name: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if 0 <= number < limit:
        return number
    raise argparse.ArgumentTypeError(f"{text!r} is not {name}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `dht14 sim`."""
    parser.description = (
        "Run a whole network of the shipped node code on a virtual clock and network: all nodes join, values "
        "are put at random nodes, some nodes may die, and the values are read from random nodes. The same "
        f"options give the same digest. Exit code 0 when at least {PROMISED_RATE:.1%} of the gets bring the "
        "value that was acknowledged and no node logs an error, 1 otherwise."
    )
    plan, conditions = Plan(), Conditions()
    network = parser.add_argument_group("the network")
    network.add_argument("--nodes", type=whole(1, 100_000), default=plan.nodes, metavar="N")
    network.add_argument(
        "--bootstrap-nodes", type=whole(0, 100), default=plan.bootstrap_nodes, metavar="N", help="besides"
    )
    network.add_argument("--seed", type=whole(0, 2**63), default=plan.seed, metavar="N", help="of all chance")
    network.add_argument("--latency", type=milliseconds, default=conditions.latency * 1000, metavar="MS")
    network.add_argument("--loss", type=part, default=0.0, metavar="PART", help="of the datagrams")
    network.add_argument("--duplicate", type=part, default=0.0, metavar="PART", help="arrive twice")
    network.add_argument(
        "--reorder", type=part, default=0.0, metavar="PART", help="are held back for a while"
    )
    work = parser.add_argument_group("the work")
    work.add_argument("--values", type=whole(1, 1_000_000), default=plan.values, metavar="N", help="to put")
    work.add_argument(
        "--value-size",
        type=whole(1, MAX_INLINE_VALUE),
        default=plan.value_bytes,
        metavar="BYTES",
        help="at most",
    )
    work.add_argument(
        "--gets", type=whole(0, 10_000_000), default=plan.gets, metavar="N", help="of any value"
    )
    work.add_argument("--kill", type=part, default=0.0, metavar="PART", help="of the nodes, after the puts")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def plan_of(args: argparse.Namespace) -> Plan:
    """What these arguments ask for."""
    return Plan(
        nodes=args.nodes,
        bootstrap_nodes=args.bootstrap_nodes,
        seed=args.seed,
        conditions=Conditions(
            latency=args.latency / 1000, loss=args.loss, duplicate=args.duplicate, reorder=args.reorder
        ),
        values=args.values,
        value_bytes=args.value_size,
        gets=args.gets,
        kill=args.kill,
    )


def run(args: argparse.Namespace) -> int:
    """Carry it out and print the figures; the exit code."""
    errors = Errors()
    globalLogPublisher.addObserver(errors)
    began = time.perf_counter()
    try:
        report = Experiment(plan_of(args), _progress(sys.stderr)).run()
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        globalLogPublisher.removeObserver(errors)
    figures = Figures(report, time.perf_counter() - began, errors.count)
    print(json.dumps(figures.as_object()) if args.json else figures.as_text())
    for event in errors.first:
        print(eventAsText(event), file=sys.stderr)
    return KEPT if figures.good else BROKEN


@implementer(ILogObserver)
@define
class Errors:
    """Observes what nodes log as errors. In a simulation none is expected: each is a bug."""

    count: int = 0
    first: list[LogEvent] = field(factory=list)

    def __call__(self, event: LogEvent) -> None:
        if event["log_level"] >= LogLevel.error:
            self.count += 1
            if len(self.first) < ERRORS_SHOWN:
                self.first.append(event)


def _progress(stream: TextIO) -> Progress:
    """One line that is written over and over where somebody watches; silence elsewhere."""
    if not stream.isatty():
        return lambda phase, ended, count: None
    shown = 0.0

    def show(phase: str, ended: int, count: int) -> None:
        nonlocal shown
        now = time.monotonic()
        if ended == count:
            stream.write("\r\x1b[K")
        elif now - shown >= PROGRESS_INTERVAL:
            shown = now
            stream.write(f"\r\x1b[K{phase}: {ended} of {count}")
        stream.flush()

    return show


@frozen
class Figures:
    """A report as it is printed, with what only this run has: wall seconds, and errors that were logged."""

    report: Report
    wall_seconds: float
    errors: int

    @property
    def good(self) -> bool:
        """Whether everything went as promised."""
        return self.report.promise_kept and not self.errors

    @property
    def events_per_second(self) -> float:
        """Events of the clock per second of wall time."""
        return self.report.events / self.wall_seconds

    def as_object(self) -> dict[str, object]:
        """For programs. Everything but `wall_seconds` and `events_per_second` follows from the plan."""
        report = asdict(self.report)
        return {
            **report,
            "hops": {str(hops): count for hops, count in sorted(self.report.hops.items())},
            "errors": self.errors,
            "good": self.good,
            "wall_seconds": round(self.wall_seconds, 3),
            "events_per_second": round(self.events_per_second),
        }

    def as_text(self) -> str:
        """For people."""
        report, plan, traffic = self.report, self.report.plan, self.report.traffic
        lookups = max(1, sum(report.hops.values()))
        mean_hops = sum(hops * count for hops, count in report.hops.items()) / lookups
        lines = {
            "nodes": f"{plan.nodes} and {plan.bootstrap_nodes} bootstrap nodes; {report.killed} killed",
            "joins": f"{_phase(report.joins, 'joined')}",
            "puts": f"{_phase(report.puts, 'acknowledged')}",
            "gets": f"{_phase(report.gets, 'right')}",
            "hops": f"{mean_hops:.2f} per lookup, {max(report.hops, default=0)} at most",
            "datagrams": f"{traffic.sent} sent, {traffic.lost} lost, {traffic.duplicated} doubled, "
            f"{traffic.unreachable} to nobody",
            "bytes": f"{traffic.sent_bytes} sent, {traffic.largest_bytes} in the largest datagram",
            "events": f"{report.events} in {report.virtual_seconds:.1f} virtual seconds",
            "here": f"{self.wall_seconds:.1f} s, {self.events_per_second:.0f} events per second",
            "errors": f"{self.errors} logged",
            "digest": report.digest,
        }
        return "\n".join(f"{name:<10} {line}" for name, line in lines.items())


def _phase(phase: Phase, good: str) -> str:
    return (
        f"{phase.good} of {phase.count} {good} ({phase.rate:.2%}); {phase.datagrams} datagrams each; "
        f"p50 {phase.p50_ms} ms, p99 {phase.p99_ms} ms, at most {phase.max_ms} ms"
    )
