"""Question: what are many clients told that write and read the same keys, while nodes are killed and begun
again?

Real processes on this machine, through their APIs. Every get is judged; exit code 1 when one broke a promise.

    python scripts/bench/history.py [--nodes 24] [--seconds 120] [--keys 36] [--clients 12] [--restarts 10]
    [--seed 1]
                                    [--copies 1-20] [--junk 0.1] [--stops 0] [--partition 0] [--full-disks 0]

`--stops` suspends nodes (SIGSTOP). `--partition` divides the network for some seconds (at most 14 nodes);
both sides must agree a minute later. `--full-disks` gives some nodes disks of 3 MiB, which fill up again and
again. The last two need root.
"""

import argparse
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from dht14.sim.clients import Workload
from tests.process.faults import HOSTS, FullDisks, Partition, SmallDisks, Stops, prepare_partition
from tests.process.nodes import network
from tests.process.rivals import Rivals
from tests.process.space import Space

MAX_DIVIDED = 14
"""Nodes of a network that is divided, beside two bootstrap nodes."""
REFUSED = "The database cannot be written"
"""In the log of a node."""

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


def _faults(args: argparse.Namespace, disks: SmallDisks | None) -> list[Stops | Partition | FullDisks]:
    faults: list[Stops | Partition | FullDisks] = []
    if args.stops:
        faults.append(Stops(args.stops))
    if args.partition:
        faults.append(Partition(args.seconds / 10, args.partition))
    if disks is not None:
        faults.append(FullDisks(disks.folders))
    return faults


def main() -> int:
    """Run the clients and print the results; return the exit code."""
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
    parser.add_argument("--partition", type=float, default=0.0, help="seconds that the network is divided")
    parser.add_argument("--full-disks", type=int, default=0, help="nodes whose disk fills up")
    args = parser.parse_args()
    least, most = (int(copies) for copies in args.copies.split("-"))
    habits = Workload(seconds=args.seconds, copies=(least, most), junk=args.junk)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        disks = stack.enter_context(SmallDisks(Path(folder), args.full_disks)) if args.full_disks else None
        processes = stack.enter_context(network(folder, **_network(args)))
        nodes = processes.cluster(
            args.nodes, JOIN_TIMEOUT, [str(disk / "node") for disk in disks.folders] if disks else ()
        )
        faults = _faults(args, disks)
        rivals = Rivals(
            nodes, habits, args.keys, args.clients, restarts=args.restarts, seed=args.seed, faults=faults
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


if __name__ == "__main__":
    sys.exit(main())
