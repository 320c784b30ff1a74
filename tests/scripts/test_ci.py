""".ci/run, with a `make` that only prints."""

import os
import shutil
import subprocess
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

TOP = Path(__file__).parents[2]

MAKE = """#!/bin/sh
[ "$1" = "$FAILING" ] && code=2
[ "$1" = test ] && printf '%s' "$OUTPUT"
exit ${code:-0}
"""


class CiTests(SynchronousTestCase):
    def run_ci(self, output: str, failing: str = "") -> tuple[int, str]:
        """Return exit code and last line, for this output of the tests and a target that fails."""
        folder = Path(self.mktemp()).absolute()
        (folder / ".ci").mkdir(parents=True)
        shutil.copy(TOP / ".ci" / "run", folder / ".ci" / "run")
        make = folder / "make"
        make.write_text(MAKE)
        make.chmod(0o755)
        environment = {
            **os.environ,
            "PATH": f"{folder}:{os.environ['PATH']}",
            "OUTPUT": output,
            "FAILING": failing,
        }
        done = subprocess.run(
            [folder / ".ci" / "run"], env=environment, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout.splitlines()[-1]

    def test_passed(self) -> None:
        """The last line is that of the tests."""
        self.assertEqual(self.run_ci("Ran 3.\n3 passed, 0 failed\n"), (0, "3 passed, 0 failed"))
        counts = "2 passed, 0 failed, 1 skipped"
        self.assertEqual(self.run_ci(f"{counts}\n"), (0, counts))

    def test_failed(self) -> None:
        """A failed test is a failure, whatever the exit code of make; so is another failed target."""
        for failing in ("test", ""):
            self.assertEqual(self.run_ci("2 passed, 1 failed\n", failing)[1], "2 passed, 1 failed")
            self.assertNotEqual(self.run_ci("2 passed, 1 failed\n", failing)[0], 0)
        for failing in ("lint", "types", "build", "lint_deployment", "tox"):
            self.assertEqual(self.run_ci("3 passed, 0 failed\n", failing), (2, "3 passed, 0 failed"))

    def test_no_counts(self) -> None:
        """Tests without counts, or a run without tests, are a failure."""
        self.assertEqual(self.run_ci("Running 3 tests.\n", "test"), (2, "0 passed, 1 failed"))
        self.assertEqual(self.run_ci(""), (1, "0 passed, 1 failed"))
        self.assertNotEqual(self.run_ci("0 passed, 0 failed\n")[0], 0)
