"""Measure how the cost of a network grows with its nodes, and write docs/growth.md and its plot.

`python scripts/growth.py [--brief] [--page FILE] NODES ...` runs the scenario `growth` of `dht14 sim` at each
of these sizes, in a process of its own, and writes its column of the table. `--brief` leaves the upkeep
out, which takes the longest. Sizes that are not run keep their figures. `--draw` runs nothing, and makes
tables and plot from the figures that the page has. Needs matplotlib. Exit code 1 when a run broke off or
missed a promise.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from math import log, log2
from pathlib import Path
from typing import Any

from attrs import frozen

from dht14.kademlia.parameters import K
from dht14.sim.growth import expected_contacts, expected_hops

TOP = Path(__file__).parents[1]
PAGE = TOP / "docs" / "growth.md"
SIZES = (100, 300, 1_000, 3_000, 10_000)
BEGIN, END = "<!-- scripts/growth.py: begin -->\n", "<!-- end -->\n"
NOT_MEASURED = "not measured"
DHT14 = "import sys; from dht14.cmd.main import main; sys.exit(main())"
"""The command `dht14`, run by this interpreter."""

Figures = dict[int, dict[str, str]]
"""The cells of the first table: by the number of nodes, by the name of the row."""


@frozen
class Run:
    """What `dht14 sim growth --json` printed, and the memory of its process."""

    printed: dict[str, Any]
    peak_kib: int
    """The most that its process had resident."""
    empty_kib: int
    """The same of a process without nodes."""

    @property
    def nodes(self) -> int:
        """All nodes, bootstrap nodes too."""
        return int(self.printed["nodes"] + self.printed["bootstrap_nodes"])

    @property
    def node_kib(self) -> float | None:
        """Memory of a node; None where its table has had no time to fill."""
        has_rested = self.note("contacts in a table, after half an hour") is not None
        return (self.peak_kib - self.empty_kib) / self.nodes if has_rested else None

    def note(self, name: str) -> float | None:
        """Return a note of the scenario, None if it has none of this name."""
        figure: float | None = self.printed["notes"].get(name)
        return figure

    def of_phase(self, phase: str, name: str) -> float | None:
        """Return a figure of the joins, puts or gets, None if the run had none of these."""
        figure: float | None = self.printed["phases"].get(phase, {}).get(name)
        return figure


Row = tuple[str, Callable[[Run], float | None], int]
"""Its name, its figure, and the digits after the point."""

MEASURED: tuple[Row, ...] = (
    ("get: hops", lambda run: run.note("hops of gets"), 2),
    ("get: datagrams", lambda run: run.of_phase("gets", "datagrams"), 1),
    ("get: bytes", lambda run: run.note("bytes of gets"), 0),
    ("get: ms, median", lambda run: run.of_phase("gets", "p50_ms"), 0),
    ("get: ms, 99 %", lambda run: run.of_phase("gets", "p99_ms"), 0),
    ("get 75 minutes later: hops", lambda run: run.note("hops of later gets"), 2),
    ("get 75 minutes later: datagrams", lambda run: run.of_phase("later gets", "datagrams"), 1),
    ("get 75 minutes later: bytes", lambda run: run.note("bytes of later gets"), 0),
    ("get 75 minutes later: ms, median", lambda run: run.of_phase("later gets", "p50_ms"), 0),
    ("put: datagrams", lambda run: run.of_phase("puts", "datagrams"), 1),
    ("put: bytes", lambda run: run.note("bytes of puts"), 0),
    ("put: ms, median", lambda run: run.of_phase("puts", "p50_ms"), 0),
    ("put: ms, 99 %", lambda run: run.of_phase("puts", "p99_ms"), 0),
    ("join: datagrams", lambda run: run.of_phase("joins", "datagrams"), 0),
    ("contacts in a table", lambda run: run.note("contacts in a table, just joined"), 0),
    ("contacts half an hour later", lambda run: run.note("contacts in a table, after half an hour"), 0),
    ("upkeep of a node: datagrams a minute", lambda run: run.note("datagrams per node and minute"), 1),
    ("upkeep of a node: bytes a minute", lambda run: run.note("bytes per node and minute"), 0),
    ("upkeep of a record: datagrams a check", lambda run: run.note("datagrams per record and check"), 1),
    ("upkeep of a record: bytes a check", lambda run: run.note("bytes per record and check"), 0),
    ("memory of a node, KiB", lambda run: run.node_kib, 0),
)
"""What the network costs: the rows that have a fit."""

OF_RUN: tuple[Row, ...] = (
    ("the run: memory, MiB", lambda run: run.peak_kib / 1024, 0),
    ("the run: CPU seconds", lambda run: run.printed["cpu_seconds"], 0),
    ("the run: seconds", lambda run: run.printed["wall_seconds"], 0),
)
"""What the simulation costs."""

EXPECTED: dict[str, tuple[str, Callable[[int], float], int]] = {
    "get: hops": ("expected, with the bucket widths of the code, all full", expected_hops, 2),
    "contacts half an hour later": ("expected, with full buckets", expected_contacts, 0),
}
"""What the size alone lets expect, by the row that it follows."""

TEXTBOOK: tuple[tuple[str, Callable[[int], float], int], ...] = (
    ("the same with 20 in every bucket", lambda nodes: expected_hops(nodes, lambda depth: K), 2),
    ("log2 of the nodes", log2, 2),
)
"""After the expected hops."""


def written(figure: float | None, digits: int) -> str:
    """Return a figure as the table has it."""
    return NOT_MEASURED if figure is None else f"{figure:,.{digits}f}"


def column(run: Run) -> dict[str, str]:
    """Return the cells of a run."""
    return {name: written(figure(run), digits) for name, figure, digits in MEASURED + OF_RUN}


def numbers(figures: Figures, name: str) -> dict[int, float]:
    """Return the measured figures of a row, by the number of nodes."""
    cells = {size: figures.get(size, {}).get(name, NOT_MEASURED) for size in SIZES}
    return {size: float(cell.replace(",", "")) for size, cell in cells.items() if cell != NOT_MEASURED}


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Return the slope of the line nearest to these points, by least squares."""
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread


