"""The examples of docs/embedding.md, as they stand there."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.process.nodes import TIMEOUT, TOP, environment, eventually, run_program
from tests.process.ports import free_port
from tests.process.test_testnet import children, is_running

SERVE = """
from fastapi.testclient import TestClient
from app import app

with TestClient(app) as client:
    print(client.put("/values/greeting", content=b"hello").json())
    print(client.get("/values/greeting").content, client.get("/values/nothing").status_code)
"""

FORGOTTEN = """
import gc
gc.collect()
print(sum(type(one).__name__ == "NodeService" for one in gc.get_objects()), "services")
"""

UVLOOP = """
import uvloop
from dht14.aio import run_node
from dht14.testing import testnet

async def main():
    async with run_node("data", difficulty=0) as node:
        await node.put(b"x" * 50_000, key="large")
        large = await node.get("large")
    async with testnet(2) as cluster:
        await cluster.clients[0].put(b"hello", key="greeting")
        print(len(large.value), (await cluster.clients[1].get("greeting")).value)

uvloop.run(main())
"""


class EmbeddingPageTests(SynchronousTestCase):
    """Each example in a folder of its own, outside the checkout."""

    def setUp(self) -> None:
        page = (TOP / "docs" / "embedding.md").read_text()
        examples = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
        self.asyncio, self.fastapi, self.twisted, self.logging, *examples = examples
        self.pytest, self.unittest, self.trial = examples
        (self.shell,) = re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
        folder = tempfile.TemporaryDirectory(prefix="dht14-examples-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.temporary = self.folder / "temporary"
        self.temporary.mkdir()

    def end_of_python(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run Python in the folder until it ends."""
        extra = {"TMPDIR": str(self.temporary)}
        return run_program(sys.executable, *words, folder=self.folder, extra=extra)

    def run_python(self, *words: str) -> str:
        """Run Python in the folder; return its stdout. It must end well, and leave no process or file."""
        ended = self.end_of_python(*words)
        self.assertEqual(ended.returncode, 0, ended.stdout + ended.stderr)
        self.assertEqual(list(self.temporary.iterdir()), [])
        return ended.stdout + (ended.stderr if "unittest" in words else "")

    def write(self, name: str, code: str) -> str:
        (self.folder / name).write_text(code)
        return name

    def test_asyncio(self) -> None:
        """Two nodes on one loop."""
        out = self.run_python("-W", "error::ResourceWarning", self.write("example.py", self.asyncio))
        self.assertEqual(out, "2 copies\nb'hello, all'\n")

    def test_uvloop(self) -> None:
        """A node, a client and a network on uvloop, which web servers use."""
        self.assertEqual(self.run_python(self.write("example.py", UVLOOP)), "50000 b'hello'\n")

    def test_twisted(self) -> None:
        """Two nodes on Twisted's reactor."""
        out = self.run_python(self.write("example.py", self.twisted))
        self.assertEqual(out, "2 copies\nb'hello, all'\n")

    def test_logging(self) -> None:
        """The log of nodes goes where the program's own goes, and nodes that have stopped are forgotten."""
        code = self.logging + self.asyncio + FORGOTTEN
        ended = self.end_of_python(self.write("example.py", code))
        self.assertEqual(ended.stdout, "2 copies\nb'hello, all'\n0 services\n", ended.stderr)
        self.assertIn("INFO:twisted:Joined the network", ended.stderr)

    def test_fastapi(self) -> None:
        """A node that lives as long as the server."""
        self.write("app.py", self.fastapi)
        out = self.run_python(self.write("serve.py", SERVE))
        self.assertEqual(out, "{'copies': 1}\nb'hello' 404\n")

    def test_pytest(self) -> None:
        """Networks in pytest: one for a test, and one that tests share."""
        out = self.run_python("-m", "pytest", "-p", "no:cacheprovider", self.write("test_it.py", self.pytest))
        self.assertIn("2 passed", out)

    def test_failing_pytest(self) -> None:
        """A failing test leaves nothing, either."""
        failing = self.pytest.replace('== b"hello"', '== b"other"')
        ended = self.end_of_python(
            "-m", "pytest", "-p", "no:cacheprovider", self.write("test_it.py", failing)
        )
        self.assertIn("2 failed", ended.stdout)
        self.assertEqual(list(self.temporary.iterdir()), [])

    def test_killed_pytest(self) -> None:
        """Nor does one that is killed in the middle of a test."""
        endless = self.pytest.replace("await cluster.kill(1, 2)", "import time; time.sleep(600)")
        running = subprocess.Popen(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", self.write("test_it.py", endless)],
            cwd=self.folder,
            env={**environment({}), "TMPDIR": str(self.temporary)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.addCleanup(running.kill)
        eventually(lambda: len(children(running.pid)) == 6, "the host and its five nodes")
        below = children(running.pid)
        running.send_signal(signal.SIGKILL)
        running.wait(TIMEOUT)
        eventually(lambda: not any(map(is_running, below)), "the end of the nodes")
        eventually(lambda: not list(self.temporary.iterdir()), "the end of the folder")

    def test_unittest(self) -> None:
        """A partition in unittest."""
        out = self.run_python("-m", "unittest", self.write("test_it.py", self.unittest))
        self.assertIn("Ran 1 test", out)

    def test_trial(self) -> None:
        """A node of the test itself joins, in trial."""
        self.write("test_it.py", self.trial)
        self.assertIn("PASSED (successes=1)", self.run_python("-m", "twisted.trial", "test_it"))

    def test_command(self) -> None:
        """A network on the command line."""
        port = free_port()
        dht14 = self.folder / "bin" / "dht14"
        dht14.parent.mkdir()
        run = "import sys; from dht14.cmd.main import main; sys.exit(main())"
        dht14.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{run}" "$@"\n')
        dht14.chmod(0o755)
        script = self.shell.replace("7400", str(port)).replace("7404", str(port + 4))
        shell = subprocess.Popen(
            ["sh", "-e", "-c", f"{script}wait $!"],
            cwd=self.folder,
            env={
                **environment({"DHT14_NODE_API_ADDRESS": f"127.0.0.1:{port}"}),
                "PATH": f"{dht14.parent}{os.pathsep}{os.environ['PATH']}",
                "TMPDIR": str(self.temporary),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.addCleanup(self.end_session, shell)
        out, _ = shell.communicate(timeout=TIMEOUT)
        self.assertEqual(shell.returncode, 0, out)
        self.assertIn("hello, all", out)
        self.assertEqual(list(self.temporary.iterdir()), [])

    def end_session(self, shell: "subprocess.Popen[str]") -> None:
        """Kill what the shell may have left in the background."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGKILL)
        shell.wait()
        assert shell.stdout is not None
        shell.stdout.close()
