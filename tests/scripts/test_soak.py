"""scripts/soak.py, what it judges by, and the page that it fills."""

import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.process.usage import Bounds, Growth, Sample, sample

TOP = Path(__file__).parents[2]
SCRIPT, PAGE = TOP / "scripts" / "soak.py", TOP / "docs" / "soak.md"


def samples(memory: Callable[[int], float], descriptors: Callable[[int], int]) -> list[Sample]:
    """An hour of samples of one life."""
    return [
        Sample(
            at=10.0 * number,
            life=1,
            memory=memory(number),
            resident=60.0,
            descriptors=descriptors(number),
            threads=3,
            files=11,
            data=1.5,
            log=0.1,
            cpu=0.1 * number,
        )
        for number in range(360)
    ]


class GrowthTests(SynchronousTestCase):
    """A leak is told from noise."""

    def test_flat(self) -> None:
        """Noise and single peaks break no bound."""
        flat = samples(lambda n: 45 + n % 7 + 30 * (n == 200), lambda n: 20 + n % 11)
        growth = Growth.of(flat)
        self.assertEqual(growth.breaches(Bounds()), [])
        self.assertLess(abs(growth.memory_per_hour), 1.0)

    def test_leaks(self) -> None:
        """Two KiB a second, and a descriptor in ten minutes, do."""
        leaking = samples(lambda n: 45 + n % 7 + 20 * n / 1024, lambda n: 20 + n % 11 + n // 60)
        memory, descriptors = Growth.of(leaking).breaches(Bounds())
        self.assertRegex(memory, "^memory grew by ")
        self.assertRegex(descriptors, "^descriptors grew by ")

    def test_short(self) -> None:
        """A few seconds say nothing of growth."""
        growing = samples(lambda n: 45 + 10 * n, lambda n: 20 + 10 * n)
        self.assertEqual(Growth.of(growing[:3]).breaches(Bounds()), [])
        self.assertEqual(len(Growth.of(growing[:5]).breaches(Bounds())), 2)

    def test_sample(self) -> None:
        """A process is measured; one that has ended raises OSError, also before its parent asks for it."""
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "twistd.log").write_bytes(bytes(1 << 20))
        (folder / "values").mkdir()
        (folder / "values" / "header").write_bytes(b"x")
        words = [sys.executable, "-c", "print(flush=True); input()"]
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            one = sample(process.pid, folder, 5.0, 1)
            self.assertTrue(1 < one.memory < one.resident < 100 and one.threads == 1 and one.descriptors >= 3)
            self.assertEqual((one.at, one.files), (5.0, 1))
            process.kill()
            while Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                os.sched_yield()
            with self.assertRaises(OSError):
                sample(process.pid, folder, 6.0, 1)

    def test_no_samples(self) -> None:
        """A life without samples has no growth."""
        self.assertEqual((Growth.of([]).breaches(Bounds()), Growth.of([]).memory_per_hour), ([], 0.0))


class SoakTests(SynchronousTestCase):
    """The script with three nodes."""

    def test_page(self) -> None:
        """The page has a place for the report, and keeps the rest."""
        script = runpy.run_path(str(SCRIPT))
        page = PAGE.read_text(encoding="utf-8")
        written = script["with_report"](page, "figures\n")
        self.assertEqual(script["with_report"](written, "figures\n"), written)
        self.assertIn("\n\nfigures\n\n", written)
        self.assertEqual(written.partition("<!--")[0], page.partition("<!--")[0])

    def test_runs(self) -> None:
        """Nodes are killed and started again under load; all answers are judged, and the page gets the
        tables."""
        page = Path(self.mktemp()).absolute()
        page.write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
        words = (
            *("--minutes", "0.12", "--nodes", "3", "--rate", "20", "--pause", "1", "--largest", "800"),
            *("--seed", "7"),  # Its first fault is a kill, at once.
        )
        ended = subprocess.run(
            [sys.executable, "-b", str(SCRIPT), *words, "--page", str(page)],
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual((ended.returncode, ended.stderr), (0, ""), ended.stdout)
        text = page.read_text(encoding="utf-8")
        self.assertIn(ended.stdout.strip(), text)
        self.assertIn("no promise broken", text)
        self.assertRegex(text, r"\| nodes: killed \| \d")
        for what in ("gets", "values kept", "changes told by watches"):
            self.assertRegex(text, rf"\| {what} \| [1-9]")
        self.assertRegex(text, r"(?m)^\| [23] \| [2-9] \|")
