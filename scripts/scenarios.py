"""Run the named scenarios of `dht14 sim`, and print which of them kept their promises.

`python scripts/scenarios.py [--seeds N] [--jobs N] [--nodes N] [--values N] [--output FILE] [SCENARIO ...]`
runs all scenarios with one seed by default, as many side by side as there are cores. FILE gets one JSON
object a line, as `dht14 sim --json` prints it. Exit code 1 when a promise was missed.
"""

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any

from dht14.sim.scenarios import ALIASES, SCENARIOS

DHT14 = "import sys; from dht14.cmd.main import main; sys.exit(main())"
"""The command, run by this interpreter: each scenario has its own process, to free its memory."""


def run(name: str, seed: int, size: list[str]) -> dict[str, Any]:
    """Return the object that `dht14 sim` prints, or one with what is known of a run that failed."""
    command = [sys.executable, "-c", DHT14, "sim", name, "--seed", str(seed), *size, "--json"]
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False).stdout
    if output:
        result: dict[str, Any] = json.loads(output)
        return result
    return {"scenario": name, "seed": seed, "promises": [], "good": False, "wall_seconds": 0}


def row(result: dict[str, Any]) -> str:
    """Return one line for people."""
    figures = (f"{promise['name']} {promise['figure']:g}" for promise in result["promises"])
    missed = [promise["name"] for promise in result["promises"] if not promise["kept"]]
    verdict = "kept  " if result["good"] else "MISSED"
    head = f"{verdict} {result['scenario']:<15} seed {result['seed']:<4} {result['wall_seconds']:>7.1f} s  "
    return head + "; ".join(figures) + (f"  <- {', '.join(missed)}" if missed else "")


def main() -> int:
    """Run the scenarios and print a line for each, in their order; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", default=[])
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="seeds 1 to N")
    cores = len(os.sched_getaffinity(0))
    parser.add_argument(
        "--jobs", type=int, default=cores, metavar="N", help="runs side by side (default: one for each core)"
    )
    parser.add_argument("--output", metavar="FILE", type=argparse.FileType("w"), help="JSON, a line for each")
    for option in ("--nodes", "--values"):
        parser.add_argument(option, type=int, metavar="N", help="instead of the number of each scenario")
    args = parser.parse_args()
    given = {"--nodes": args.nodes, "--values": args.values}
    size = [word for option, count in given.items() if count for word in (option, str(count))]
    unknown = set(args.scenarios) - set(SCENARIOS) - set(ALIASES)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(SCENARIOS)}")
    good = True
    plan = list(product(args.scenarios or SCENARIOS, range(1, args.seeds + 1)))
    # A thread only waits for its process: each run has one of its own, and with it a core.
    with ThreadPoolExecutor(max(1, args.jobs)) as pool:
        for result in pool.map(lambda one: run(one[0], one[1], size), plan):
            good = good and result["good"]
            print(row(result), flush=True)
            if args.output:
                print(json.dumps(result), file=args.output, flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
