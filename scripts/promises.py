"""Run the commands of docs/promises.md, and write their figures into the table of that page.

`python scripts/promises.py [--minutes M] [--list] [--page FILE] [WORD ...]` runs the rows whose promise or
command contains one of the words (default: all rows), and that take at most M minutes. A row that is not run
keeps the figure of its last run. Exit code 1 when a promise was missed.
"""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from dht14.sim.scenarios import SCENARIOS

TOP = Path(__file__).parents[1]
PAGE = TOP / "docs" / "promises.md"
HEAD = "| promise | size | command | minutes | last figure |\n|---|---|---|---|---|\n"
NOT_MEASURED = "not measured"
LACKING = 77
"""The exit code of a script where the host lacks what it needs."""
DHT14 = "import sys; from dht14.cmd.main import main; sys.exit(main())"
"""The command `dht14`, run by this interpreter."""


class Row:
    """One command, which shows a promise at one size."""

    promise: str
    minutes: int
    """How long it takes on an idle core, about."""
    size: str
    command: str

    def figure(self) -> str:
        """Run the command, and return what it found: "kept: ", "missed: ", or neither, and the figures."""
        raise NotImplementedError


class Simulation(Row):
    """A scenario of `dht14 sim`, with one seed or several."""

    def __init__(self, promise: str, minutes: int, words: str, seeds: Sequence[int] = (1,)) -> None:
        self.promise, self.minutes, self._words, self._seeds = promise, minutes, words, seeds
        several = f"seeds {seeds[0]} to {seeds[-1]}"
        given = dict(re.findall(r"--(\w+) (\d+)", words))
        scenario = SCENARIOS[words.split()[0]]
        nodes, values = (int(given.get(name, getattr(scenario, name))) for name in ("nodes", "values"))
        self.size = f"{nodes:,} nodes, {values:,} values, {several if seeds[1:] else f'seed {seeds[0]}'}"
        self.command = f"dht14 sim {words} --seed {'N' if seeds[1:] else seeds[0]}"

    def figure(self) -> str:
        """The worst figure of each promise, over all seeds."""
        # A thread only waits for its process.
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            runs = list(pool.map(self._run, self._seeds))
        missed = [str(seed) for seed, run in zip(self._seeds, runs, strict=True) if not run.get("good")]
        worst: dict[str, str] = {}
        for name in dict.fromkeys(promise["name"] for run in runs for promise in run["promises"]):
            found = [promise for run in runs for promise in run["promises"] if promise["name"] == name]
            least, most = found[0]["at_least"], found[0]["at_most"]
            figures = [promise["figure"] for promise in found]
            worst[name] = (
                f"{min(figures):.6g} (≥ {least:g})" if most is None else f"{max(figures):.6g} (≤ {most:g})"
            )
        told = "; ".join(f"{name} {figure}" for name, figure in worst.items())
        return f"missed with seed {', '.join(missed)}: {told}" if missed else f"kept: {told}"

    def _run(self, seed: int) -> dict[str, Any]:
        words = [
            sys.executable,
            "-c",
            DHT14,
            "sim",
            *self._words.split(),
            "--seed",
            str(seed),
            "--quiet",
            "--json",
        ]
        output = subprocess.run(words, cwd=TOP, stdout=subprocess.PIPE, text=True, check=False).stdout
        result: dict[str, Any] = json.loads(output) if output else {"promises": []}
        return result


