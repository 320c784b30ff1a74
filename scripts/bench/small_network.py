"""Question: what does a network of 50 nodes cost, beside the PyPI package `kademlia`?

Both run in one process on one core, in turns, several times; medians are printed, and the ratio of them.
Absolute figures move with the machine: quote the ratios.

    python scripts/bench/small_network.py [RUNS]
"""

import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
NETWORKS = ("dht14", "kademlia")


def one_run(network: str) -> dict[str, float]:
    """Return the figures of one run in its own process, on one core."""
    worker = subprocess.run(
        [sys.executable, str(HERE / f"network_{network}.py")],
        check=True,
        stdout=subprocess.PIPE,
        preexec_fn=lambda: os.sched_setaffinity(0, {max(os.sched_getaffinity(0))}),
    )
    figures: dict[str, float] = json.loads(worker.stdout)
    return figures


def main(runs: int) -> None:
    """Run them in turns and print the table."""
    results: dict[str, list[dict[str, float]]] = {network: [] for network in NETWORKS}
    for _ in range(runs):
        for network in NETWORKS:
            results[network].append(one_run(network))
    print(f"{platform.python_implementation()} {platform.python_version()}, {runs} runs, medians")
    print(f"{'':24}{'dht14':>12}{'kademlia':>12}{'ratio':>9}")
    for figure in results["dht14"][0]:
        ours, theirs = (statistics.median(run[figure] for run in results[network]) for network in NETWORKS)
        ratio = f"{ours / theirs:9.3f}" if theirs else ""
        print(f"{figure:24}{ours:12.3f}{theirs:12.3f}{ratio}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
