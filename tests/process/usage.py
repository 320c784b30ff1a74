"""What a node takes of its host: memory, descriptors, threads, files. Sampled in a soak, and judged."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

from attrs import frozen

TICKS = os.sysconf("SC_CLK_TCK")
MIB = 1 << 20
BLOCK_BYTES = 512
"""Of `st_blocks`, whatever the file system."""


@frozen
class Sample:
    """One node at one time."""

    at: float
    """Seconds, of the caller's clock."""
    life: int
    """The number of starts of the node so far."""
    memory: float
    """MiB of its own: without pages of files, which the kernel takes back."""
    resident: float
    """MiB in memory, cached pages of its database included."""
    descriptors: int
    threads: int
    files: int
    """In the data directory, without logs and without files that are being replaced."""
    data: float
    """MiB on disk of these."""
    log: float
    """MiB of its logs."""
    cpu: float
    """Seconds of processor time of this life."""


def sample(pid: int, data_dir: Path, at: float, life: int) -> Sample:
    """Measure a node. Raises `OSError` when the process has ended."""
    proc = Path("/proc", str(pid))
    status = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines())
    fields = (proc / "stat").read_text().rpartition(")")[2].split()
    if "RssAnon" not in status:  # It has ended, and its parent has not asked for it yet.
        raise ProcessLookupError(f"process {pid} has ended")
    files = list(_files(data_dir))
    kept = [size for name, size in files if not _is_log(name) and not name.endswith(".new")]
    return Sample(
        at=at,
        life=life,
        memory=_mebibytes(status["RssAnon"]),
        resident=_mebibytes(status["VmRSS"]),
        descriptors=len(os.listdir(proc / "fd")),
        threads=int(status["Threads"]),
        files=len(kept),
        data=sum(kept) / MIB,
        log=sum(size for name, size in files if _is_log(name)) / MIB,
        cpu=sum(map(int, fields[11:13])) / TICKS,
    )


def _mebibytes(field: str) -> float:
    return int(field.split()[0]) / 1024


def _is_log(name: str) -> bool:
    return name.startswith("twistd.log")


def _files(folder: Path) -> Iterator[tuple[str, int]]:
    """Yield name and bytes on disk of each file; one that vanishes meanwhile is left out."""
    for entry in os.scandir(folder):
        try:
            if entry.is_dir(follow_symlinks=False):
                yield from _files(Path(entry.path))
            else:
                yield entry.name, entry.stat(follow_symlinks=False).st_blocks * BLOCK_BYTES
        except FileNotFoundError:
            continue


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Return the slope of the line nearest to these points, by least squares; 0 for fewer than two."""
    if len(points) < 2:
        return 0.0
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


JUDGED_SECONDS = 30.0
"""The shortest time that is judged."""
JUDGED = ("memory", "descriptors", "threads", "files", "data")


@frozen
class Bounds:
    """What a node may take more, from the end of the warm-up to the end, by the line through its samples."""

    memory: float = 4.0
    """MiB."""
    descriptors: float = 4.0
    threads: float = 1.0
    files: float = 0.5
    data: float = 4.0
    """MiB."""


@frozen
class Growth:
    """What a node took more, in one life, by the line through its samples."""

    seconds: float
    samples: int
    memory: float
    """MiB."""
    descriptors: float
    threads: float
    files: float
    data: float
    """MiB."""

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> "Growth":
        """Compute it from the samples of one life after its warm-up."""
        seconds = samples[-1].at - samples[0].at if samples else 0.0

        def grown(name: str) -> float:
            return slope([(one.at, getattr(one, name)) for one in samples]) * seconds

        return cls(
            seconds,
            len(samples),
            *(grown(name) for name in JUDGED),
        )

    @property
    def memory_per_hour(self) -> float:
        """MiB."""
        return self.memory * 3600 / self.seconds if self.seconds else 0.0

    def breaches(self, bounds: Bounds) -> list[str]:
        """Say which bounds it exceeds. A short time tells nothing: connections come and go."""
        if self.seconds < JUDGED_SECONDS:
            return []
        return [
            f"{name} grew by {getattr(self, name):.1f} in {self.seconds:.0f} s, more than"
            f" {getattr(bounds, name):g}"
            for name in JUDGED
            if getattr(self, name) > getattr(bounds, name)
        ]


def middle(samples: Sequence[Sample], name: str) -> float:
    """Return the median of a figure; 0 without samples."""
    return median(getattr(one, name) for one in samples) if samples else 0.0
