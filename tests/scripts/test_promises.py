"""scripts/promises.py, and the table that it fills."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

TOP = Path(__file__).parents[2]
SCRIPT, PAGE = TOP / "scripts" / "promises.py", TOP / "docs" / "promises.md"
COMMAND = "python -m twisted.trial tests.records.test_store.MergeTests"


class PromisesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.script = runpy.run_path(str(SCRIPT))
        self.page = PAGE.read_text(encoding="utf-8")

    def test_page(self) -> None:
        """The page has the rows of the script, and says how long all of them take."""
        figures = self.script["figures_on"](self.page)
        self.assertEqual(self.script["with_table"](self.page, figures), self.page)
        self.assertEqual(list(figures), [(row.size, row.command) for row in self.script["ROWS"]])

    def test_promises(self) -> None:
        """Each promise of the page has a command, and each command a promise."""
        promised = re.findall(r"^\| (P\d+) \|(?! .* \| `(?:dht14|python|[A-Z_]+=))", self.page, re.MULTILINE)
        self.assertEqual(promised, [f"P{number}" for number in range(1, 24)])
        shown = {name for row in self.script["ROWS"] for name in row.promise.split(", ")}
        self.assertEqual(shown, set(promised))

    def test_tests(self) -> None:
        """The tests that the commands name exist."""
        for row in self.script["ROWS"]:
            for name in re.findall(r"(?<=[ ])tests\.[\w.]+", row.command):
                __import__(re.sub(r"\.[A-Z].*", "", name))
                path = name.split(".")
                module = sys.modules[re.sub(r"\.[A-Z].*", "", name)]
                for attribute in path[len(module.__name__.split(".")) :]:
                    module = getattr(module, attribute)

    def test_runs(self) -> None:
        """A command that is run has its figure on the page then; the other rows stay as they are."""
        path = Path(self.mktemp())
        path.write_text(self.script["with_table"](self.page, {}), encoding="utf-8")
        words = [sys.executable, str(SCRIPT), "--page", str(path), "tests.records.test_store"]
        ended = subprocess.run(words, capture_output=True, text=True, check=False)
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        figures = self.script["figures_on"](path.read_text(encoding="utf-8"))
        (found,) = (figure for (_, command), figure in figures.items() if command == COMMAND)
        self.assertRegex(found, r"^kept: \d+ tests passed$")
        self.assertEqual(list(figures.values()).count("not measured"), len(figures) - 1)

    def test_missed(self) -> None:
        """A test that fails, or is not there, keeps no promise."""
        row = self.script["Tests"]("P1", 1, "none", "tests.nothing_of_this_name")
        self.assertRegex(row.figure(), "^missed: 0 tests passed")
        row = self.script["Script"]("P1", 1, "none", "python -c 'print(7)'", "7", "8")
        self.assertEqual(row.figure(), "missed: 7")

    def test_skipped(self) -> None:
        """A test that a host cannot run shows nothing, and is no promise that was missed."""
        folder = Path(self.mktemp())
        folder.mkdir()
        lines = (
            "import unittest",
            "class T(unittest.TestCase):",
            " @unittest.skip('no')",
            " def test_it(self): 0",
        )
        (folder / "skipped_here.py").write_text("\n".join(lines))
        row = self.script["Tests"]("P1", 1, "none", f"PYTHONPATH={folder.absolute()} skipped_here")
        self.assertEqual(row.figure(), "not measured: 1 tests need what the host lacks; 0 passed")
        row = self.script["Script"]("P1", 1, "none", "python -c 'raise SystemExit(77)'", "7", "8")
        self.assertEqual(row.figure(), "not measured: it needs what the host lacks")
