"""Question: how soon do 1,000 watchers of 100 keys hear of a change, and what memory do they take?

Ten nodes on 127.0.0.1. Each watcher has a connection of its own, to one of the nodes; each key has ten of
them, one at each node. One key after the other is changed. For every watcher it is measured how long after
the beginning of the put, and after its acknowledgement, the client has the new value. Printed are the medians
and the 99th percentiles, the changes that a watcher missed within ten seconds, and the memory of the nodes
before and with the watchers. The clients are one process: a part of its time is in the figures.

    python scripts/bench/watch.py [--nodes 10] [--watchers 1000] [--keys 100] [--changes 300] [--gap 0.1]
"""

import argparse
import asyncio
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from attrs import define, field

sys.path.insert(0, str(Path(__file__).parents[2]))

from dht14.aio import Client, DhtError
from dht14.testing import testnet

AT_ONCE = 20
"""Watches that begin at the same time."""

TIMEOUT = 10.0
"""Seconds until a change that was not told counts as missed."""


@define
class Changes:
    """What the watchers have seen."""

    seen: dict[bytes, list[float]] = field(factory=dict)
    """By value: when each watcher had it."""
    present: int = 0
    """Watchers that have their first state."""

    beginning: asyncio.Semaphore = field(factory=lambda: asyncio.Semaphore(AT_ONCE))

    async def watch(self, client: Client, key: str) -> None:
        """Note when each state comes, until cancelled."""
        values = client.watch(key)
        async with self.beginning:
            await anext(values)
            self.present += 1
        async for value in values:
            if value is not None:
                self.seen.setdefault(value.value, []).append(time.monotonic())


def memory(pids: list[int]) -> list[int]:
    """The resident memory of processes, in KiB."""
    sizes = []
    for pid in pids:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                sizes.append(int(line.split()[1]))
    return sizes


async def measure(args: argparse.Namespace, cluster: Any) -> None:
    """Begin the watches, change keys, and print what was measured."""
    pids = [pid for pid in cluster.pids if pid is not None]
    before = memory(pids)
    changes = Changes()
    clients = [Client(cluster.addresses[number % args.nodes]) for number in range(args.watchers)]
    began = time.monotonic()
    watches = [
        asyncio.ensure_future(changes.watch(client, f"key {number // args.nodes % args.keys}"))
        for number, client in enumerate(clients)
    ]
    while changes.present < args.watchers:
        await asyncio.sleep(0.05)
        for ended in (watch for watch in watches if watch.done()):
            ended.result()
    print(f"{args.watchers} watches have begun in {time.monotonic() - began:.1f} s", flush=True)
    await asyncio.sleep(args.settle)
    since_begin: list[float] = []
    since_put: list[float] = []
    expected = args.watchers // args.keys
    missed = 0
    puts: list[float] = []
    for number in range(args.changes):
        value = b"change %d" % number
        put_began = time.monotonic()
        try:
            await cluster.clients[number % args.nodes].put(value, key=f"key {number % args.keys}", ttl=3600)
        except DhtError as error:
            print(f"change {number} was not stored: {error}")
            continue
        put_ended = time.monotonic()
        puts.append(put_ended - put_began)
        while len(changes.seen.get(value, ())) < expected and time.monotonic() < put_ended + TIMEOUT:
            await asyncio.sleep(0.002)
        times = changes.seen.get(value, [])
        missed += expected - len(times)
        since_begin += [at - put_began for at in times]
        since_put += [max(at - put_ended, 0.0) for at in times]
        await asyncio.sleep(args.gap)
    with_watches = memory(pids)
    print(f"{args.changes} changes, {len(since_put)} times told, {missed} missed")
    report("put", puts)
    report("told after the beginning of the put", since_begin)
    report("told after its acknowledgement", since_put)
    print(
        f"memory of a node: {statistics.median(before) / 1024:.1f} MiB before, "
        f"{statistics.median(with_watches) / 1024:.1f} MiB with watchers, "
        f"{max(with_watches) / 1024:.1f} MiB the largest"
    )
    for watch in watches:
        watch.cancel()
    await asyncio.gather(*watches, return_exceptions=True)
    await asyncio.gather(*(client.close() for client in clients))


def report(name: str, seconds: list[float]) -> None:
    """Print median, 99th percentile and maximum in milliseconds."""
    ordered = sorted(seconds)
    at = [ordered[int(part * (len(ordered) - 1))] * 1000 for part in (0.5, 0.99, 1.0)]
    print(f"{name}: median {at[0]:.1f} ms, p99 {at[1]:.1f} ms, longest {at[2]:.1f} ms")


async def main(args: argparse.Namespace) -> None:
    """Run the network around the measurement."""
    async with testnet(args.nodes) as cluster:
        await measure(args, cluster)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--nodes", type=int, default=10)
    parser.add_argument("--watchers", type=int, default=1_000)
    parser.add_argument("--keys", type=int, default=100)
    parser.add_argument("--changes", type=int, default=300)
    parser.add_argument("--gap", type=float, default=0.1, help="seconds between two changes")
    parser.add_argument("--settle", type=float, default=5.0, help="seconds from the watches to the changes")
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    asyncio.run(main(parser.parse_args()))
