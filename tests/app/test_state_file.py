import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from dht14.app.data_dir import DataDir
from dht14.app.state_file import NodeState, StateFile, read_state


class StateFileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.data_dir = DataDir.open(self.mktemp())
        self.addCleanup(self.data_dir.close)
        self.file = Path(self.data_dir.path) / "state.json"

    def read(self) -> NodeState | None:
        return read_state(self.data_dir.path)

    def test_said(self) -> None:
        """The last state is read, until the node ends."""
        state = StateFile(self.data_dir)
        self.assertIsNone(self.read())
        state.write(["values", "join"], False)
        self.assertEqual(self.read(), NodeState(("join", "values"), False))
        state.write([], True)
        self.assertEqual(self.read(), NodeState((), True))
        state.remove()
        self.assertIsNone(self.read())

    def test_admin(self) -> None:
        """The file says where the admin surface is; that of an older version says nothing."""
        StateFile(self.data_dir, "127.0.0.1:7480").write([], True)
        self.assertEqual(self.read(), NodeState((), True, "127.0.0.1:7480"))
        self.file.write_text(f'{{"pid": {os.getpid()}, "awaited": [], "joined": true}}')
        self.assertEqual(self.read(), NodeState((), True))
        self.file.write_text("[]")
        self.assertIsNone(self.read())

    def test_no_news(self) -> None:
        """An unchanged state is not written again."""
        state = StateFile(self.data_dir)
        state.write([], True)
        written = self.file.stat().st_ino
        state.write([], True)
        self.assertEqual(self.file.stat().st_ino, written)

    def test_left_behind(self) -> None:
        """The file of a killed node is no state: its process does not exist. The next node removes it."""
        dead = subprocess.run(
            [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
        )
        rest = '"awaited": [], "joined": true}'
        self.file.write_text(f'{{"pid": {int(dead.stdout)}, {rest}')
        self.assertIsNone(self.read())
        self.file.write_text(f'{{"pid": {os.getpid()}, {rest}')
        self.assertIsNotNone(self.read())
        StateFile(self.data_dir)
        self.assertFalse(self.file.exists())

    def test_zombie(self) -> None:
        """A killed node runs no more, even if its parent has not taken note of its end."""
        node = subprocess.Popen(["sleep", "60"])
        self.addCleanup(node.wait)
        self.addCleanup(node.kill)
        self.file.write_text(f'{{"pid": {node.pid}, "awaited": [], "joined": true}}')
        self.assertIsNotNone(self.read())
        node.kill()
        os.waitid(os.P_PID, node.pid, os.WEXITED | os.WNOWAIT)
        self.assertIsNone(self.read())

    def test_others_process(self) -> None:
        """A process of another user runs, too."""

        def not_permitted(pid: int, signal: int) -> None:
            raise PermissionError

        StateFile(self.data_dir).write([], True)
        self.patch(os, "kill", not_permitted)
        self.assertEqual(self.read(), NodeState((), True))

    def test_damaged(self) -> None:
        """Any other content is no state, and no error."""
        for text in (
            "",
            "{",
            "[]",
            "{}",
            '{"pid": "x", "awaited": [], "joined": true}',
            '{"pid": 1, "awaited": 3}',
            '{"pid": 1e99, "awaited": [], "joined": true}',
            "\xff",
        ):
            self.file.write_text(text, encoding="latin-1")
            self.assertIsNone(self.read(), text)
        self.assertIsNone(read_state("no-such-directory"))

    def test_no_disk(self) -> None:
        """A missing directory does not keep the node from working."""
        state = StateFile(self.data_dir)
        for file in Path(self.data_dir.path).iterdir():
            file.unlink()
        os.rmdir(self.data_dir.path)
        state.write([], True)
        state.remove()
