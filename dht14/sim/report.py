"""One experiment on a virtual network, from the first join to the last get, and its figures."""

import random
from collections.abc import Callable, Sequence
from typing import Any

from attrs import asdict, define, field, frozen

from dht14.kademlia.keyspace import random_id
from dht14.sim.network import Conditions, Traffic
from dht14.sim.world import Outcome, VirtualNode, World

PROMISED_RATE = 0.999
"""The part of all gets for acknowledged values that must bring the right bytes."""

SETTLE = 5.0
"""Virtual seconds between two phases: every call of the last one has ended by then."""

Progress = Callable[[str, int, int], None]
"""Told the name of a phase, and how much of how much of it is done."""


@frozen
class Plan:
    """What shall be done. `kill` is the part of all nodes that dies silently after the puts."""

    nodes: int = 200
    bootstrap_nodes: int = 2
    seed: int = 1
    conditions: Conditions = Conditions()
    values: int = 500
    value_bytes: int = 1_000
    gets: int = 1_000
    kill: float = 0.0


@frozen
class Spent:
    """What operations of one kind took: virtual milliseconds, and datagrams from and to their node."""

    count: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    datagrams: float

    @classmethod
    def of(cls, outcomes: "Sequence[Outcome[Any]]") -> "Spent":
        taken = sorted(outcome.seconds * 1000 for outcome in outcomes) or [0.0]
        datagrams = sum(outcome.datagrams for outcome in outcomes) / max(1, len(outcomes))
        return cls(len(outcomes), percentile(taken, 50), percentile(taken, 99), taken[-1], datagrams)


def percentile(ordered: Sequence[float], percent: int) -> float:
    """The smallest of the sorted numbers that at least so many percent of them do not exceed."""
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]
