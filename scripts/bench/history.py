"""Question: what are many clients told that write and read the same keys, while nodes are killed and begun
again?

Real processes on this machine, through their APIs. Every get is judged; exit code 1 when one broke a promise.

    python scripts/bench/history.py [--nodes 24] [--seconds 120] [--keys 36] [--clients 12] [--restarts 10]
    [--seed 1]
                                    [--copies 1-20] [--junk 0.1] [--stops 0] [--clocks 0] [--loss 0]
                                    [--partition 0] [--full-disks 0]

`--stops` suspends nodes (SIGSTOP). `--clocks` sets the clocks of a third of the nodes, by minutes and by
hours, after two in three of these nodes began with clocks that were wrong by months and years; this needs
libfaketime (`tox -e clocks` has it). `--loss` loses a part of all datagrams. `--partition` divides the
network for some seconds (at most 14 nodes); both sides must agree a minute later. `--full-disks` gives some
nodes disks of 3 MiB, which fill up again and again. The last two need root.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from twisted.trial.unittest import SkipTest

from dht14.sim.clients import Workload
from tests.process.clocks import HostClock
from tests.process.faults import (
    HOSTS,
    ClockSteps,
    FullDisks,
    Partition,
    SmallDisks,
    Stops,
    prepare_partition,
)
from tests.process.loss import Loss
from tests.process.nodes import Network, Twistd, network
from tests.process.rivals import Rivals
from tests.process.space import Space

MAX_DIVIDED = 14
"""Nodes of a network that is divided, beside two bootstrap nodes."""
REFUSED = "The database cannot be written"
"""In the log of a node."""

WITH_A_CLOCK = 3
"""One in so many nodes has a host whose clock is set: most clocks must be right."""

HOURS_AHEAD = (0.0, -20_000.0, 5_000.0)
"""Of these clocks whenever their nodes begin."""

LACKING = 77
"""The exit code where the host lacks what a fault needs."""

JOIN_TIMEOUT = 120.0
"""Seconds within which many nodes on a busy machine join."""


def _network(args: argparse.Namespace) -> dict[str, str]:
    """Enter a network of our own if it will be divided; return the hosts of the nodes."""
    if not args.partition:
        return {}
    if args.nodes > MAX_DIVIDED:
        sys.exit(f"at most {MAX_DIVIDED} nodes with --partition")
    Space.enter()
    prepare_partition()
    return {"hosts": HOSTS}


Fault = Stops | ClockSteps | Loss | Partition | FullDisks


def _faults(args: argparse.Namespace, disks: SmallDisks | None) -> list[Fault]:
    faults: list[Fault] = []
    if args.stops:
        faults.append(Stops(args.stops))
    if args.clocks:
        faults.append(ClockSteps(args.clocks))
    if args.loss:
        faults.append(Loss(args.loss))
    if args.partition:
        faults.append(Partition(args.seconds / 10, args.partition))
    if disks is not None:
        faults.append(FullDisks(disks.folders))
    return faults


def _nodes(
    args: argparse.Namespace, processes: Network, disks: SmallDisks | None
) -> tuple[list[Twistd], dict[Twistd, HostClock]]:
    """Start the nodes; return them, and the clocks of the hosts of some."""
    numbers = range(WITH_A_CLOCK - 1, args.nodes, WITH_A_CLOCK) if args.clocks else ()
    clocks = {
        number: HostClock(processes.folder / f"clock-{number}", HOURS_AHEAD[turn % len(HOURS_AHEAD)])
        for turn, number in enumerate(numbers)
    }
    data_dirs: Sequence[str] = [str(disk / "node") for disk in disks.folders] if disks else ()
    environments = {number: clock.environment for number, clock in clocks.items()}
    nodes = processes.cluster(args.nodes, JOIN_TIMEOUT, data_dirs, environments)
    return nodes, {nodes[number]: clock for number, clock in clocks.items()}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, default=24)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--keys", type=int, default=36)
    parser.add_argument("--clients", type=int, default=12)
    parser.add_argument("--restarts", type=float, default=10.0, help="nodes a minute")
    parser.add_argument("--copies", default="1-20", help="that puts ask for")
    parser.add_argument(
        "--junk", type=float, default=0.1, help="part of the puts under keys that are not open"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--stops", type=float, default=0.0, help="nodes suspended a minute")
    parser.add_argument("--clocks", type=float, default=0.0, help="clocks that are set a minute")
    parser.add_argument("--loss", type=float, default=0.0, help="part of the datagrams")
    parser.add_argument("--partition", type=float, default=0.0, help="seconds that the network is divided")
    parser.add_argument("--full-disks", type=int, default=0, help="nodes whose disk fills up")
    return parser.parse_args()


def _run(args: argparse.Namespace) -> int:
    """Run the clients and print the results; return the exit code."""
    least, most = (int(copies) for copies in args.copies.split("-"))
    habits = Workload(seconds=args.seconds, copies=(least, most), junk=args.junk)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        disks = stack.enter_context(SmallDisks(Path(folder), args.full_disks)) if args.full_disks else None
        processes = stack.enter_context(network(folder, **_network(args)))
        nodes, clocks = _nodes(args, processes, disks)
        faults = _faults(args, disks)
        rivals = Rivals(
            nodes,
            habits,
            args.keys,
            args.clients,
            restarts=args.restarts,
            seed=args.seed,
            faults=faults,
            clocks=clocks,
        )
        began = time.monotonic()
        rivals.work()
        print(
            f"{args.nodes} nodes, {args.clients} clients, {time.monotonic() - began:.0f} s, seed {args.seed}"
        )
        for fault in faults:
            print(f"{type(fault).__name__}: {fault.happened}")
        refused = sum((node.folder / "stdout").read_text().count(REFUSED) for node in nodes)
        print(f"{refused} times a node could not write")
        print(rivals.report())
    return 1 if rivals.history.violations else 0


def main() -> int:
    """Do it, or say what the host lacks; return the exit code."""
    try:
        return _run(_arguments())
    except SkipTest as missing:
        print(f"history.py: {missing}", file=sys.stderr)
        return LACKING


if __name__ == "__main__":
    sys.exit(main())
