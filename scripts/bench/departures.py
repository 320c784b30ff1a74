"""Question: what becomes of values, and of the time that gets take, when nodes go?

Real processes on this machine, through their APIs.

    python scripts/bench/departures.py sigkill [NODES [VALUES]]    30 % die at once, r = 8
    python scripts/bench/departures.py sigstop [NODES [VALUES]]    30 % fall silent at once, r = 8
    python scripts/bench/departures.py sigterm [NODES [VALUES]]    all but one end, one after another, r = 1
"""

import random
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from tests.process.nodes import VoidPhone, network

JOIN_TIMEOUT = 120.0
"""Seconds within which many nodes on a busy machine join."""

GETS_FOR = 60.0
"""Seconds of gets after the departure."""


def put(clients: Sequence[VoidPhone], count: int, replication: int, rng: random.Random) -> dict[bytes, bytes]:
    """Acknowledged values."""
    values: dict[bytes, bytes] = {}
    for _ in range(count):
        key, value = rng.randbytes(32), rng.randbytes(100)
        if rng.choice(clients).put(key, value, ttl=3600, replication=replication):
            values[key] = value
    print(f"{len(values)} of {count} puts acknowledged")
    return values


def read(
    clients: Sequence[VoidPhone], values: Mapping[bytes, bytes], seconds: float, rng: random.Random
) -> str:
    """Get random values at random nodes for a time; return the results."""
    keys = list(values)
    took: list[float] = []
    right = 0
    end = time.monotonic() + seconds
    while (began := time.monotonic()) < end:
        key = rng.choice(keys)
        right += rng.choice(clients).get(key) == values[key]
        took.append(time.monotonic() - began)
    p50, p99 = (1000 * statistics.quantiles(took, n=100)[part - 1] for part in (50, 99))
    return f"{right} of {len(took)} gets right ({right / len(took):.3%}), p50 {p50:.1f} ms, p99 {p99:.1f} ms"


def gone_at_once(number: int, size: int, count: int) -> None:
    """30 % of the nodes get a signal, all at the same moment."""
    rng = random.Random(14)
    with tempfile.TemporaryDirectory() as folder, network(folder) as processes:
        nodes = processes.cluster(size, JOIN_TIMEOUT)
        going, staying = nodes[: size * 3 // 10], nodes[size * 3 // 10 :]
        clients = [node.client() for node in staying]
        values = put(clients, count, 8, rng)
        print("before:", read(clients, values, GETS_FOR / 4, rng))
        for node in going:
            node.process.send_signal(number)
        print(f"{len(going)} of {size} nodes gone; after:", read(clients, values, GETS_FOR, rng))
        for client in clients:
            client.close()


def one_after_another(size: int, count: int) -> None:
    """All nodes but one are stopped, each after the end of the one before."""
    rng = random.Random(14)
    with tempfile.TemporaryDirectory() as folder, network(folder) as processes:
        nodes = processes.cluster(size, JOIN_TIMEOUT)
        clients = [node.client() for node in nodes]
        values = put(clients, count, 1, rng)
        for client in clients:
            client.close()
        took = []
        for node in nodes[:-1]:
            began = time.monotonic()
            assert node.stop() == 0
            took.append(time.monotonic() - began)
        with nodes[-1].client() as client:
            right = sum(client.get(key) == value for key, value in values.items())
        print(f"stops took {min(took):.1f} to {max(took):.1f} s; {right} of {len(values)} values right")


if __name__ == "__main__":
    what = sys.argv[1]
    numbers = [int(word) for word in sys.argv[2:]]
    if what == "sigterm":
        one_after_another(*(numbers + [10, 500][len(numbers) :]))
    else:
        gone_at_once(
            {"sigkill": signal.SIGKILL, "sigstop": signal.SIGSTOP}[what],
            *(numbers + [20, 1000][len(numbers) :]),
        )
