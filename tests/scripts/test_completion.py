import re
import shutil
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from dht14.cmd.main import COMMANDS
from tests.process.nodes import TIMEOUT, TOP, environment


class CompletionTests(SynchronousTestCase):
    """docs/completion, and scripts/completion.py, which makes it."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        script = TOP / "scripts" / "completion.py"
        self.run_process(sys.executable, str(script), str(self.folder))

    def run_process(self, *command: str) -> str:
        done = subprocess.run(
            command, env=environment({}), capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    def complete(self, *words: str) -> set[str]:
        """What bash offers for the last of these words."""
        script = (
            f'source {self.folder}/dht14; COMP_WORDS=(dht14 "$@"); COMP_CWORD=$#; _shtab_dht14; '
            'printf "%s\\n" "${COMPREPLY[@]}"'
        )
        return set(self.run_process("bash", "-c", script, "bash", *words).split())

    def test_up_to_date(self) -> None:
        """The files are what the parsers say now; if not: make completion."""
        for name in ("dht14", "_dht14"):
            kept = TOP / "docs" / "completion" / name
            self.assertEqual(kept.read_text(), (self.folder / name).read_text())

    def test_bash(self) -> None:
        """bash completes commands, options and their values."""
        if shutil.which("bash") is None:
            raise SkipTest("there is no bash")
        self.assertLessEqual(set(COMMANDS), self.complete(""))
        self.assertEqual(self.complete("sta"), {"status"})
        self.assertEqual(self.complete("trace", "k", "--fo"), {"--format"})
        self.assertEqual(self.complete("trace", "k", "--format", ""), {"text", "json", "chrome"})

    def test_zsh(self) -> None:
        """The file for zsh names every command."""
        text = (self.folder / "_dht14").read_text()
        self.assertTrue(text.startswith("#compdef dht14"))
        for name in COMMANDS:
            self.assertTrue(re.search(rf"^ +{name}:'", text, re.MULTILINE), name)
        self.assertIn("status:'show a node at a glance", text)
