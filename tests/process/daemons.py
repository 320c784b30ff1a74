"""Real twistd processes in the background, at most one per test."""

import os
import signal
from pathlib import Path

from attrs import frozen

from tests.process.nodes import VoidPhone, eventually, run_twistd
from tests.process.ports import free_port
from tests.process.test_start import ProcessTestCase


@frozen
class Daemon:
    """A background node, with its files in `data_dir`."""

    pid: int
    api_port: int
    data_dir: Path

    @property
    def log(self) -> str:
        """Return its log file."""
        return (self.data_dir / "twistd.log").read_text()

    def wait_for(self, what: str) -> None:
        """Return once the log contains `what`."""
        eventually(lambda: what in self.log, f"the line {what!r}")

    def is_alive(self) -> bool:
        """Whether the process exists."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def end(self) -> None:
        """Send SIGTERM, and wait for the end."""
        os.kill(self.pid, signal.SIGTERM)
        eventually(lambda: not self.is_alive(), "the daemon's end")

    def client(self) -> VoidPhone:
        """Open a connection to its API."""
        return VoidPhone(self.api_port)


class DaemonTestCase(ProcessTestCase):
    """Tests of a background node; each kills it at its end."""

    @property
    def data_dir(self) -> Path:
        return self.folder / "data" / "node"

    def start(self, *words: str, extra: dict[str, str] | None = None) -> Daemon:
        """Start a daemon; twistd must print nothing."""
        p2p, api = free_port(), free_port()
        ports = ("--p2p-address", f"127.0.0.1:{p2p}", "--api-address", f"127.0.0.1:{api}")
        done = run_twistd("dht14", *ports, *words, folder=self.folder, extra=extra)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
        pidfile = self.data_dir / "twistd.pid"
        daemon = Daemon(int(eventually(pidfile.read_text, "the pid file")), api, self.data_dir)
        self.addCleanup(self.kill, daemon)
        return daemon

    def kill(self, daemon: Daemon) -> None:
        if daemon.is_alive():
            os.kill(daemon.pid, signal.SIGKILL)
