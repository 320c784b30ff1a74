"""Question: how fast is a file stored and fetched through a network, and how much memory does that take?

A network of real nodes on this host. `dht14 put` stores a random file through the first node. `dht14 get`
fetches it through another, is killed in the middle (SIGKILL), and fetches the rest. MB/s of each; the most
memory of each command, and of the nodes before and after. What the nodes must hold is the file times the
copies: with the default limits one writer gets about 469 MB of each node, so larger files need more nodes, or
--storage-limit.

python scripts/bench/files.py [--megabytes 100] [--nodes 10] [--storage-limit BYTES]
"""

import argparse
import json
import os
import platform
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from dht14.testing import testnet

DHT14 = [sys.executable, "-m", "dht14"]


class Command:
    """One `dht14` command, and what it took."""

    def __init__(self, *words: str) -> None:
        self.began = time.monotonic()
        self._process = subprocess.Popen([*DHT14, *words, "--json"], stdout=subprocess.PIPE)

    def end(self, by: int | None = None) -> dict[str, Any]:
        """Wait for its end, or kill it; return what it has printed, with its seconds and its memory."""
        if by is not None:
            self._process.send_signal(by)
        assert self._process.stdout is not None
        printed = self._process.stdout.read()
        _, code, usage = os.wait4(self._process.pid, 0)
        self._process.returncode = os.waitstatus_to_exitcode(code)
        result: dict[str, Any] = json.loads(printed) if printed else {}
        return result | {
            "code": self._process.returncode,
            "wall": time.monotonic() - self.began,
            "cpu": usage.ru_utime + usage.ru_stime,
            "memory_mb": usage.ru_maxrss / 1024,
        }


def make_file(path: Path, megabytes: int) -> None:
    """Write random bytes."""
    with path.open("wb") as file:
        for _ in range(megabytes):
            file.write(os.urandom(1_000_000))


def same(one: Path, other: Path) -> bool:
    """Whether two files have the same bytes."""
    return subprocess.run(["cmp", "-s", one, other], check=False).returncode == 0


def node_numbers(pids: list[int]) -> tuple[float, float, float]:
    """Return the memory (MB) of the largest node and of all, and the processor seconds of all. Pages of the
    databases, which the system keeps while it has room, are not counted."""
    memory, cpu = [], 0.0
    ticks = os.sysconf("SC_CLK_TCK")
    for pid in pids:
        status = Path(f"/proc/{pid}/status").read_text()
        memory.append(int(status.split("RssAnon:")[1].split()[0]) / 1024)
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        cpu += (int(fields[11]) + int(fields[12])) / ticks
    return max(memory), sum(memory), cpu


def show(what: str, megabytes: float, run: dict[str, Any], before: float, pids: list[int]) -> None:
    """Print one line about a command."""
    largest, _, cpu = node_numbers(pids)
    print(
        f"{what:<10} {megabytes:7.1f} MB  {run['wall']:7.1f} s  {megabytes / run['wall']:6.1f} MB/s  "
        f"client {run['memory_mb']:4.0f} MB, {run['cpu']:5.1f} s cpu   largest node {largest:4.0f} MB, "
        f"nodes {cpu - before:6.1f} s cpu   exit {run['code']}",
        flush=True,
    )


def measure(folder: Path, megabytes: int, nodes: int, options: dict[str, Any]) -> int:
    """Store and fetch one file; return the exit code."""
    source, target = folder / "source", folder / "target"
    make_file(source, megabytes)
    with testnet(nodes, **options) as cluster:
        pids = [pid for pid in cluster.pids if pid is not None]
        print(f"{nodes} nodes, largest {node_numbers(pids)[0]:.0f} MB", flush=True)
        cpu = node_numbers(pids)[2]
        put = Command("put", "--file", str(source), "--api-address", cluster.addresses[0])
        stored = put.end()
        show("put", stored.get("bytes", 0) / 1e6, stored, cpu, pids)
        if stored["code"]:
            print(stored)
            return 1
        other = cluster.addresses[nodes // 2]
        words = ("get", stored["address"], "--output", str(target), "--api-address", other)
        cpu = node_numbers(pids)[2]
        first, part = Command(*words), target.with_name("target.part")
        while (part.stat().st_size if part.exists() else 0) < megabytes * 500_000:
            time.sleep(0.005)
        killed = first.end(signal.SIGKILL)
        left = part.stat().st_size / 1e6
        show("get, half", left, killed, cpu, pids)
        cpu = node_numbers(pids)[2]
        rest = Command(*words).end()
        show("get, rest", megabytes - rest.get("bytes_found", 0) / 1e6, rest, cpu, pids)
        cpu = node_numbers(pids)[2]
        again = Command("put", "--file", str(source), "--api-address", cluster.addresses[1]).end()
        show("put again", megabytes, again, cpu, pids)
        intact = same(source, target)
        print("the same bytes" if intact else "OTHER BYTES")
        return 0 if intact and not rest["code"] else 1


def main() -> int:
    """Measure and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--nodes", type=int, default=10)
    parser.add_argument("--storage-limit", type=int)
    args = parser.parse_args()
    options = {} if args.storage_limit is None else {"storage_limit": args.storage_limit}
    load = os.getloadavg()[0]
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {load:.1f}")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with tempfile.TemporaryDirectory() as folder:
        return measure(Path(folder), args.megabytes, args.nodes, options)


if __name__ == "__main__":
    sys.exit(main())
