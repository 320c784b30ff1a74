import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from dht14.cmd.main import COMMANDS
from tests.process.nodes import TIMEOUT, TOP, environment

PAGE = TOP / "docs" / "dht14.1"


class ManPageTests(SynchronousTestCase):
    """docs/dht14.1, and scripts/man_page.py, which makes it."""

    def run_process(self, *command: str | Path) -> str:
        done = subprocess.run(
            command,
            env=environment({"LC_ALL": "C.UTF-8", "MANWIDTH": "80", "PATH": os.environ["PATH"]}),
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    def test_up_to_date(self) -> None:
        """It is what the parsers say now; if not: make man."""
        folder = Path(self.mktemp()).absolute()
        self.run_process(sys.executable, TOP / "scripts" / "man_page.py", folder)
        self.assertEqual(PAGE.read_text(), (folder / PAGE.name).read_text())

    def test_complete(self) -> None:
        """It has every command."""
        headings = re.findall(r"^\.SS (.+)$", PAGE.read_text(), re.MULTILINE)
        self.assertEqual([heading.replace("\\-", "-") for heading in headings], list(COMMANDS))

    def test_rendered(self) -> None:
        """groff and man read it without a warning, and show the text as it was written."""
        if shutil.which("groff") is None or shutil.which("man") is None:
            raise SkipTest("there is no groff, or no man")
        self.run_process("groff", "-ww", "-man", "-Tutf8", PAGE)
        shown = self.run_process("man", "--warnings", "-l", PAGE)
        plain = re.sub(r"\x1b\[[0-9;]*m|.\x08", "", shown)
        self.assertIn("dht14 put [options] KEY VALUE", plain)
