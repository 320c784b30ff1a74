"""`dht14 sim`: run a scenario on the simulator and print its results."""

import argparse
import json
import os
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from attrs import define, evolve, field
from twisted.logger import ILogObserver, LogEvent, LogLevel, eventAsText, globalLogPublisher
from zope.interface import implementer

from dht14.cmd.command_error import DONE, NOT_DONE, WRONG_USAGE, CommandError
from dht14.cmd.parser import whole_number
from dht14.cmd.progress import TERMINAL_INTERVAL, Heartbeat
from dht14.cmd.sim_output import ExperimentOutput, ScenarioOutput
from dht14.kademlia.parameters import MAX_VALUE
from dht14.sim.branches import AllEnded, Branches, CannotBranch
from dht14.sim.conditions import Conditions
from dht14.sim.experiment import EXPERIMENT, GETS, PROMISED_RATE, experiment
from dht14.sim.plot import can_plot, plot
from dht14.sim.run import Progress
from dht14.sim.scenario import Scenario
from dht14.sim.scenarios import ALIASES, SCENARIOS
from dht14.sim.world import World

ERRORS_SHOWN = 5


def part(text: str) -> float:
    """Parse a share from 0 to less than 1."""
    return _number(text, 1.0, "a part from 0 to less than 1, such as 0.05")


def milliseconds(text: str) -> float:
    """Parse a latency."""
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
    """Add the options of `dht14 sim`."""
    parser.description = (
        "Run a whole network of shipped nodes on a virtual clock and a virtual network. With the name of a "
        "scenario, exit code 0 means that its promises were kept. Without a name all nodes join, values are "
        "put at random nodes, some nodes may die, and random nodes get the values; exit code 0 means that at "
        f"least {PROMISED_RATE:.1%} of the gets returned the acknowledged value. The exit code is 1 when a "
        "promise is missed, or when a node logs an error or breaks an invariant. The same options give the "
        "same digest."
    )
    parser.add_argument("scenario", nargs="?", choices=[*SCENARIOS, *ALIASES], metavar="SCENARIO")
    parser.add_argument("--list", action="store_true", help="list the scenarios")
    network = parser.add_argument_group("the network")
    network.add_argument("--nodes", type=whole_number(100_000, least=1), metavar="N", help="number of nodes")
    network.add_argument(
        "--seed", type=whole_number(2**63), default=1, metavar="N", help="of all randomness (default: 1)"
    )
    network.add_argument(
        "--branches",
        type=whole_number(1000, least=1),
        metavar="N",
        help="let the nodes join once, and run the rest of the scenario N times from there, each time with "
        "other random numbers; the first is the same run as without --branches",
    )
    network.add_argument(
        "--jobs",
        type=whole_number(1000, least=1),
        metavar="N",
        help="branches that run at the same time (default: one for each core)",
    )
    work = parser.add_argument_group("the work")
    work.add_argument(
        "--values", type=whole_number(1_000_000, least=1), metavar="N", help="number of values to put"
    )
    _add_plain_arguments(parser.add_argument_group("without a scenario"))
    parser.add_argument("--quiet", action="store_true", help="do not write progress to stderr")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--plot", metavar="FILE", help="plot success, latency and copies of a scenario over time"
    )


def _add_plain_arguments(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--bootstrap-nodes", type=whole_number(100), metavar="N", help="additional nodes without values (2)"
    )
    group.add_argument("--latency", type=milliseconds, metavar="MS", help="median one-way latency (30)")
    group.add_argument("--loss", type=part, metavar="PART", help="share of datagrams that are lost (0)")
    group.add_argument(
        "--duplicate", type=part, metavar="PART", help="share of datagrams that arrive twice (0)"
    )
    group.add_argument(
        "--reorder",
        type=part,
        metavar="PART",
        help="share of datagrams that are delayed, so that others overtake them (0)",
    )
    group.add_argument(
        "--value-size",
        dest="value_bytes",
        type=whole_number(MAX_VALUE, least=1),
        metavar="BYTES",
        help="the largest value (1000)",
    )
    group.add_argument("--gets", type=whole_number(10_000_000), metavar="N", help="number of gets (1000)")
    group.add_argument(
        "--kill", type=part, metavar="PART", help="share of the nodes that die after the puts (0)"
    )


