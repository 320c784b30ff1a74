"""How a run went, minute by minute: what reads brought and how long they took, and how many copies there
were."""

from collections.abc import Iterable, Sequence

from attrs import define, field, frozen

from dht14.sim.statistics import percentile


@frozen
class Interval:
    """Some time of a run. Where nothing was read, or counted, the figures of that are None."""

    at: float
    """Its middle, in virtual seconds since the run began."""
    gets: int
    right: float | None
    """The part of the gets."""
    p50_ms: float | None
    p99_ms: float | None
    nodes: int | None
    """That ran."""
    replicas: float | None
    """Copies of an acknowledged value, on average."""
    fewest: int | None
    """Copies of the value that has the fewest."""
    without: int | None
    """Values of which no running node holds a copy."""


@frozen
class Snapshot:
    """Copies of each of some values, and nodes that ran."""

    at: float
    nodes: int
    replicas: tuple[int, ...]


@define(eq=False)
class Timeline:
    """Takes facts with their times, in virtual seconds since the run began."""

    _gets: list[tuple[float, bool, float]] = field(factory=list)
    _snapshots: list[Snapshot] = field(factory=list)

    def get_ended(self, at: float, right: bool, seconds: float) -> None:
        """A get has ended, so long after it began."""
        self._gets.append((at, right, seconds))

    def counted(self, at: float, nodes: int, replicas: Iterable[int]) -> None:
        """So many nodes ran, and so many copies there were of each value that was looked at."""
        self._snapshots.append(Snapshot(at, nodes, tuple(replicas)))

    @property
    def end(self) -> float:
        """The last thing that is known of."""
        return max([at for at, _, _ in self._gets] + [count.at for count in self._snapshots], default=0.0)

    def intervals(self, width: float) -> list[Interval]:
        """The run in pieces of so many seconds; those of which nothing is known are left out."""
        gets: dict[int, list[tuple[bool, float]]] = {}
        for at, right, seconds in self._gets:
            gets.setdefault(int(at // width), []).append((right, seconds))
        counts = {int(count.at // width): count for count in self._snapshots}
        return [
            _interval((piece + 0.5) * width, gets.get(piece, ()), counts.get(piece))
            for piece in sorted(gets.keys() | counts.keys())
        ]


def _interval(at: float, gets: Sequence[tuple[bool, float]], count: Snapshot | None) -> Interval:
    taken = sorted(round(seconds * 1000, 1) for _, seconds in gets)
    replicas = count.replicas if count is not None else ()
    return Interval(
        at=at,
        gets=len(gets),
        right=sum(right for right, _ in gets) / len(gets) if gets else None,
        p50_ms=percentile(taken, 50) if gets else None,
        p99_ms=percentile(taken, 99) if gets else None,
        nodes=count.nodes if count is not None else None,
        replicas=round(sum(replicas) / len(replicas), 2) if replicas else None,
        fewest=min(replicas, default=None),
        without=replicas.count(0) if replicas else None,
    )
