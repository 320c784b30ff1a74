"""Figures of many operations."""

from collections.abc import Sequence
from typing import Any

from attrs import frozen

from dht14.sim.host import Operation


@frozen
class PhaseStatistics:
    """Operations of one kind. Times are virtual, datagrams are those from and to the nodes that operated."""

    count: int
    good: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    datagrams: float
    """Per operation."""

    @classmethod
    def of(cls, outcomes: Sequence[Operation[Any]], good: int) -> "PhaseStatistics":
        """The figures of these operations, so many of which went well."""
        taken = sorted(round(outcome.seconds * 1000, 1) for outcome in outcomes) or [0.0]
        datagrams = round(sum(outcome.datagrams for outcome in outcomes) / max(1, len(outcomes)), 1)
        return cls(len(outcomes), good, percentile(taken, 50), percentile(taken, 99), taken[-1], datagrams)

    @property
    def rate(self) -> float:
        """Which part went well; 1 where there was nothing to do."""
        return self.good / self.count if self.count else 1.0


def percentile(ordered: Sequence[float], percent: int) -> float:
    """The smallest of the sorted numbers that at least so many percent of them do not exceed."""
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]