def table(figures: Figures) -> str:
    """Return the table of figures: a row for each, a column for each size."""
    lines = ["| nodes | " + " | ".join(f"{size:,}" for size in SIZES) + " |", "|---|" + "---:|" * len(SIZES)]
    for name, _, _ in MEASURED + OF_RUN:
        cells = (figures.get(size, {}).get(name, NOT_MEASURED) for size in SIZES)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
        expected = [EXPECTED[name]] if name in EXPECTED else []
        for label, figure, digits in expected + (list(TEXTBOOK) if name == "get: hops" else []):
            cells = (written(figure(size), digits) for size in SIZES)
            lines.append(f"| *{label}* | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def fits(figures: Figures) -> str:
    """Return the table of fits: what each doubling of the network adds, and the power of the nodes."""
    lines = [
        "| figure | from | to | more with each doubling | power of the nodes |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, _, digits in MEASURED:
        measured = numbers(figures, name)
        if len(measured) < 2:
            continue
        doubling = slope([(log2(size), figure) for size, figure in measured.items()])
        power = slope([(log(size), log(figure)) for size, figure in measured.items()])
        first, last = measured[min(measured)], measured[max(measured)]
        lines.append(
            f"| {name} | {written(first, digits)} | {written(last, digits)}"
            f" | {doubling:+,.{digits + 1}f} | {power:+.2f} |"
        )
    return "\n".join(lines) + "\n"


def figures_on(page: str) -> Figures:
    """Return the figures that the first table of a page has."""
    names = {name for name, _, _ in MEASURED + OF_RUN}
    figures: Figures = {size: {} for size in SIZES}
    _, _, rows = page.partition("| nodes |")
    rows, _, _ = rows.partition("\n\n")
    for name, cells in re.findall(r"^\| ([^|*]+) \| (.+) \|$", rows, re.MULTILINE):
        for size, cell in zip(SIZES, cells.split(" | "), strict=False):
            if name in names and cell != NOT_MEASURED:
                figures[size].setdefault(name, cell)
    return figures


def with_tables(page: str, figures: Figures) -> str:
    """Return the page with both tables made again."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert begin and end, "the page has no place for the tables"
    return f"{before}{BEGIN}\n{table(figures)}\n{fits(figures)}\n{END}{after}"


PANELS: tuple[tuple[str, dict[str, str]], ...] = (
    ("hops of a get", {"get: hops": "just joined", "get 75 minutes later: hops": "75 minutes later"}),
    (
        "contacts in a table",
        {"contacts in a table": "just joined", "contacts half an hour later": "half an hour later"},
    ),
    (
        "milliseconds",
        {"get: ms, median": "get, median", "get: ms, 99 %": "get, 99 %", "put: ms, median": "put, median"},
    ),
    ("datagrams", {"get: datagrams": "a get", "put: datagrams": "a put"}),
    (
        "datagrams of upkeep",
        {
            "upkeep of a node: datagrams a minute": "of a node, a minute",
            "upkeep of a record: datagrams a check": "of a record, a check",
        },
    ),
    ("KiB of memory", {"memory of a node, KiB": "a node"}),
)
"""The title of each part of the plot, and its rows with their labels."""


def draw(figures: Figures, path: Path) -> None:
    """Draw the figures over the number of nodes; dashed lines are expectations."""
    import matplotlib
    from matplotlib.figure import Figure

    # The same figures give the same file: no random names, no date, and text as text.
    matplotlib.rcParams.update({"svg.hashsalt": "dht14", "svg.fonttype": "none"})
    whole = Figure(figsize=(10, 6), layout="constrained")
    for axes, (title, rows) in zip(whole.subplots(2, 3).flat, PANELS, strict=True):
        for name, label in rows.items():
            measured = numbers(figures, name)
            axes.plot(list(measured), list(measured.values()), "o-", label=label)
            for expectation, figure, _ in [EXPECTED[name]] if name in EXPECTED else []:
                axes.plot(SIZES, [figure(size) for size in SIZES], "--", label=expectation.partition(",")[0])
        if "get: hops" in rows:
            for (_, figure, _), short in zip(TEXTBOOK, ("20 in every bucket", "log2"), strict=True):
                axes.plot(SIZES, [figure(size) for size in SIZES], ":", label=short)
        axes.set_title(title)
        axes.set_xscale("log")
        axes.set_xticks(SIZES, [f"{size:,}" for size in SIZES])
        axes.minorticks_off()
        axes.set_ylim(0, 1.15 * axes.get_ylim()[1])
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    whole.supxlabel("nodes")
    path.parent.mkdir(exist_ok=True)
    whole.savefig(path, metadata={"Date": None})


def run_dht14(*words: str) -> tuple[str, int]:
    """Run the command `dht14`; return what it printed, and the most KiB that it had resident."""
    process = subprocess.Popen(
        [sys.executable, "-c", DHT14, *words], cwd=TOP, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return printed, usage.ru_maxrss


def measure(nodes: int, brief: bool) -> Run | None:
    """Run the scenario at this size; None when it broke off."""
    _, empty = run_dht14("sim", "--list")
    name = "growth-brief" if brief else "growth"
    printed, peak = run_dht14("sim", name, "--nodes", str(nodes), "--json")
    return Run(json.loads(printed), peak, empty) if printed else None


def size(text: str) -> int:
    """Parse a size that the table has."""
    if text in map(str, SIZES):
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(map(str, SIZES))}")


def main() -> int:
    """Measure the sizes, and write the page after each; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("nodes", nargs="*", type=size, metavar="NODES")
    parser.add_argument("--brief", action="store_true", help="leave the upkeep out")
    parser.add_argument("--draw", action="store_true", help="make tables and plot again, and run nothing")
    parser.add_argument("--page", type=Path, default=PAGE, metavar="FILE", help="the page to write")
    args = parser.parse_args()
    if not args.nodes and not args.draw:
        parser.error("give sizes, or --draw")
    good = True
    for nodes in args.nodes or [0]:
        page = args.page.read_text(encoding="utf-8")
        figures = figures_on(page)
        if nodes:
            run = measure(nodes, args.brief)
            good = good and run is not None and run.printed["good"]
            if run is None:
                continue
            figures[nodes] = column(run)
            print(f"{nodes:,} nodes: {figures[nodes]}", flush=True)
        args.page.write_text(with_tables(page, figures), encoding="utf-8")
    # Not before: what this process needs for it would count as memory of the processes that it starts.
    draw(figures_on(args.page.read_text(encoding="utf-8")), args.page.parent / "images" / "growth.svg")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