class Tests(Row):
    """Tests, at the sizes that variables of the environment give."""

    def __init__(self, promise: str, minutes: int, size: str, command: str) -> None:
        self.promise, self.minutes, self.size = promise, minutes, size
        words = command.split()
        self._environment = dict(word.split("=") for word in words if "=" in word)
        self._names = [word for word in words if "=" not in word]
        self.command = " ".join(
            [*(word for word in words if "=" in word), "python -m twisted.trial", *self._names]
        )

    def figure(self) -> str:
        """How many tests passed."""
        with tempfile.TemporaryDirectory() as folder:
            words = [
                sys.executable,
                "-b",
                "-m",
                "twisted.trial",
                f"--temp-directory={folder}/trial",
                *self._names,
            ]
            run = subprocess.run(
                words,
                cwd=TOP,
                env={**os.environ, **self._environment},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
        counts = dict(re.findall(r"(\w+)=(\d+)", run.stdout.rstrip().rpartition("\n")[2]))
        passed, skipped = counts.pop("successes", "0"), counts.pop("skips", "0")
        if run.returncode or counts:
            others = ", ".join(f"{count} {name}" for name, count in {**counts, "skips": skipped}.items())
            print(run.stdout, file=sys.stderr)  # What failed, and why.
            return f"missed: {passed} tests passed, {others}"
        if skipped != "0" or passed == "0":
            return f"{NOT_MEASURED}: {skipped} tests need what the host lacks; {passed} passed"
        return f"kept: {passed} {'test' if passed == '1' else 'tests'} passed"


class Script(Row):
    """A script that prints figures for people."""

    def __init__(
        self, promise: str, minutes: int, size: str, command: str, told: str, good: str = ""
    ) -> None:
        """`told` matches the lines to quote; `good`, if given, the output of a run that kept the promise."""
        self.promise, self.minutes, self.size, self.command = promise, minutes, size, command
        self._told, self._good = re.compile(told, re.MULTILINE), re.compile(good, re.MULTILINE)

    def figure(self) -> str:
        """The lines that tell it."""
        words = [sys.executable, *shlex.split(self.command)[1:]]
        run = subprocess.run(words, cwd=TOP, stdout=subprocess.PIPE, text=True, check=False)
        if run.returncode == LACKING:
            return f"{NOT_MEASURED}: it needs what the host lacks"
        told = "; ".join(" ".join(found[0].split()) for found in self._told.finditer(run.stdout))
        if run.returncode or not told:
            return f"missed: {told or f'exit code {run.returncode}'}"
        if not self._good.pattern:
            return told
        return f"kept: {told}" if self._good.search(run.stdout) else f"missed: {told}"


STORAGE = "tests.process.test_storage"
SOAK = (r"^\d+ nodes, .* minutes: .*", "no promise broken")
ROWS: tuple[Row, ...] = (
    Simulation("P1", 20, "holders", range(1, 6)),
    Simulation("P1", 1, "holders --nodes 60 --values 60"),
    Tests("P2", 60, "1,000 SIGKILLs", f"KILLS=1000 {STORAGE}.CrashTests"),
    Tests("P2", 2, "10 SIGKILLs of one node, then of 5 nodes", f"KILLS=10 {STORAGE}.CrashTests"),
    Script(
        "P2",
        5,
        "10,000 power cuts of one data directory",
        "python -m tests.cuts.run --cuts 10000",
        r"^[\d,]+ cuts, .*",
        r"; 0 cuts lost",
    ),
    Simulation("P2", 5, "power-cut", range(1, 6)),
    Script(
        "P2, P13",
        3,
        "100,000 records of 1 KB",
        "python scripts/bench/storage.py 100000",
        r"^(open|memory|pages).*",
    ),
    Simulation("P3", 45, "churn-10min"),
    Simulation("P3", 5, "churn-10min --nodes 60 --values 60"),
    Simulation("P4", 30, "churn-60min"),
    Simulation("P4", 5, "churn-60min --nodes 60 --values 60"),
    Simulation("P4", 30, "churn-60min-3"),
    Simulation("P4", 5, "churn-60min-3 --nodes 60 --values 60"),
    Simulation("P5", 2, "loss-5", range(1, 6)),
    Simulation("P5", 3, "loss-20", range(1, 6)),
    Simulation("P5", 1, "loss-5 --nodes 60 --values 100"),
    Simulation("P5", 1, "loss-20 --nodes 60 --values 100"),
    Simulation("P6", 45, "hostile"),
    Simulation("P6", 5, "hostile --nodes 100 --values 40"),
    Simulation("P6", 40, "displacement --nodes 200", range(1, 11)),
    Simulation("P6", 5, "displacement --nodes 60 --values 40"),
    Simulation("P7", 3, "partition", range(1, 11)),
    Simulation("P7", 1, "partition --nodes 30 --values 10"),
    Script(
        "P7",
        4,
        "12 real nodes, divided for 15 s",
        "python scripts/bench/history.py --nodes 12 --seconds 110 --keys 12 --clients 4 --copies 8-8 --junk 0"
        " --restarts 0 --partition 15",
        r"^(open|owner|content) keys: .*",
        r"keys: \d+ right",
    ),
    Tests(
        "P8",
        1,
        "20,000 datagrams of all kinds",
        "tests.process.test_sealed.SealedTests.test_unknown_peers_get_challenges",
    ),
    Tests(
        "P9",
        10,
        "1,000,000 forged replies",
        "CLOSED_FORGED_REPLIES=1000000 tests.process.test_closed.RepliesTests",
    ),
    Tests("P9", 1, "20,000 forged replies", "tests.process.test_closed.RepliesTests"),
    Tests(
        "P9",
        2,
        "forged and repeated datagrams while clients put and get",
        "tests.process.test_closed.DatagramTests.test_forged_and_repeated",
    ),
    Tests("P10", 15, "100,000 inputs for each decoder", "FUZZ_MUTATIONS=100000 tests.fuzz"),
    Tests("P10", 3, "2,000 inputs for each decoder", "FUZZ_MUTATIONS=2000 tests.fuzz"),
    Tests(
        "P10",
        60,
        "1,000,000 datagrams of each kind, 50,000 frames",
        "HOSTILE_DATAGRAMS=1000000 HOSTILE_FRAMES=50000 tests.process.test_hostile",
    ),
    Tests(
        "P11",
        1,
        "each rule by itself, on a virtual clock",
        "tests.net.api.test_clients.RateTests tests.security.test_rate_limiter",
    ),
    Script(
        "P12",
        5,
        "4 nodes; 100,000 datagrams, 1,000 slow connections",
        "python scripts/bench/attacks.py unknown_peers api_slowloris",
        r"^Clients waited.*",
        r"^Clients waited",
    ),
    Tests(
        "P13",
        1,
        "stores of 8 MiB; the sum of all API connections",
        "tests.sim.test_memory_store.FloodTests tests.database.test_limits"
        " tests.net.api.test_clients.HeldTests",
    ),
    Tests("P14", 1, "100 sets of offers", "tests.records.test_store.MergeTests"),
    Simulation("P14", 1, "rewrites", range(1, 6)),
    Simulation("P15", 2, "clocks", range(1, 6)),
    Simulation("P15", 2, "clocks --nodes 30 --values 50"),
    Tests("P15", 3, "3 nodes under clocks that are set", "tests.process.test_clocks"),
    Script(
        "P15",
        3,
        "12 real nodes, 20 clocks set a minute, 3 % of the datagrams lost",
        "python scripts/bench/history.py --nodes 12 --seconds 110 --keys 12 --clients 4 --copies 8-8 --junk 0"
        " --restarts 3 --clocks 20 --loss 0.03",
        r"^(open|owner|content) keys: .*",
        r"keys: \d+ right",
    ),
    Tests("P16", 1, "3 nodes, no seed; a seed that comes late", "tests.process.test_network.ReturnTests"),
    Tests("P17", 10, "60 damaged files", f"FLIPS=60 {STORAGE}.DamageTests"),
    Tests(
        "P17",
        2,
        "wrong and missing keys, two processes",
        f"{STORAGE}.KeyTests tests.process.test_start.RefusedStartTests",
    ),
    Tests(
        "P18",
        2,
        "values, keys and the encryption key in 6 forms; every line of a log",
        f"{STORAGE}.SecrecyTests tests.process.test_start.StartTests.test_json_log",
    ),
    Tests("P19", 1, "10 nodes, run twice", "tests.scenarios.test_digest"),
    Simulation("P19", 20, "random-faults", range(1, 201)),
    Simulation("P19", 4, "random-faults", range(1, 4)),
    Simulation("P20", 40, "newcomer"),
    Simulation("P20", 2, "newcomer --nodes 200 --values 200"),
    Simulation("P21", 25, "week --nodes 20"),
    Simulation("P21", 6, "week"),
    Simulation("P21", 1, "day"),
    Script("P21", 65, "12 nodes, an hour", "python scripts/soak.py", *SOAK),
    Script("P21", 5, "12 nodes, 3 minutes", "python scripts/soak.py --minutes 3", *SOAK),
    Script(
        "P22",
        3,
        "10 nodes, 500 values with one copy",
        "python scripts/bench/departures.py sigterm 10 500",
        r"^stops took .*",
        r"to (?:[0-4]\.\d|5\.0) s; (\d+) of \1 values right",
    ),
    Simulation("P23", 8, "one-way", range(1, 6)),
    Simulation("P23", 1, "one-way --nodes 60 --values 60"),
)
"""The commands of one promise stand together. What is promised is on the page."""


Figures = dict[tuple[str, str], str]
"""The last figures, by size and command: several sizes may have one command, with more seeds."""


def figures_on(page: str) -> Figures:
    """Return the figures that the table of the page has."""
    rows = re.findall(r"^\| P[^|]* \| ([^|]*) \| `(.*?)` \| \d+ \| (.*) \|$", page, re.MULTILINE)
    return {(size, command): figure for size, command, figure in rows}


def table(figures: Figures) -> str:
    """Return the table, with these figures."""
    lines = (
        f"| {row.promise} | {row.size} | `{row.command}` | {row.minutes}"
        f" | {figures.get((row.size, row.command), NOT_MEASURED)} |\n"
        for row in ROWS
    )
    return HEAD + "".join(lines)


def with_table(page: str, figures: Figures) -> str:
    """Return the page with its table made again."""
    before, head, rest = page.partition(HEAD)
    assert head, "the page has no table"
    after = re.sub(r"\A(?:\|.*\n)*", "", rest)
    return before + table(figures) + after


def chosen(words: Sequence[str], minutes: int) -> Iterator[Row]:
    """Yield the rows that these words name, and that take no longer."""
    for row in ROWS:
        named = not words or any(word in row.promise.split(", ") or word in row.command for word in words)
        if named and row.minutes <= minutes:
            yield row


def main() -> int:
    """Run the rows, and write the page after each; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="*", metavar="WORD", help="P3, or a part of a command")
    parser.add_argument(
        "--minutes", type=int, default=1_000_000, metavar="M", help="only rows that take no longer"
    )
    parser.add_argument("--list", action="store_true", help="print the rows and their time, and run nothing")
    parser.add_argument("--page", type=Path, default=PAGE, metavar="FILE", help="the page to write")
    args = parser.parse_args()
    rows = list(chosen(args.words, args.minutes))
    print(
        f"{len(rows)} commands, about {sum(row.minutes for row in rows)} minutes of an idle core", flush=True
    )
    missed = False
    for row in rows:
        if args.list:
            print(f"{row.promise:<8} {row.minutes:>4} min  {row.command}")
            continue
        figure = row.figure()
        missed = missed or figure.startswith("missed")
        print(f"{row.promise:<8} {row.command}\n         {figure}", flush=True)
        page = args.page.read_text(encoding="utf-8")
        args.page.write_text(
            with_table(page, figures_on(page) | {(row.size, row.command): figure}), encoding="utf-8"
        )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
