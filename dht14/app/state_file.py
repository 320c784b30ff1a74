"""The state of a node's start as a small file in its data directory: `dht14 wait` reads it, and so do the
commands that look into a node.

The file exists from the start of a node to its end. A node that was killed leaves it behind, with the number
of a process that does not exist any more. Nothing else needs it.
"""

import json
import os
from collections.abc import Iterable
from contextlib import suppress

from attrs import frozen

from dht14.app.data_dir import DataDir, replace_file

_NAME = "state.json"
_MAX_BYTES = 4_096


@frozen
class NodeState:
    """The content of the file."""

    awaited: tuple[str, ...]
    """What the node still waits for: of `identity`, `values` and `join`."""
    joined: bool
    """Whether it was in contact with other nodes when it last looked."""
    admin: str | None = None
    """The HOST:PORT of its admin surface, if that is no socket in the directory."""


class StateFile:
    """Writes the file of one node. If the disk is full or gone, there is only no file."""

    def __init__(self, data_dir: DataDir, admin: str | None = None) -> None:
        """`admin` is what the file says of the admin surface."""
        self._path = data_dir.file(_NAME)
        self._admin = admin
        self._written: NodeState | None = None
        # A node that was killed has left its own.
        self.remove()

    def write(self, awaited: Iterable[str], joined: bool) -> None:
        """Write the state, if it has changed. Only after the fork of a daemon: the file names the process."""
        state = NodeState(tuple(sorted(awaited)), joined, self._admin)
        if state == self._written:
            return
        content = {"pid": os.getpid(), "awaited": state.awaited, "joined": joined, "admin": self._admin}
        text = json.dumps(content)
        with suppress(OSError):
            replace_file(self._path, text.encode(), durable=False)
            self._written = state

    def remove(self) -> None:
        """Remove the file: the node ends."""
        with suppress(OSError):
            os.unlink(self._path)


def read_state(data_dir: str) -> NodeState | None:
    """Return the state of the node that uses a data directory; None if no node runs, or none that wrote
    one."""
    try:
        with open(os.path.join(data_dir, _NAME), "rb") as file:
            content = json.loads(file.read(_MAX_BYTES))
        admin = content.get("admin")
        state = NodeState(
            tuple(map(str, content["awaited"])), bool(content["joined"]), str(admin) if admin else None
        )
        return state if _is_running(int(content["pid"])) else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return None


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        pass  # It belongs to another user.
    except ProcessLookupError:
        return False
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    """Whether a process has ended, and only its parent has not heard of it: the first process of a container
    perhaps, which never listens."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read(_MAX_BYTES).rpartition(b")")[2].split()[0] == b"Z"
    except (OSError, IndexError):
        return False
