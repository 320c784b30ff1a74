"""Commands that look into a node, in this process, with an admin surface that has scripted answers."""

import io
import os
import tempfile
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from dht14.cmd.main import main
from tests.cmd.admin_server import AdminServer
from tests.cmd.shell import Outcome, run


class _Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


class AdminCommandCase(SynchronousTestCase):
    """A command and a server for each test."""

    def setUp(self) -> None:
        self.patch(os, "environ", {name: text for name, text in os.environ.items() if "DHT14" not in name})
        # The path of a Unix socket must be short; that of a test is not.
        folder = tempfile.TemporaryDirectory(prefix="dht14-")
        self.addCleanup(folder.cleanup)
        self.data_dir = folder.name

    def ask(self, *words: str, answers: Mapping[str, Any]) -> Outcome:
        """Run a command against a socket that answers so."""
        with AdminServer(self.data_dir, answers) as self.server:
            return run(*words, *self.server.words)

    def ask_at_terminal(self, *words: str, answers: Mapping[str, Any]) -> str:
        """Run a command that prints to a terminal; return what it printed."""
        with AdminServer(self.data_dir, answers) as self.server:
            return at_terminal(*words, *self.server.words)


def at_terminal(*words: str) -> str:
    """Return what a command prints to a terminal."""
    out = io.BytesIO()
    terminal = _Terminal(out, write_through=True)
    with redirect_stdout(terminal), redirect_stderr(io.StringIO()):
        main(words)
    terminal.detach()
    return out.getvalue().decode()
