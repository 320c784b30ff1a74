"""Plays the named scenarios of `dht14 sim`, one after another, and tells which kept their promises.

`python scripts/scenarios.py [--seeds N] [--output FILE] [SCENARIO ...]`: all of them, with one seed, unless
said otherwise; `--nodes` and `--values` give them another size. The output is a JSON object a line, as `dht14
sim --json` prints it. Exit code 1 when a promise was missed.
"""

import argparse
import json
import subprocess
import sys
from typing import Any

from dht14.sim.scenarios import SCENARIOS

DHT14 = "import sys; from dht14.cmd.main import main; sys.exit(main())"
"""The command, of this interpreter: each scenario has a process of its own, whose memory ends with it."""


def play(name: str, seed: int, size: list[str]) -> dict[str, Any]:
    """What came of it: an object of `dht14 sim`, or of what is known of a run that broke off."""
    command = [sys.executable, "-c", DHT14, "sim", name, "--seed", str(seed), *size, "--json"]
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False).stdout
    if output:
        played: dict[str, Any] = json.loads(output)
        return played
    return {"scenario": name, "seed": seed, "promises": [], "good": False, "wall_seconds": 0}


def row(played: dict[str, Any]) -> str:
    """One line for people."""
    figures = (f"{promise['name']} {promise['figure']:g}" for promise in played["promises"])
    missed = [promise["name"] for promise in played["promises"] if not promise["kept"]]
    verdict = "kept  " if played["good"] else "MISSED"
    head = f"{verdict} {played['scenario']:<15} seed {played['seed']:<4} {played['wall_seconds']:>7.1f} s  "
    return head + "; ".join(figures) + (f"  <- {', '.join(missed)}" if missed else "")


def main() -> int:
    """Play, and print a line for each as it ends; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", default=[])
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="seeds 1 to N")
    parser.add_argument("--output", metavar="FILE", type=argparse.FileType("w"), help="JSON, a line for each")
    for option in ("--nodes", "--values"):
        parser.add_argument(option, type=int, metavar="N", help="rather than as many as each scenario has")
    args = parser.parse_args()
    given = {"--nodes": args.nodes, "--values": args.values}
    size = [word for option, count in given.items() if count for word in (option, str(count))]
    unknown = set(args.scenarios) - set(SCENARIOS)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(SCENARIOS)}")
    good = True
    for name in args.scenarios or SCENARIOS:
        for seed in range(1, args.seeds + 1):
            played = play(name, seed, size)
            good = good and played["good"]
            print(row(played), flush=True)
            if args.output:
                print(json.dumps(played), file=args.output, flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
