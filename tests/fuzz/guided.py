"""Lets atheris choose the inputs of the targets, one target after the other.

    python -m tests.fuzz.guided [--seconds N] [--keep] [--page FILE] [TARGET ...]

Ends with 1 when one of them found a bug; the input is printed and belongs into that target's corpus file,
below a line that begins with # and says what it was. `--keep` writes back to the corpus what reaches new
lines; `reach` says what the kept inputs reach. `--page` writes the figures into that page.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

MOST_KEPT = 45
"""Inputs of one corpus file, the shortest first, besides those that found a bug."""
LONGEST_KEPT = 600
"""The bytes of these files."""


def begin(name: str, arguments: list[str]) -> None:
    """Run one target in this process, which libFuzzer ends."""
    import atheris

    with atheris.instrument_imports(include=["dht14"]):
        from tests.fuzz.targets import TARGETS
    atheris.Setup([name, *arguments], TARGETS[name].run)
    atheris.Fuzz()


def child(name: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run one target in another process, to its end."""
    words = [sys.executable, "-m", "tests.fuzz.guided", "--child", name, *arguments]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def fuzz(name: str, seconds: int, keep: bool) -> tuple[bool, str]:
    """Run a target for this long; return whether it found no bug, and its row of the table."""
    from tests.fuzz.targets import TARGETS

    target = TARGETS[name]
    with tempfile.TemporaryDirectory(prefix="dht14-fuzz-") as folder:
        found, seeds = Path(folder, "found"), Path(folder, "seeds")
        found.mkdir()
        seeds.mkdir()
        for number, seed in enumerate(target.seeds()):
            (seeds / str(number)).write_bytes(seed)
        limits = (f"-max_len={target.longest}", "-rss_limit_mb=1024", "-timeout=10", "-print_final_stats=1")
        prefix = f"-artifact_prefix={folder}/bug-"
        ended = child(name, f"-max_total_time={seconds}", *limits, prefix, str(found), str(seeds))
        runs = re.search(r"number_of_executed_units: (\d+)", ended.stderr)
        edges = re.findall(r"cov: (\d+)", ended.stderr)
        memory = re.search(r"peak_rss_mb:\s+(\d+)", ended.stderr)
        count, edge, most = (
            runs[1] if runs else "no",
            edges[-1] if edges else "?",
            memory[1] if memory else "?",
        )
        print(f"{name}: {count} inputs, {edge} edges, {most} MB")
        if keep:
            _keep(name, found)
        bugs = sorted(Path(folder).glob("bug-*"))
        for bug in bugs:
            print(f"{bug.name}: {bug.read_bytes().hex()}")
        if ended.returncode:
            print(f"{ended.stderr[-4_000:]}\nended with {ended.returncode}")
        sys.stdout.flush()
        found_nothing = "nothing" if not ended.returncode else "a bug"
        return not ended.returncode, f"| `{name}` | {seconds} | {count} | {edge} | {most} | {found_nothing} |"


HEAD = "| target | seconds | inputs | edges | MB | found |\n|---|---:|---:|---:|---:|---|\n"


def write_rows(path: Path, rows: list[str]) -> None:
    """Write these rows into the table of a page; the other targets keep theirs."""
    from tests.fuzz.reach import write_table
    from tests.fuzz.targets import TARGETS

    _, _, old = path.read_text(encoding="utf-8").partition(HEAD)
    known = {row.split("`")[1]: row for row in [*old.partition("\n\n")[0].splitlines(), *rows] if "`" in row}
    write_table(
        path, "tests.fuzz.guided", HEAD + "".join(f"{known[name]}\n" for name in TARGETS if name in known)
    )


def _keep(name: str, found: Path) -> None:
    """Add the shortest of the inputs that reached something new to the corpus."""
    from tests.fuzz.targets import TARGETS

    corpus = TARGETS[name].corpus
    lines = corpus.read_text().splitlines() if corpus.exists() else []
    new = {path.read_bytes().hex() for path in found.iterdir()} - set(lines)
    room = max(0, MOST_KEPT - len(lines))
    lines += [line for line in sorted(new, key=len)[:room] if len(line) <= 2 * LONGEST_KEPT]
    if lines:
        corpus.write_text("\n".join(lines) + "\n")


def main() -> int:
    """The command line."""
    if sys.argv[1:2] == ["--child"]:
        begin(sys.argv[2], sys.argv[3:])
        return 0
    from tests.fuzz.targets import TARGETS

    parser = argparse.ArgumentParser(prog="guided", description="Fuzz the targets, guided by coverage.")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (60)")
    parser.add_argument("--keep", action="store_true", help="write what reaches new lines to the corpus")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the figures into this page")
    parser.add_argument("target", nargs="*", choices=[*TARGETS, []], help="all, if none is named")
    arguments = parser.parse_args()
    bugs = 0
    for name in arguments.target or TARGETS:
        good, row = fuzz(name, arguments.seconds, arguments.keep)
        bugs += not good
        if arguments.page:
            write_rows(arguments.page, [row])
    return min(bugs, 1)


if __name__ == "__main__":
    sys.exit(main())
