"""The timeline of a run: verdicts and latencies of gets, and counts of copies, by interval."""

from collections.abc import Iterable, Sequence

from attrs import define, field, frozen

from dht14.sim.statistics import percentile


@frozen
class Interval:
    """One interval of a run. Figures of gets, or of a snapshot, are None where the interval has none."""

    at: float
    """Its middle, in virtual seconds since the start of the run."""
    gets: int
    right: float | None
    """The share of right gets."""
    p50_ms: float | None
    p99_ms: float | None
    nodes: int | None
    """Running nodes."""
    replicas: float | None
    """Mean copies of an acknowledged value."""
    fewest: int | None
    """Copies of the value that has the fewest."""
    without: int | None
    """Values without a copy at any running node."""


@frozen
class Snapshot:
    """A count of running nodes, and of the copies of some values."""

    at: float
    nodes: int
    replicas: tuple[int, ...]


@define(eq=False)
class Timeline:
    """Collects facts with their times, in virtual seconds since the start of the run."""

    _gets: list[tuple[float, bool, float]] = field(factory=list)
    _snapshots: list[Snapshot] = field(factory=list)

    def get_ended(self, at: float, right: bool, seconds: float) -> None:
        """A get has ended after `seconds`."""
        self._gets.append((at, right, seconds))

    def counted(self, at: float, nodes: int, replicas: Iterable[int]) -> None:
        """A snapshot was taken: running nodes, and the copies of each value."""
        self._snapshots.append(Snapshot(at, nodes, tuple(replicas)))

    @property
    def end(self) -> float:
        """The time of the last fact."""
        return max([at for at, _, _ in self._gets] + [count.at for count in self._snapshots], default=0.0)

    def intervals(self, width: float) -> list[Interval]:
        """Return the intervals of `width` seconds that have facts."""
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
