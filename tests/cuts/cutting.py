"""Makes cuts at the points of a recording, and checks the recovery from each, in processes of their own."""

import json
import multiprocessing
import random
import shutil
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from attrs import define, evolve, field, frozen

from tests.cuts.disk import CUTS, Change, Cut, Disk, Op, make
from tests.cuts.expected import Expected
from tests.cuts.recovery import Broken

Recover = Callable[[Path, Expected], None]


@frozen
class Point:
    """A moment of a recording. `disk` and `expected` change when the next one is asked for."""

    number: int
    what: str
    disk: Disk
    expected: Expected


@frozen
class Recording:
    """The log of some processes, and how its folder is opened."""

    name: str
    history: Sequence[Change]
    new_disk: Callable[[], Disk]
    recover: Recover
    new_expected: Callable[[], Expected] = Expected

    def points(self) -> Iterator[Point]:
        """Yield a point within each change, and one after each acknowledgement."""
        disk, expected = self.new_disk(), self.new_expected()
        number = 0
        has_heard = False
        for change in self.history:
            if change.op is Op.MARK:
                expected.hear(change.data)
                has_heard = True
                continue
            if has_heard:
                yield Point(number, f"before {change.op.name}", disk, expected)
                number += 1
                has_heard = False
            disk.play(evolve(change, is_flushed=False))
            if change.op is not Op.FLUSH:
                yield Point(number, f"in {change.op.name} {change.other or change.path}", disk, expected)
                number += 1
            if change.is_flushed:
                disk.settle(change)
        yield Point(number, "at the end", disk, expected)


@define
class Result:
    """What the cuts of one recording have shown."""

    points: int = 0
    cuts: int = 0
    acknowledged: int = 0
    """What had been acknowledged before each cut, summed."""
    broken: list[str] = field(factory=list)

    @property
    def mean(self) -> float:
        """What had been acknowledged before a cut, on average."""
        return self.acknowledged / max(self.cuts, 1)

    def add(self, other: "Result") -> None:
        """Add what another process has found."""
        self.points = max(self.points, other.points)
        self.cuts += other.cuts
        self.acknowledged += other.acknowledged
        self.broken += other.broken


def cut(recording: Recording, cuts: int, seed: int, place: Path, workers: int = 2) -> Result:
    """Make about `cuts` cuts, at all points or at some that are spread evenly; return what they have shown.

    A worker that crashes is a broken promise, too: that of the point at which it was.
    """
    points = sum(1 for _ in recording.points())
    wanted = [cuts * (number + 1) // points - cuts * number // points for number in range(points)]
    context = multiprocessing.get_context("fork")
    result = Result(points)
    processes = []
    for worker in range(workers):
        words = (recording, wanted, seed, place / f"worker-{worker}", (worker, workers))
        process = context.Process(target=_work, args=words)
        process.start()
        processes.append((process, place / f"worker-{worker}"))
    for process, folder in processes:
        process.join()
        result.add(_read(folder / "results", process.exitcode))
        shutil.rmtree(folder)
    return result


def _read(path: Path, exit_code: int | None) -> Result:
    result, last = Result(), "nothing"
    for line in path.read_text().splitlines():
        found = json.loads(line)
        if "at" in found:
            last = found["at"]
            continue
        result.cuts += 1
        result.acknowledged += found["acknowledged"]
        if found["broken"]:
            result.broken.append(f"{last}: {found['broken']}")
    if exit_code:
        result.broken.append(f"{last}: the process ended with {exit_code}")
    return result


def _work(recording: Recording, wanted: list[int], seed: int, place: Path, share: tuple[int, int]) -> None:
    place.mkdir()
    with open(place / "results", "w", encoding="utf-8", buffering=1) as results:
        for point in recording.points():
            if point.number % share[1] != share[0]:
                continue
            for chosen in _cuts_at(point, wanted[point.number], seed):
                _check(
                    recording, point, chosen, random.Random(f"{seed} {point.number} {chosen}"), place, results
                )


def _cuts_at(point: Point, count: int, seed: int) -> list[Cut]:
    if point.disk.is_certain():
        return list(CUTS[:1])[:count]
    rng = random.Random(f"{seed} {point.number}")
    return [
        CUTS[number % len(CUTS)] for number in rng.sample(range(len(CUTS) * (1 + count // len(CUTS))), count)
    ]


def _check(recording: Recording, point: Point, chosen: Cut, rng: random.Random, place: Path, results) -> None:
    print(json.dumps({"at": f"{recording.name}, point {point.number} {point.what}, {chosen}"}), file=results)
    folder = place / "disk"
    make(point.disk.left_by(chosen, rng), folder)
    broken = ""
    try:
        recording.recover(folder, point.expected)
    except Broken as error:
        broken = str(error)
    except Exception:  # noqa: BLE001 - whatever it is, the node must start
        broken = traceback.format_exc(limit=-3)
    print(json.dumps({"broken": broken, "acknowledged": point.expected.acknowledged}), file=results)
    shutil.rmtree(folder)
