"""scripts/growth.py, and the page that it fills."""

import contextlib
import io
import runpy
import sys
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

TOP = Path(__file__).parents[2]
SCRIPT, PAGE = TOP / "scripts" / "growth.py", TOP / "docs" / "growth.md"

PRINTED: dict[str, Any] = {
    "nodes": 98,
    "bootstrap_nodes": 2,
    "notes": {"hops of gets": 1.25, "bytes of gets": 1_733.2, "datagrams per node and minute": 51.64},
    "phases": {
        phase: {"datagrams": 11.9, "p50_ms": 195.4, "p99_ms": 381.5} for phase in ("joins", "puts", "gets")
    },
    "cpu_seconds": 50.6,
    "wall_seconds": 1_107.2,
    "good": True,
}
"""The figures of a run that a test needs, as `dht14 sim growth --json` prints them."""


class GrowthTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.script = runpy.run_path(str(SCRIPT))
        self.page = PAGE.read_text(encoding="utf-8")

    def run_main(self, *words: str) -> tuple[int, str]:
        """Run the script with these arguments; return its exit code and what it printed."""
        self.patch(sys, "argv", ["growth.py", *words])
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            code = self.script["main"]()
        return code, printed.getvalue()

    def test_page(self) -> None:
        """The page has the tables that the script makes of its figures; a size that has any has its hops."""
        figures = self.script["figures_on"](self.page)
        self.assertEqual(self.script["with_tables"](self.page, figures), self.page)
        self.assertTrue(figures[100])
        for nodes, cells in figures.items():
            self.assertEqual(bool(cells), "get: hops" in cells, nodes)

    def test_column(self) -> None:
        """A run becomes a column; what it has not measured says so."""
        run = self.script["Run"](PRINTED, peak_kib=51_000, empty_kib=11_000)
        column = self.script["column"](run)
        self.assertEqual(
            {
                name: column[name]
                for name in ("get: hops", "get: bytes", "put: ms, median", "the run: seconds")
            },
            {
                "get: hops": "1.25",
                "get: bytes": "1,733",
                "put: ms, median": "195",
                "the run: seconds": "1,107",
            },
        )
        self.assertEqual(column["upkeep of a record: bytes a check"], "not measured")

    def test_memory(self) -> None:
        """Memory is that of nodes alone, once their tables have had time to fill."""
        notes = {**PRINTED["notes"], "contacts in a table, after half an hour": 98.0}
        for printed, kib in (({**PRINTED, "notes": notes}, "400"), (PRINTED, "not measured")):
            column = self.script["column"](self.script["Run"](printed, peak_kib=51_000, empty_kib=11_000))
            self.assertEqual(column["memory of a node, KiB"], kib)
            self.assertEqual(column["the run: memory, MiB"], "50")

    def test_table(self) -> None:
        """A table has the figures of the sizes that were run beside the expectations of all, and gives them
        back."""
        figures = {100: {"get: hops": "1.10", "get: bytes": "1,700"}, 3_000: {"get: hops": "2.05"}}
        lines = self.script["table"](figures).splitlines()
        self.assertEqual(lines[0], "| nodes | 100 | 300 | 1,000 | 3,000 | 10,000 |")
        row = "| get: hops | 1.10 | not measured | not measured | 2.05 | not measured |"
        self.assertEqual(lines[2], row)
        self.assertEqual(
            lines[3].partition(" | ")[0], "| *expected, with the bucket widths of the code, all full*"
        )
        self.assertIn("| *log2 of the nodes* | 6.64 | 8.23 | 9.97 | 11.55 | 13.29 |", lines)
        page = self.script["with_tables"](f"a\n{self.script['BEGIN']}{self.script['END']}b\n", figures)
        found = self.script["figures_on"](page)
        self.assertEqual({nodes: cells for nodes, cells in found.items() if cells}, figures)
        self.assertEqual(self.script["with_tables"](page, figures), page)
        self.assertEqual((page[:2], page[-2:]), ("a\n", "b\n"))

    def test_fits(self) -> None:
        """A figure that doubles with the network has the power 1; one that grows by the same with each
        doubling has that; one size has no fit."""
        figures = {
            100: {"get: hops": "1.00", "get: bytes": "100", "put: bytes": "7"},
            300: {"get: hops": f"{1 + 1.584963}", "get: bytes": "300"},
        }
        lines = self.script["fits"](figures).splitlines()[2:]
        self.assertEqual([line.split(" | ")[0] for line in lines], ["| get: hops", "| get: bytes"])
        self.assertEqual(lines[0].split(" | ")[3], "+1.000")
        self.assertEqual(lines[1].split(" | ")[4], "+1.00 |")

    def test_plot(self) -> None:
        """The plot has each part, with text that is text; the same figures give the same file."""
        figures = {100: {"get: hops": "1.10"}, 300: {"get: hops": "1.30"}}
        paths = [Path(self.mktemp()) / "growth.svg" for _ in range(2)]
        for path in paths:
            self.script["draw"](figures, path)
        drawn = paths[0].read_bytes()
        self.assertEqual(drawn, paths[1].read_bytes())
        for title, _ in self.script["PANELS"]:
            self.assertIn(f">{title}</text>".encode(), drawn)

    def test_draw(self) -> None:
        """`--draw` runs nothing, and leaves a page as it is that has its tables; the plot lies beside it."""
        page = Path(self.mktemp()) / "growth.md"
        page.parent.mkdir()
        page.write_text(self.page, encoding="utf-8")
        self.assertEqual(self.run_main("--draw", "--page", str(page)), (0, ""))
        self.assertEqual(page.read_text(encoding="utf-8"), self.page)
        self.assertTrue((page.parent / "images" / "growth.svg").exists())

    def test_sizes(self) -> None:
        """A size without a column is refused, and so is a call that asks for nothing."""
        for words in (["250"], ["many"], []):
            with self.assertRaises(SystemExit), contextlib.redirect_stderr(io.StringIO()) as error:
                self.run_main(*words)
            self.assertRegex(error.getvalue(), "none of 100, 300, 1000, 3000, 10000|give sizes, or --draw")
