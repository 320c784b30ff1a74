"""Says how much of the product the kept inputs of each target reach: its samples and its corpus.

    python -m tests.fuzz.reach [--minimize] [--page FILE] [TARGET ...]

Counts lines inside of functions, in the files that a target aims at; those that run at import do not count.
`--minimize` drops the inputs of a corpus that reach no jump from one line to another which the samples and
the inputs before them do not reach. Inputs below a line that begins with #, which found a bug, stay.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from attrs import frozen

TOP = Path(__file__).parents[2]


@frozen
class Reached:
    """What has run so far."""

    lines: dict[str, set[int]]
    """By file."""
    jumps: int
    """The number of pairs of lines that ran one after the other."""

    def count(self, aims: dict[str, set[int]]) -> int:
        """How many of these lines have run. Of a statement of several lines only its first one counts."""
        return sum(len(lines & aims[file]) for file, lines in self.lines.items())


def files_of(aims: Iterable[str]) -> list[str]:
    """The files at these paths below dht14/, and in these folders."""
    found: list[Path] = []
    for aim in aims:
        path = TOP / "dht14" / aim
        found += sorted(path.rglob("*.py")) if path.is_dir() else [path]
    return [str(path) for path in found if path.name != "__init__.py"]


def measure(name: str, minimize: bool) -> dict[str, int]:
    """Run a target over what is kept of it, in this process, which has imported nothing of the product."""
    import coverage

    from tests.fuzz.aims import AIMS

    files = files_of(AIMS[name])
    cover = coverage.Coverage(data_file=None, config_file=False, branch=True, include=files)

    def reached() -> Reached:
        cover.stop()
        data = cover.get_data()
        lines = {file: set(data.lines(file) or ()) for file in files}
        jumps = sum(len(data.arcs(file) or ()) for file in files)
        cover.start()
        return Reached(lines, jumps)

    cover.start()
    from tests.fuzz.targets import TARGETS

    target = TARGETS[name]
    samples = list(target.make_samples())
    at_import = reached()
    for sample in samples:
        target.run(sample)
    of_samples = so_far = reached()
    kept: list[str] = []
    for lines in _inputs(target.corpus):
        target.run(bytes.fromhex(lines.rpartition("\n")[2]))
        before, so_far = so_far, reached()
        if so_far.jumps > before.jumps or lines.startswith("#"):
            kept.append(lines)
    cover.stop()
    if minimize and target.corpus.exists():
        target.corpus.write_text("".join(f"{lines}\n" for lines in kept))
    aims = {file: set(cover.analysis2(file)[1]) - at_import.lines.get(file, set()) for file in files}
    return {
        "samples": len(samples),
        "corpus": len(kept) if minimize else len(_inputs(target.corpus)),
        "lines": sum(map(len, aims.values())),
        "of samples": of_samples.count(aims),
        "of all": so_far.count(aims),
    }


def _inputs(corpus: Path) -> list[str]:
    """The inputs of a corpus, each with the comment above it."""
    inputs, comment = [], ""
    for line in corpus.read_text().splitlines() if corpus.exists() else []:
        if line.startswith("#"):
            comment += line + "\n"
        else:
            inputs.append(comment + line)
            comment = ""
    return inputs


def table(figures: dict[str, dict[str, int]]) -> str:
    """The figures of all targets, as the page has them."""
    head = "| target | samples | corpus | lines aimed at | reached by samples | by all |\n"
    return f"{head}|---|---:|---:|---:|---:|---:|\n" + "".join(
        f"| `{name}` | {one['samples']} | {one['corpus']} | {one['lines']:,}"
        f" | {100 * one['of samples'] / one['lines']:.0f} % | {100 * one['of all'] / one['lines']:.0f} % |\n"
        for name, one in figures.items()
    )


def write_table(path: Path, script: str, figures: str) -> None:
    """Write a table into its place on a page."""
    before, begin, rest = path.read_text(encoding="utf-8").partition(f"<!-- {script}: begin -->\n")
    _, end, after = rest.partition("<!-- end -->\n")
    assert begin and end, "the page has no place for the table"
    path.write_text(f"{before}{begin}\n{figures}\n{end}{after}", encoding="utf-8")


def main() -> int:
    """The command line."""
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(measure(sys.argv[2], "--minimize" in sys.argv)))
        return 0
    from tests.fuzz.aims import AIMS

    parser = argparse.ArgumentParser(prog="reach", description="Say what the inputs of the targets reach.")
    parser.add_argument("--minimize", action="store_true", help="drop inputs that reach nothing new")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the table into this page")
    parser.add_argument("target", nargs="*", choices=[*AIMS, []], help="all, if none is named")
    arguments = parser.parse_args()
    figures: dict[str, dict[str, int]] = {}
    for name in arguments.target or AIMS:
        words = [sys.executable, "-m", "tests.fuzz.reach", "--child", name]
        words += ["--minimize"] * arguments.minimize
        ended = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False, cwd=TOP)
        if ended.returncode:
            return 1
        figures[name] = json.loads(ended.stdout.splitlines()[-1])
    print(table(figures))
    if arguments.page:
        write_table(arguments.page, "tests.fuzz.reach", table(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
