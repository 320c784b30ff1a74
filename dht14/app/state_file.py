"""How far the start of a node is, as a small file in its data directory: what `dht14 wait` reads.

It is there from the start of a node to its end. One that was killed leaves it behind, with the number of a
process that is gone. Nothing of it is needed for anything else.
"""

import json
import os
from collections.abc import Iterable
from contextlib import suppress

from attrs import frozen

from dht14.app.data_dir import DataDir, replace_file

_NAME = "state.json"
_MOST_BYTES = 4_096


@frozen
class NodeState:
    """What a node says of itself."""

    awaited: tuple[str, ...]
    """What it still waits for, of `identity`, `values` and `join`."""
    joined: bool
    """Whether it was in touch with others when it last looked."""


class StateFile:
    """The node's side. A disk that is full or gone costs nothing but the file."""

    def __init__(self, data_dir: DataDir) -> None:
        self._path = data_dir.file(_NAME)
        self._said: NodeState | None = None
        # One that was killed has left its own.
        self.remove()

    def say(self, awaited: Iterable[str], joined: bool) -> None:
        """Write it down, if it is news. After the fork of a daemon only: it names the process."""
        state = NodeState(tuple(sorted(awaited)), joined)
        if state == self._said:
            return
        text = json.dumps({"pid": os.getpid(), "awaited": state.awaited, "joined": state.joined})
        with suppress(OSError):
            replace_file(self._path, text.encode(), durable=False)
            self._said = state

    def remove(self) -> None:
        """The node ends."""
        with suppress(OSError):
            os.unlink(self._path)


def read_state(data_dir: str) -> NodeState | None:
    """What the node of a data directory says; None where none runs, or none that says anything."""
    try:
        with open(os.path.join(data_dir, _NAME), "rb") as file:
            said = json.loads(file.read(_MOST_BYTES))
        state = NodeState(tuple(map(str, said["awaited"])), bool(said["joined"]))
        return state if _runs(int(said["pid"])) else None
    except (OSError, ValueError, TypeError, KeyError, OverflowError):
        return None


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True  # It is somebody else's.
    except ProcessLookupError:
        return False
    return True
