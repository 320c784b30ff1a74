"""Statistics of many operations."""

from collections.abc import Sequence
from typing import Any

from attrs import frozen

from dht14.sim.host import Operation


@frozen
class PhaseStatistics:
    """Operations of one kind. Times are virtual; datagrams are those from and to the nodes of the clients."""

    count: int
    good: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    datagrams: float
    """Per operation."""

    @classmethod
    def of(cls, outcomes: Sequence[Operation[Any]], good: int) -> "PhaseStatistics":
        """Return the statistics of these operations, of which `good` succeeded."""
        taken = sorted(round(outcome.seconds * 1000, 1) for outcome in outcomes) or [0.0]
        datagrams = round(sum(outcome.datagrams for outcome in outcomes) / max(1, len(outcomes)), 1)
        return cls(len(outcomes), good, percentile(taken, 50), percentile(taken, 99), taken[-1], datagrams)

    @property
    def rate(self) -> float:
        """The share of good operations; 1 if there were none."""
        return self.good / self.count if self.count else 1.0


def percentile(ordered: Sequence[float], percent: int) -> float:
    """Return the smallest of the sorted numbers that at least `percent` % of them do not exceed (nearest
    rank)."""
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]
