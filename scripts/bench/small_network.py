"""Question: what does a network of 50 nodes cost, beside those of other packages from PyPI?

Each network runs in one process on one core, in turns, several times; medians are printed, and the ratios of
DHT-14 to each other one. Absolute figures move with the machine: quote the ratios. `libtorrent` and OpenDHT
are C++; `kademlia` and OpenDHT neither encrypt nor prove what they send, `libtorrent` proves its items by
their hashes. That compares with the column `content`: DHT-14 again, where the key of each value is its
SHA-256 and the gets know it.

    python scripts/bench/small_network.py [--runs N] [NETWORK ...]
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
PEERS = ("kademlia", "libtorrent", "opendht")
OURS = {"dht14": (), "content": ("--content",)}
"""The same network twice: open keys, and known content."""


def one_run(network: str) -> dict[str, float]:
    """Return the figures of one run in its own process, on one core."""
    script = HERE / f"network_{'dht14' if network in OURS else network}.py"
    worker = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", str(script), *OURS.get(network, ())],
        check=True,
        stdout=subprocess.PIPE,
        preexec_fn=lambda: os.sched_setaffinity(0, {max(os.sched_getaffinity(0))}),
    )
    figures: dict[str, float] = json.loads(worker.stdout)
    return figures


def main() -> None:
    """Run them in turns and print the table."""
    parser = argparse.ArgumentParser(
        description="Measure a network of 50 nodes beside those of other packages."
    )
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=f"of {', '.join(PEERS)} (all)")
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="of each network (%(default)s)")
    args = parser.parse_args()
    if unknown := set(args.networks) - set(PEERS):
        parser.error(f"no such network: {', '.join(sorted(unknown))}")
    peers = args.networks or PEERS
    results: dict[str, list[dict[str, float]]] = {network: [] for network in (*OURS, *peers)}
    for _ in range(args.runs):
        for network, runs in results.items():
            runs.append(one_run(network))
    medians = {
        network: {figure: statistics.median(run[figure] for run in runs) for figure in runs[0]}
        for network, runs in results.items()
    }
    print(f"{platform.python_implementation()} {platform.python_version()}, {args.runs} runs, medians")
    print(f"{'':24}" + "".join(f"{ours:>12}" for ours in OURS) + "".join(map(_heading, peers)))
    for figure in medians["dht14"]:
        ours = [medians[network][figure] for network in OURS]
        cells = "".join(_beside(ours, medians[peer][figure]) for peer in peers)
        print(f"{figure:24}" + "".join(f"{own:12.3f}" for own in ours) + cells)


def _heading(peer: str) -> str:
    return f"{peer:>12}{'ratio':>9}{'content':>9}"


def _beside(ours: list[float], theirs: float) -> str:
    """Return the figure of a peer, and the ratio of each of ours to it."""
    ratios = (f"{own / theirs:9.3f}" if theirs else f"{'':9}" for own in ours)
    return f"{theirs:12.3f}" + "".join(ratios)


if __name__ == "__main__":
    main()