EXPERIMENT_OPTIONS = {
    "bootstrap_nodes": "--bootstrap-nodes",
    "latency": "--latency",
    "loss": "--loss",
    "duplicate": "--duplicate",
    "reorder": "--reorder",
    "value_bytes": "--value-size",
    "gets": "--gets",
    "kill": "--kill",
}
"""Options of the experiment: a named scenario has its own values of them."""


def scenario_of(args: argparse.Namespace) -> Scenario:
    """Return the named scenario, or the experiment with its options, of the size that the arguments give."""
    names = ("nodes", "values") if args.scenario else ("nodes", "values", "bootstrap_nodes", "value_bytes")
    sizes = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    if args.scenario:
        return evolve(SCENARIOS[ALIASES.get(args.scenario, args.scenario)], **sizes)
    given = {name: value for name, value in vars(args).items() if value is not None}
    conditions: dict[str, Any] = {}
    conditions |= {name: given[name] for name in ("loss", "duplicate", "reorder") if name in given}
    if "latency" in given:
        conditions["latency"] = given["latency"] / 1000
    options = {name: given[name] for name in ("gets", "kill") if name in given}
    return evolve(EXPERIMENT, script=experiment(**options), conditions=Conditions(**conditions), **sizes)


def run(args: argparse.Namespace) -> int:
    """Run the scenario and print its results; return the exit code."""
    if args.list:
        print("\n".join(f"{name:<15} {scenario.summary}" for name, scenario in SCENARIOS.items()))
        return DONE
    wrong = _misused(args)
    if wrong:
        raise CommandError(WRONG_USAGE, wrong)
    errors = Errors()
    globalLogPublisher.addObserver(errors)
    branches = Branches(args.branches or 0, args.jobs or len(os.sched_getaffinity(0)))
    code = NOT_DONE
    try:
        code = _run(args, errors, branches)
        return code
    finally:
        globalLogPublisher.removeObserver(errors)
        for event in errors.first:
            print(eventAsText(event), file=sys.stderr)
        branches.leave(code)


def _misused(args: argparse.Namespace) -> str:
    """Return which options contradict each other, "" if none do."""
    given = [option for name, option in EXPERIMENT_OPTIONS.items() if getattr(args, name) is not None]
    if args.scenario and given:
        return f"{given[0]} is part of a scenario, and cannot be given with one"
    if args.branches and args.plot:
        return "--plot shows one run: give no --branches"
    if args.jobs and not args.branches:
        return "--jobs counts branches: give --branches too"
    if args.plot and not args.scenario:
        return "--plot needs the name of a scenario (--list lists them)"
    if args.plot and not can_plot():
        return "--plot needs matplotlib: pip install 'dht14[plot]'"
    if args.plot and not os.path.isdir(os.path.dirname(os.path.abspath(args.plot))):
        return f"--plot: there is no folder for {args.plot}"
    return ""


