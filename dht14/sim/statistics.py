"""Statistics of many operations."""

from collections.abc import Sequence
from typing import Any

from attrs import frozen

from dht14.sim.host import Operation


@frozen
class PhaseStatistics:
    """Operations of one kind. Times are virtual; datagrams and bytes are those from and to the nodes of the
    clients."""

    count: int
    good: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    datagrams: float
    """Per operation."""
    bytes: float
    """Per operation, without the headers of UDP and IP."""

    @classmethod
    def of(cls, outcomes: Sequence[Operation[Any]], good: int) -> "PhaseStatistics":
        """Return the statistics of these operations, of which `good` succeeded."""
        taken = sorted(round(outcome.seconds * 1000, 1) for outcome in outcomes) or [0.0]
        count = len(outcomes)
        datagrams = round(sum(outcome.datagrams for outcome in outcomes) / max(1, count), 1)
        size = round(sum(outcome.bytes for outcome in outcomes) / max(1, count), 1)
        p50, p99 = percentile(taken, 50), percentile(taken, 99)
        return cls(count, good, p50, p99, taken[-1], datagrams, size)

    @property
    def rate(self) -> float:
        """The share of good operations; 1 if there were none."""
        return self.good / self.count if self.count else 1.0


def percentile(ordered: Sequence[float], percent: int) -> float:
    """Return the smallest of the sorted numbers that at least `percent` % of them do not exceed (nearest
    rank)."""
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]
