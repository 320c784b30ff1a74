"""Cuts the power at every point of what a node writes, and checks each start after it.

    python -m tests.cuts.run [--cuts 10000] [--seed 1] [--only lives files ...] [--steps 50] [--workers 2]
    python -m tests.cuts.run --mutants [MUTANT ...]

Prints one line for each recording, and the sum. Exit code 1 if anything was lost; with `--mutants`, if a
fault that loses data was not found; 3 without a C compiler.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

from attrs import define

from tests.cuts import histories
from tests.cuts.cutting import Recording, Result, cut
from tests.cuts.mutants import MUTANTS
from tests.cuts.recording import NO_COMPILER, Recorder, compile_shim, has_shim

MEMORY = Path("/dev/shm")
"""Cuts are made in memory, where it can be had: a flush costs nothing there."""
SHOWN = 10
"""Broken promises that are printed."""
CUTS_AT_A_POINT = 3
FAULTS = [name for name in MUTANTS if name != "none"]
MUTANT_CUTS = 200
MUTANT_STEPS = 12


@define
class Bench:
    """Where recordings are made, one after the other."""

    library: Path
    place: Path
    seed: int
    steps: int
    made: int = 0

    def recorder(self) -> Recorder:
        """Return a recorder with a folder of its own."""
        self.made += 1
        return Recorder.new(self.library, self.place / f"recording-{self.made}")

    def one_life(self) -> Iterator[Recording]:
        """One long life."""
        yield histories.lives(self.recorder(), self.seed, 1, self.steps)

    def many_lives(self) -> Iterator[Recording]:
        """Short lives, most of which end with a kill."""
        yield histories.lives(self.recorder(), self.seed, 8, max(self.steps // 6, 2))

    def rekeys(self) -> Iterator[Recording]:
        """Changes of the encryption key."""
        yield histories.rekeys(self.recorder(), self.seed, self.steps // 3)

    def node(self) -> Iterator[Recording]:
        """A real node with clients."""
        yield histories.real_node(self.recorder(), self.seed, self.steps // 3)

    def files(self) -> Iterator[Recording]:
        """Files that commands write."""
        yield histories.files(self.recorder(), self.seed)

    def restarts(self) -> Iterator[Recording]:
        """Starts after a cut, which are cut again."""
        base = histories.lives(self.recorder(), self.seed, 1, self.steps // 3)
        self.made += 1
        place = self.place / f"recording-{self.made}"
        place.mkdir()
        yield from histories.restarts(base, self.library, place, self.seed, 6)


HISTORIES: dict[str, Callable[[Bench], Iterator[Recording]]] = {
    "life": Bench.one_life,
    "lives": Bench.many_lives,
    "rekeys": Bench.rekeys,
    "node": Bench.node,
    "files": Bench.files,
    "restarts": Bench.restarts,
}


def cut_all(bench: Bench, names: list[str], cuts: int, workers: int) -> Result:
    """Record, and cut the recordings, until there were `cuts` cuts; print what each has shown."""
    total = Result()
    first_seed = bench.seed
    print(f"{'recorded':<22}{'changes':>8}{'points':>8}{'cuts':>7}{'acknowledged':>14}{'broken':>8}")
    for turn in count():
        bench.seed = first_seed + turn
        for name in names:
            for recording in HISTORIES[name](bench):
                rest = cuts - total.cuts
                points = sum(1 for _ in recording.points())
                result = cut(recording, min(rest, CUTS_AT_A_POINT * points), bench.seed, bench.place, workers)
                _show(recording, result)
                total.add(result)
                if total.cuts >= cuts:
                    return total
    raise AssertionError("unreachable")


def _show(recording: Recording, result: Result) -> None:
    print(
        f"{recording.name:<22}{len(recording.history):>8}{result.points:>8}{result.cuts:>7}"
        f"{result.acknowledged:>14}{len(result.broken):>8}",
        flush=True,
    )
    for line in result.broken[:SHOWN]:
        print(f"    {line}")


def try_mutants(bench: Bench, names: list[str], workers: int) -> bool:
    """Cut what each of these mutants writes; print and return whether all were found."""
    all_found = True
    for name in names:
        recording = histories.mutant(bench.recorder(), bench.seed, MUTANT_STEPS, name)
        result = cut(recording, MUTANT_CUTS, bench.seed, bench.place, workers)
        found = "found" if result.broken else "NOT FOUND"
        print(f"{name:<28}{found}: {len(result.broken)} of {result.cuts} cuts broke a promise", flush=True)
        all_found = all_found and bool(result.broken)
    return all_found


def main() -> int:
    """Run what is asked for; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cuts", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=HISTORIES, default=list(HISTORIES), metavar="HISTORY")
    parser.add_argument("--steps", type=int, default=50, help="of a long life")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--mutants",
        nargs="*",
        choices=MUTANTS,
        metavar="MUTANT",
        help=f"make faults that lose data, and find them: {', '.join(FAULTS)} (default: all)",
    )
    args = parser.parse_args()
    if not has_shim():
        print(NO_COMPILER)
        return 3
    place = Path(tempfile.mkdtemp(prefix="cuts-", dir=MEMORY if MEMORY.is_dir() else None))
    try:
        bench = Bench(compile_shim(place), place, args.seed, args.steps)
        if args.mutants is not None:
            return 0 if try_mutants(bench, args.mutants or FAULTS, args.workers) else 1
        began = time.monotonic()
        total = cut_all(bench, args.only, args.cuts, args.workers)
        minutes = (time.monotonic() - began) / 60
        print(
            f"{total.cuts:,} cuts, seed {args.seed}, {minutes:.1f} min; {total.mean:,.0f} writes were "
            f"acknowledged before a cut; {len(total.broken)} cuts lost or damaged something"
        )
        return 1 if total.broken else 0
    finally:
        shutil.rmtree(place)


if __name__ == "__main__":
    sys.exit(main())
