"""Question: what are many clients told that write and read the same keys, while nodes are killed and begun
again?

Real processes on this machine, through their APIs. Every get is judged; exit code 1 when one broke a promise.

    python scripts/bench/history.py [--nodes 24] [--seconds 120] [--keys 36] [--clients 12] [--restarts 10]
    [--seed 1]
                                    [--copies 1-20] [--junk 0.1]
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from dht14.sim.clients import Workload
from tests.process.nodes import network
from tests.process.rivals import Rivals

JOIN_TIMEOUT = 120.0
"""Seconds within which many nodes on a busy machine join."""


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
    args = parser.parse_args()
    least, most = (int(copies) for copies in args.copies.split("-"))
    habits = Workload(seconds=args.seconds, copies=(least, most), junk=args.junk)
    with tempfile.TemporaryDirectory() as folder, network(folder) as processes:
        rivals = Rivals(
            processes.cluster(args.nodes, JOIN_TIMEOUT),
            habits,
            args.keys,
            args.clients,
            restarts=args.restarts,
            seed=args.seed,
        )
        began = time.monotonic()
        rivals.work()
        print(
            f"{args.nodes} nodes, {args.clients} clients, {time.monotonic() - began:.0f} s, seed {args.seed}"
        )
        print(rivals.report())
    return 1 if rivals.history.violations else 0


if __name__ == "__main__":
    sys.exit(main())
