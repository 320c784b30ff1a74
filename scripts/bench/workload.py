"""The work that every network under test does, and how it is measured.

A network offers coroutines `put(node, key, value) -> bool`, `get(node, key) -> bytes | None` and
`kill(nodes)`, by node number. The workload is the same to the byte for all: keys, values and nodes come
from one seed.
"""

import json
import random
import resource
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

NODES = 50
VALUES = 400
VALUE_BYTES = 100
IN_FLIGHT = 16
KILLED = 0.3
SEED = 14


class Network(Protocol):
    """Fifty nodes in this process."""

    async def join(self) -> None: ...
    async def put(self, node: int, key: bytes, value: bytes) -> bool: ...
    async def get(self, node: int, key: bytes) -> bytes | None: ...
    async def kill(self, nodes: Sequence[int]) -> None: ...


Gather = Callable[[list[Any]], Awaitable[Any]]
"""Runs coroutines side by side and waits for all: the framework's own."""


async def print_figures(network: Network, gather: Gather) -> None:
    """Let the network join, give it the work, and print all figures as JSON.

    They are milliseconds, operations a second, milliseconds of CPU, resident KiB, shares of 1.
    """
    memory, cpu, begun = _resident_bytes(), _cpu_seconds(), time.perf_counter()
    await network.join()
    joined = {
        "join s": time.perf_counter() - begun,
        "join CPU ms each": (_cpu_seconds() - cpu) / NODES * 1e3,
        "KiB each": (_resident_bytes() - memory) / NODES / 1024,
    }
    print(json.dumps(joined | await _measure(network, gather)), flush=True)


async def _measure(network: Network, gather: Gather) -> dict[str, float]:
    rng = random.Random(SEED)
    values = [(rng.randbytes(20), rng.randbytes(VALUE_BYTES)) for _ in range(2 * VALUES)]
    everybody = range(NODES)
    figures: dict[str, float] = {}

    async def put(key: bytes, value: bytes) -> bool:
        return await network.put(rng.choice(everybody), key, value)

    async def get(key: bytes, value: bytes) -> bool:
        return await network.get(rng.choice(everybody), key) == value

    await _one_by_one(figures, "put", put, values[:VALUES])
    await _side_by_side(figures, "puts", put, values[VALUES:], gather)
    await _one_by_one(figures, "get", get, values)
    await _side_by_side(figures, "gets", get, values * 2, gather)
    dead = rng.sample(everybody, int(NODES * KILLED))
    await network.kill(dead)
    everybody = [node for node in everybody if node not in dead]  # type: ignore[assignment]
    await _one_by_one(figures, "get after kill", get, values[:60])
    return figures


Operation = Callable[[bytes, bytes], Awaitable[bool]]


async def _one_by_one(
    figures: dict[str, float], name: str, operation: Operation, values: list[tuple[bytes, bytes]]
) -> None:
    took, right = [], 0
    for key, value in values:
        begun = time.perf_counter()
        right += await operation(key, value)
        took.append((time.perf_counter() - begun) * 1e3)
    took.sort()
    figures[f"{name} p50 ms"] = took[len(took) // 2]
    figures[f"{name} p99 ms"] = took[len(took) * 99 // 100]
    figures[f"{name} right"] = right / len(values)


async def _side_by_side(
    figures: dict[str, float],
    name: str,
    operation: Operation,
    values: list[tuple[bytes, bytes]],
    gather: Gather,
) -> None:
    left = iter(values)
    right: list[bool] = []

    async def worker() -> None:
        for key, value in left:
            right.append(await operation(key, value))

    begun, cpu = time.perf_counter(), _cpu_seconds()
    await gather([worker() for _ in range(IN_FLIGHT)])
    figures[f"{name} per s"] = len(values) / (time.perf_counter() - begun)
    figures[f"{name} CPU ms each"] = (_cpu_seconds() - cpu) / len(values) * 1e3
    figures[f"{name} right"] = sum(right) / len(values)


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _resident_bytes() -> int:
    """Linux only."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()