def _run(args: argparse.Namespace, errors: "Errors", branches: Branches) -> int:
    scenario, replay, watch = scenario_of(args), replay_of(args), Stopwatch()

    def joined(world: World) -> None:
        watch.forking()
        branches.fork(world)
        if branches.number is not None:
            watch.forked()

    try:
        # The thread of a heartbeat does not survive a fork.
        with progress_on(sys.stderr, args.quiet or bool(branches.count)) as progress:
            result = scenario.run(args.seed, progress, joined)
    except CannotBranch as reason:
        raise CommandError(WRONG_USAGE, f"--branches: {scenario.name} has none: {reason}") from None
    except AllEnded:
        return _report(branches)
    except Exception:  # noqa: BLE001 - the traceback is printed
        # A bug of the nodes or of the simulator: the traceback says where, the command runs it again.
        traceback.print_exc()
        print(f"To see this again: {replay}", file=sys.stderr)
        return NOT_DONE
    wall_seconds, cpu_seconds = watch.read()
    output: ScenarioOutput | ExperimentOutput
    if args.scenario:
        output = ScenarioOutput(result, wall_seconds, cpu_seconds, errors.count, replay)
    else:
        gets = GETS if args.gets is None else args.gets
        output = ExperimentOutput(result, gets, args.kill or 0.0, wall_seconds, errors.count)
    branch = {} if branches.number is None else {"branch": branches.number}
    print(json.dumps({**branch, **output.as_object()}) if args.json else output.as_text())
    if args.plot:
        plot(result, args.plot)
    return DONE if output.good else NOT_DONE


def _report(branches: Branches) -> int:
    """Print what the branches have printed; return the exit code of them all."""
    print("".join(branches.outputs()), end="")
    for number, code in enumerate(branches.codes):
        if code < 0:
            print(f"branch {number} was ended by signal {-code}", file=sys.stderr)
    return NOT_DONE if any(branches.codes) else DONE


@define
class Stopwatch:
    """Wall time and CPU time of a run, in seconds. Those of a branch include the join, as if the process had
    never forked."""

    _began: float = field(factory=time.perf_counter, init=False)
    _cpu_began: float = field(factory=time.process_time, init=False)
    _cpu_at_last: float = field(factory=time.process_time, init=False)

    def forking(self) -> None:
        """Note the CPU time that has passed: a forked process has used none yet."""
        self._cpu_at_last = time.process_time()

    def forked(self) -> None:
        """This is the forked process."""
        self._cpu_began -= self._cpu_at_last

    def read(self) -> tuple[float, float]:
        """Return the wall time and the CPU time since the start."""
        return time.perf_counter() - self._began, time.process_time() - self._cpu_began


def replay_of(args: argparse.Namespace) -> str:
    """Return the command that runs the same again."""
    scenario = scenario_of(args)
    words = ["dht14 sim", *([scenario.name] if args.scenario else [])]
    words += [f"--nodes {scenario.nodes} --values {scenario.values} --seed {args.seed}"]
    given = {option: getattr(args, name) for name, option in EXPERIMENT_OPTIONS.items()}
    if args.branches:
        given["--branches"] = args.branches
    return " ".join([*words, *(f"{option} {value}" for option, value in given.items() if value is not None)])


@implementer(ILogObserver)
@define
class Errors:
    """Observes the errors that nodes log. Each is a bug: a simulation has no reason for one."""

    count: int = 0
    first: list[LogEvent] = field(factory=list)

    def __call__(self, event: LogEvent) -> None:
        if event["log_level"] >= LogLevel.error:
            self.count += 1
            if len(self.first) < ERRORS_SHOWN:
                self.first.append(event)


@contextmanager
def progress_on(stream: TextIO, quiet: bool = False) -> Iterator[Progress]:
    """Show progress: on a terminal in one line that is rewritten, else in a new line every 10 s."""
    if quiet:
        yield lambda phase, ended, count: None
    elif stream.isatty():
        yield _rewriting(stream)
    else:
        beat = Heartbeat(stream, "dht14 sim")
        beat.begin()
        try:
            yield beat.update
        finally:
            beat.end()


def _rewriting(stream: TextIO) -> Progress:
    shown = 0.0

    def show(phase: str, ended: int, count: int) -> None:
        nonlocal shown
        now = time.monotonic()
        if ended == count:
            stream.write("\r\x1b[K")
        elif now - shown >= TERMINAL_INTERVAL:
            shown = now
            stream.write(f"\r\x1b[K{phase}: {ended} of {count}")
        stream.flush()

    return show
