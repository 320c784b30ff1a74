"""Power cuts, in small. All of it, and 10,000 of them: `tox -e cuts`."""

import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from tests.cuts.recording import NO_COMPILER, has_shim
from tests.process.nodes import TOP, environment

TIMEOUT = 300.0


def run(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-b", "-m", "tests.cuts.run", "--workers", "1", *words],
        cwd=TOP,
        env=environment({}),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


class CutTests(SynchronousTestCase):
    skip = None if has_shim() else NO_COMPILER

    def test_cuts(self) -> None:
        """What was acknowledged before a power cut is there after the next start, wherever it was cut."""
        done = run("--cuts", "300", "--steps", "12", "--only", "files", "life")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertRegex(done.stdout, r"\n[23]\d\d cuts, .*; 0 cuts lost or damaged something\n")

    def test_mutants(self) -> None:
        """A node that acknowledges too early, or flushes no names, is found out; a sound one is not."""
        done = run("--mutants", "none", "early-receipts", "names-not-flushed")
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertRegex(done.stdout, r"\Anone +NOT FOUND: 0 of \d\d\d cuts")
        self.assertEqual(done.stdout.count(" found: "), 2, done.stdout)
