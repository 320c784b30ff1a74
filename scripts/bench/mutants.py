"""Question: does the checker of histories find faults in real nodes, and how soon?

    python scripts/bench/mutants.py [--nodes 10] [--seconds 60] [--seed 1] [MUTANT ...]

Each network is one of `tests.process.mutants`: all its nodes have the same fault. Clients use it, and a few
nodes are killed and begun again, until a get breaks a promise. Exit code 1 when none did within the time.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from dht14.sim.clients import Workload
from tests.process.mutants import MUTANTS, program
from tests.process.nodes import network
from tests.process.rivals import Rivals

JOIN_TIMEOUT = 120.0


def seconds_to_find(name: str, args: argparse.Namespace) -> float | None:
    """Return the seconds until a get broke a promise, and print it; None if none did."""
    habits = Workload(seconds=args.seconds, copies=(8, 8), junk=0.0, deletions=0.3)
    with tempfile.TemporaryDirectory() as folder, network(folder) as processes:
        nodes = processes.cluster(args.nodes, JOIN_TIMEOUT, program=program(name))
        rivals = Rivals(nodes, habits, 9, 4, restarts=10.0, seed=args.seed, until_wrong=True)
        rivals.work()
        found = rivals.history.violations
        if not found:
            print(f"{name}: NOT found\n{rivals.report()}", flush=True)
            return None
        seconds = found[0].responded_at - rivals.began
        gets = sum(rivals.history.counts.values())
        print(
            f"{name}: found after {seconds:.1f} s, at get {gets}\n  {found[0].describe(rivals.began)}",
            flush=True,
        )
        return seconds


def main() -> int:
    """Run each mutant; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=60.0, help="for each mutant, at most")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("mutant", nargs="*", choices=[*MUTANTS, []], help="all, if none is named")
    args = parser.parse_args()
    began = time.monotonic()
    names = args.mutant or list(MUTANTS)
    found = [seconds_to_find(name, args) for name in names]
    caught = len(names) - found.count(None)
    print(f"{caught} of {len(names)} mutants found, seed {args.seed}, {time.monotonic() - began:.0f} s")
    return 1 if None in found else 0


if __name__ == "__main__":
    sys.exit(main())
