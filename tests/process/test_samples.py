"""The sample clients of docs/voidphone.md, compiled and run against a real node.

A sample whose compiler or interpreter is not here is skipped.
"""

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from twisted.trial.unittest import SkipTest

from tests.process.nodes import TIMEOUT, TOP
from tests.process.ports import free_port
from tests.process.test_network import NetworkTestCase

SAMPLES = TOP / "docs" / "examples" / "voidphone"
LINES = 40
SHORT = b"\0\4\2\x8c"
"""A SUCCESS that ends with its header."""
LARGEST = 65_495
# Words of a command line are decoded by the locale in Java.
ENVIRONMENT = {**os.environ, "LC_ALL": "C.UTF-8"}


HOW_TO_ASK = {"go": "version", "java": "-version", "javac": "-version"}
"""The word by which a tool says its version; of all others it is `--version`."""


def _works(tool: str) -> bool:
    """Whether a tool is here and can be run. One can be a proxy that has nothing behind it."""
    if shutil.which(tool) is None:
        return False
    asked = [tool, HOW_TO_ASK.get(tool, "--version")]
    return subprocess.run(asked, capture_output=True, timeout=TIMEOUT, check=False).returncode == 0


class SampleCase(NetworkTestCase):
    """What each sample promises. Subclasses name its file and its tools."""

    file: ClassVar[str]
    tools: ClassVar[Sequence[str]]

    def setUp(self) -> None:
        super().setUp()
        for tool in self.tools:
            if not _works(tool):
                raise SkipTest(f"no {tool} here that works")
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)
        self.command = self.compiled()
        self.node = self.network.node().wait_for_api()

    def compiled(self) -> Sequence[str]:
        """Compile the sample into `self.folder`; return the command that runs it."""
        raise NotImplementedError

    def compile(self, *words: str | Path, extra: dict[str, str] | None = None) -> None:
        """Run a compiler, which must have nothing to say."""
        ended = subprocess.run(
            words,
            cwd=self.folder,
            env={**ENVIRONMENT, **(extra or {})},
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        self.assertEqual((ended.returncode, ended.stdout, ended.stderr), (0, "", ""))

    def run_sample(self, *words: str, port: int | None = None) -> tuple[int, bytes]:
        """Return the exit code and what is on stdout. A failure says why on stderr, without a traceback."""
        address = ("127.0.0.1", str(port or self.node.api_port))
        ended = subprocess.run(
            [*self.command, *address, *words],
            cwd=self.folder,
            env=ENVIRONMENT,
            capture_output=True,
            timeout=TIMEOUT,
            check=False,
        )
        lines = ended.stderr.splitlines()
        self.assertEqual(len(lines), 0 if ended.returncode == 0 else 1, ended.stderr)
        return ended.returncode, ended.stdout

    def impostor(self, reply: bytes) -> int:
        """Return the port of something that sends this to one client, and hangs up."""
        listener = socket.create_server(("127.0.0.1", 0))
        listener.settimeout(TIMEOUT)

        def answer() -> None:
            with listener, listener.accept()[0] as client:
                client.recv(LARGEST)
                client.sendall(reply)

        thread = threading.Thread(target=answer)
        thread.start()
        self.addCleanup(thread.join)
        port: int = listener.getsockname()[1]
        return port

    def check(self) -> None:
        """The sample puts and gets text, and values of any size and any bytes, and its exit codes are those
        of scripts/dht_client.py."""
        self.assertLessEqual(len((SAMPLES / self.file).read_text().splitlines()), LINES)
        text = "grüße, alle"
        self.assertEqual(self.run_sample("put", "schlüssel", text), (0, b""))
        self.assertEqual(self.run_sample("get", "schlüssel"), (0, text.encode()))
        with self.node.client() as client:
            self.assertEqual(client.get("schlüssel".encode().ljust(32, b"\0")), text.encode())
            value = self.rng.randbytes(LARGEST)
            self.assertTrue(client.put(b"k" * 32, value))
        self.assertEqual(self.run_sample("get", "k" * 32), (0, value))
        self.assertEqual(self.run_sample("put", "k" * 32, "v" * LARGEST)[0], 0)
        self.assertEqual(self.run_sample("get", "k" * 32), (0, b"v" * LARGEST))
        self.assertEqual(self.run_sample("get", "nothing"), (1, b""))
        self.assertEqual(self.run_sample("get", "k", port=free_port()), (1, b""))
        for reply in (b"", b"\0", SHORT, b"\0\x24" + SHORT[2:], b"\0\x24\2\x95" + bytes(32)):
            self.assertEqual(self.run_sample("get", "k", port=self.impostor(reply)), (1, b""), reply)
        for wrong in (
            ("get", "k" * 33),
            ("put", "k", ""),
            ("put", "k", "v" * (LARGEST + 1)),
            ("get",),
            ("put", "k"),
        ):
            self.assertEqual(self.run_sample(*wrong), (2, b""))


class CTests(SampleCase):
    file = "dht.c"
    tools = ("gcc",)

    def compiled(self) -> Sequence[str]:
        program = self.folder / "dht"
        self.compile("gcc", "-Wall", "-Wextra", "-Werror", "-O2", "-o", program, SAMPLES / self.file)
        return [str(program)]

    def test_c(self) -> None:
        """The sample in C keeps the promise of `check`."""
        self.check()


class JavaTests(SampleCase):
    file = "Dht.java"
    tools = ("javac", "java")

    def compiled(self) -> Sequence[str]:
        self.compile("javac", "-encoding", "UTF-8", "-Xlint:all", "-d", self.folder, SAMPLES / self.file)
        return ["java", "-cp", str(self.folder), "Dht"]

    def test_java(self) -> None:
        """The sample in Java keeps the promise of `check`."""
        self.check()


class GoTests(SampleCase):
    file = "dht.go"
    tools = ("go",)

    def compiled(self) -> Sequence[str]:
        program = self.folder / "dht"
        private = {"GOCACHE": str(self.folder / "cache"), "GOFLAGS": "-mod=mod", "GO111MODULE": "off"}
        self.compile("go", "build", "-o", program, SAMPLES / self.file, extra=private)
        return [str(program)]

    def test_go(self) -> None:
        """The sample in Go keeps the promise of `check`."""
        self.check()


class RustTests(SampleCase):
    file = "dht.rs"
    tools = ("rustc",)

    def compiled(self) -> Sequence[str]:
        program = self.folder / "dht"
        self.compile("rustc", "--edition", "2021", "-D", "warnings", "-o", program, SAMPLES / self.file)
        return [str(program)]

    def test_rust(self) -> None:
        """The sample in Rust keeps the promise of `check`."""
        self.check()


class JavaScriptTests(SampleCase):
    file = "dht.js"
    tools = ("node",)

    def compiled(self) -> Sequence[str]:
        return ["node", str(SAMPLES / self.file)]

    def test_javascript(self) -> None:
        """The sample in JavaScript keeps the promise of `check`."""
        self.check()
