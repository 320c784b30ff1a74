"""The first thing that anybody tries: "Five nodes in a minute" of the README, as it stands there."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.process.nodes import TIMEOUT, TOP, environment
from tests.process.ports import free_port

RUNS = int(os.environ.get("README_RUNS", "1"))
"""How often the block is run, each time from nothing; ten of ten must work. A suite has time for one."""


def blocks() -> list[str]:
    """The shell blocks of that section."""
    section = (TOP / "README.md").read_text().partition("## Five nodes in a minute")[2].partition("\n## ")[0]
    return re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


def free_base() -> int:
    """A number that makes ten free ports with one more digit behind it, which nobody else is given."""
    while True:
        ports = [free_port()]
        while ports[-1] % 10 < 9:
            ports.append(free_port())
        if ports == list(range(ports[-1] - 9, ports[-1] + 1)):
            return ports[0] // 10


class ReadmeTests(SynchronousTestCase):
    """On one core, with nobody between the commands: what a person waits for has happened by itself."""

    def test_five_nodes(self) -> None:
        """Two terminals, five nodes, a put at one, a get at another, two deaths, another get: all of it
        works."""
        for number in range(RUNS):
            began = time.monotonic()
            outcome = Trial(Path(self.mktemp()).absolute()).run()
            summary = f"run {number + 1}: exit {outcome.returncode}, {time.monotonic() - began:.1f} s"
            self.assertEqual(outcome.returncode, 0, f"{summary}\n{outcome.stdout}{outcome.stderr}")
            # On no terminal values come without a newline.
            self.assertEqual(outcome.stdout, "ready\n" + "hello, all" * 2, summary)
            self.assertRegex(outcome.stderr, r"stored on \d+ of 8 nodes|stored on this node only")
            if RUNS > 1:
                print(f"{summary}: {outcome.stderr.strip()}")


class Trial:
    """A checkout of its own, with this Python as its virtual environment and ports that are free."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.p2p, self.api, self.seed = free_base(), free_base(), free_port()
        top.mkdir(parents=True)
        for name in ("conf/config.ini", "Makefile", "setup.cfg", "pyproject.toml"):
            copy = top / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(TOP / name, copy)
        makefile = top / "Makefile"
        makefile.write_text(makefile.read_text().replace("8001", str(self.seed)))
        for name, module in (("twistd", "twisted.scripts.twistd"), ("dht14", "dht14.cmd.console")):
            run = "run" if name == "twistd" else "main"
            call = f"import sys; from {module} import {run} as run; sys.exit(run())"
            self._program(f".venv/bin/{name}", f'exec "{sys.executable}" -c "{call}" "$@"')
        self._program(".venv/bin/python", f'exec "{sys.executable}" "$@"')
        (top / ".venv" / "installed").touch()

    def _program(self, name: str, line: str) -> None:
        path = self.top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(0o755)

    def run(self) -> "subprocess.CompletedProcess[str]":
        """Type the first block into terminals of their own and the second into a third one, all at once."""
        terminals, third, *_ = blocks()
        commands = [line.partition("#")[0].strip() for line in terminals.splitlines()]
        others = [self._begin(command, f"terminal{number}") for number, command in enumerate(commands, 1)]
        try:
            shell = self._begin(f"set -e\n{self._with_free_ports(third)}", "terminal3")
            code = shell.wait(TIMEOUT)
            return subprocess.CompletedProcess(
                third, code, self._read("terminal3.out"), self._read("terminal3.err")
            )
        finally:
            self._end(others)

    def _with_free_ports(self, block: str) -> str:
        block, seeds = re.subn(r"\b127\.0\.0\.1:8001\b", f"127.0.0.1:{self.seed}", block)
        block, p2p = re.subn(r"\b127\.0\.0\.1:810\$n", f"127.0.0.1:{self.p2p}$n", block)
        block, api = re.subn(r"\b127\.0\.0\.1:740(?=\$n|[1-4]\b)", f"127.0.0.1:{self.api}", block)
        assert (seeds, p2p, api) == (1, 1, 3), "the block has other addresses than this test knows"
        return block

    def _begin(self, command: str, name: str) -> "subprocess.Popen[bytes]":
        settings = {
            "DHT14_SECURITY_DIFFICULTY": "4",
            "DHT14_NODE_P2P_ADDRESS": f"127.0.0.1:{self.p2p}0",
            "DHT14_NODE_API_ADDRESS": f"127.0.0.1:{self.api}0",
        }
        with open(self.top / f"{name}.out", "wb") as out, open(self.top / f"{name}.err", "wb") as err:
            return subprocess.Popen(
                [*_on_one_core(), "sh", "-c", command],
                cwd=self.top,
                env=environment(settings),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    def _read(self, name: str) -> str:
        return (self.top / name).read_text()

    def _end(self, terminals: "list[subprocess.Popen[bytes]]") -> None:
        for pidfile in self.top.glob("data/*/twistd.pid"):
            with contextlib.suppress(OSError, ValueError):
                os.kill(int(pidfile.read_text()), signal.SIGKILL)
        for terminal in terminals:
            # The session of the terminal: a node that its make has started, too.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(terminal.pid, signal.SIGKILL)
            terminal.wait(TIMEOUT)


def _on_one_core() -> list[str]:
    taskset = shutil.which("taskset")
    return [taskset, "--cpu-list", str(min(os.sched_getaffinity(0)))] if taskset else []
