"""scripts/run_tests.py."""

import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

SCRIPT = Path(__file__).parents[2] / "scripts" / "run_tests.py"

HEAD = """
import os, time
from pathlib import Path
from unittest import SkipTest
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
"""

GOOD = """
class GoodTests(SynchronousTestCase):
    def test_one(self):
        "It passes."
    def test_two(self):
        Logger().info("x" * 100_000)
    def test_skipped(self):
        raise SkipTest("no need")
"""

BAD = """
class BadTests(SynchronousTestCase):
    def test_long_message(self):
        self.fail("α" * 100_000)
    def test_surrogate(self):
        self.fail("\\udcff")
    def test_logged_error(self):
        Logger().failure("wrong", Failure(ValueError("y" * 100_000)))
    def test_own_exception(self):
        class Own(Exception):
            pass
        raise Own
"""

DYING = """
class DyingTests(SynchronousTestCase):
    def test_dies(self):
        os._exit(0)
"""

ALONE = """
class TogetherTests(SynchronousTestCase):
    def test_writes(self):
        Path("../ended").write_text("")
        self.assertFalse(Path("../alone").exists())
class AloneTests(SynchronousTestCase):
    runs_alone = True
    def test_reads(self):
        Path("../alone").write_text("")
        self.assertTrue(Path("../ended").exists())
"""


class RunTestsTests(SynchronousTestCase):
    def run_tests(self, tests: str, *words: str) -> "subprocess.CompletedProcess[str]":
        """What comes of a module of these tests."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        (folder / "some_tests.py").write_text(HEAD + tests, encoding="utf-8")
        return subprocess.run(
            [sys.executable, str(SCRIPT), "--jobs", "2", "--directory", str(folder), *words, "some_tests"],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(folder), "PYTHONIOENCODING": "utf-8"},
        )

    def assert_counts(self, done: "subprocess.CompletedProcess[str]", code: int, last_line: str) -> None:
        self.assertEqual((done.returncode, done.stdout.splitlines()[-1]), (code, last_line), done.stderr)

    def test_passed(self) -> None:
        """The last line counts what passed and was skipped; a long line of the log does no harm."""
        self.assert_counts(self.run_tests(GOOD), 0, "2 passed, 0 failed, 1 skipped")

    def test_failed(self) -> None:
        """Each test that fails is counted, however long its message is and whatever it raises."""
        done = self.run_tests(GOOD + BAD)
        self.assert_counts(done, 1, "2 passed, 4 failed, 1 skipped")
        self.assertLess(len(done.stdout), 100_000)

    def test_process_dies(self) -> None:
        """A test whose process ends has failed, though the process ends with 0."""
        self.assert_counts(self.run_tests(DYING), 1, "0 passed, 1 failed")

    def test_not_found(self) -> None:
        """A module that is not there or cannot be imported has failed, and so has a run without tests."""
        self.assert_counts(self.run_tests("import nothing_of_this_name"), 1, "0 passed, 1 failed")
        self.assert_counts(self.run_tests(""), 1, "0 passed, 0 failed")

    def test_alone(self) -> None:
        """Tests that run alone begin when all others have ended."""
        self.assert_counts(self.run_tests(ALONE), 0, "2 passed, 0 failed")

    def test_report(self) -> None:
        """The page has every test, with the message of those that failed."""
        page = Path(self.mktemp()).absolute()
        self.run_tests(GOOD + BAD, "--report", str(page))
        text = page.read_text(encoding="utf-8")
        for name in ("GoodTests.test_one", "BadTests.test_long_message", "It passes.", "no need", "α" * 100):
            self.assertTrue(name in text, name)
