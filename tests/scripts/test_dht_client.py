import ast
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from dht14.wire.api_messages import Get, Put, encode_failure
from tests.cmd.api_server import ApiServer

SCRIPT = Path(__file__).parents[2] / "scripts" / "dht_client.py"


def run(port: int, *words: str) -> tuple[int, bytes, bytes]:
    """Exit code, standard output and standard error of the script, run without what is installed."""
    command = [sys.executable, "-I", "-S", str(SCRIPT), "-a", "127.0.0.1", "-p", str(port), *words]
    ended = subprocess.run(command, capture_output=True, timeout=60, check=False)
    return ended.returncode, ended.stdout, ended.stderr


class DhtClientTests(SynchronousTestCase):
    def test_standard_library_only(self) -> None:
        """The script imports nothing but the standard library."""
        tree = ast.parse(SCRIPT.read_text())
        names = {
            alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
        }
        names |= {node.module or "." for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        self.assertEqual(names - sys.stdlib_module_names, set())

    def test_set_and_get(self) -> None:
        """What is set under a key, a text that is padded with zeros, can be got; the PUT carries ttl 1."""
        key = "schlüssel".encode().ljust(32, b"\0")
        with ApiServer() as node:
            self.assertEqual(
                run(node.port, "-s", "-k", "schlüssel", "-d", "wert"), (0, _lines("schlüssel", "wert"), b"")
            )
            self.assertEqual(run(node.port, "-g", "-k", "schlüssel"), (0, _lines("schlüssel", "wert"), b""))
        self.assertEqual(node.requests, [Put(1, 0, key, b"wert"), Get(key)])

    def test_random(self) -> None:
        """What is not given for a set is random, and said."""
        with ApiServer() as node:
            code, out, _ = run(node.port, "-s")
        (put,) = node.requests
        assert isinstance(put, Put)
        self.assertEqual((code, out), (0, b"SUCCESS " + put.key.rstrip(b"\0") + b"\n" + put.value + b"\n"))

    def test_failure(self) -> None:
        """FAILURE is printed, and is exit code 1."""
        with ApiServer(lambda request: encode_failure(request.key)) as node:
            self.assertEqual(run(node.port, "-g", "-k", "k"), (1, b"FAILURE k\n", b""))

    def test_no_answer(self) -> None:
        """A connection that is closed without an answer is exit code 1 and a line."""
        with ApiServer(lambda request: b"") as node:
            code, out, error = run(node.port, "-g", "-k", "k")
        self.assertEqual((code, out, error.count(b"\n")), (1, b"", 1))

    def test_wrong_usage(self) -> None:
        """A key over 32 bytes, or none for a get, is wrong usage."""
        for words in (("-s", "-k", "ü" * 17), ("-g",), ("-s", "-g"), (), ("-s", "-k", "k", "-d", "")):
            code, out, error = run(1, *words)
            self.assertEqual((code, out), (2, b""), words)
            self.assertNotIn(b"Traceback", error)


def _lines(key: str, value: str) -> bytes:
    return f"SUCCESS {key}\n{value}\n".encode()
