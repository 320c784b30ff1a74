"""scripts/scenarios.py."""

import json
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

SCRIPT = Path(__file__).parents[2] / "scripts" / "scenarios.py"


def run(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, str(SCRIPT), *words], capture_output=True, text=True, check=False)


class ScenariosTests(SynchronousTestCase):
    def test_plays(self) -> None:
        """Each scenario has a line, and an object in the file; all is well when all promises were kept."""
        path = Path(self.mktemp())
        ended = run("deaths", "--seeds", "2", "--nodes", "8", "--values", "3", "--output", str(path))
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        self.assertEqual(
            [line.split()[:4] for line in ended.stdout.splitlines()],
            [["kept", "deaths", "seed", seed] for seed in "12"],
        )
        played = [json.loads(line) for line in path.read_text().splitlines()]
        self.assertEqual([(one["seed"], one["nodes"]) for one in played], [(1, 8), (2, 8)])

    def test_broken(self) -> None:
        """A run that breaks off is no promise kept, and the others are played all the same."""
        ended = run("newcomer", "deaths", "--nodes", "1", "--values", "1")
        self.assertEqual(ended.returncode, 1)
        self.assertEqual(
            [line.split()[:2] for line in ended.stdout.splitlines()],
            [["MISSED", "newcomer"], ["kept", "deaths"]],
        )

    def test_unknown(self) -> None:
        """A name that is none is refused."""
        ended = run("nowhere")
        self.assertEqual((ended.returncode, ended.stdout), (2, ""))
        self.assertIn("unknown: nowhere", ended.stderr)
