import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

# Press Ctrl-C at the import of a module, or (without a name) when the command is done; then run `dht14`.
PROGRAM = """\
import atexit, os, signal, sys

MODULE, HANDLER = sys.argv[1:3]
sys.argv[1:] = sys.argv[3:]

def press():
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(1000):
        pass  # Python 3.10 looks for signals in loops, not when `os.kill` returns.

class Presser:
    def find_spec(self, name, path=None, target=None):
        if name == MODULE:
            press()

sys.meta_path.insert(0, Presser())
signal.signal(signal.SIGINT, getattr(signal, HANDLER))
if not MODULE:
    atexit.register(press)
from dht14.cmd.console import main
sys.exit(main())
"""
INTERRUPTED = b'{"error": "interrupted", "message": "interrupted"}\n'


class ConsoleTests(SynchronousTestCase):
    """The console script `dht14`, and Ctrl-C."""

    def press(self, at: str, *words: str, handler: str = "default_int_handler") -> tuple[int, bytes, bytes]:
        """Exit code, stdout, stderr."""
        ended = subprocess.run(
            [sys.executable, "-c", PROGRAM, at, handler, *words], capture_output=True, timeout=60, check=False
        )
        return ended.returncode, ended.stdout, ended.stderr

    def test_import(self):
        """Ctrl-C while modules are imported ends a command with 130 and without a traceback; with --json
        there is an object."""
        for module in ("dht14.cmd.main", "json", "dht14.cmd.keys"):
            self.assertEqual(self.press(module, "key", "--text", "k"), (130, b"", b""), module)
            self.assertEqual(
                self.press(module, "key", "--text", "k", "--json"), (130, INTERRUPTED, b""), module
            )
        self.assertEqual(self.press("dht14.cmd.interrupts", "key", "--text", "k"), (130, b"", b""))

    def test_done(self):
        """Ctrl-C after the command has printed its answer adds nothing to it."""
        code, out, error = self.press("", "key", "--text", "k", "--json")
        self.assertEqual((code, out.count(b"\n"), error), (130, 1, b""))
        self.assertNotIn(b"interrupted", out)

    def test_ignored(self):
        """A command of which Ctrl-C is ignored, as in the background of a script, runs to its end."""
        code, out, error = self.press("dht14.cmd.main", "key", "--text", "k", handler="SIG_IGN")
        self.assertEqual((code, out.count(b"\n"), error), (0, 1, b""))

    def test_installed(self):
        """This script is the one that is installed."""
        setup = ConfigParser()
        setup.read(Path(__file__).parents[2] / "setup.cfg")
        scripts = setup["options.entry_points"]["console_scripts"]
        self.assertEqual(scripts.strip(), "dht14 = dht14.cmd.console:main")
