"""The log of a node as a file: opened for appending, rotated by its size, and opened again on request.

Others may move, empty or remove the file (logrotate, an operator): a line never goes to a place where nobody
looks once the node was told, and never leaves a hole of NULs behind a file that was emptied.
"""

import contextlib
import os
import stat
from threading import Lock

LOG_FILE_BYTES = 10_000_000
OLD_LOG_FILES = 9


class LogFile:
    """The file at `path`; `path.1`, the newest, to `path.9` are what it was before. Thread-safe."""

    def __init__(self, path: str, most_bytes: int = LOG_FILE_BYTES, old_files: int = OLD_LOG_FILES) -> None:
        """Open the file; make it for its owner's eyes alone where it is missing. Raises `OSError`."""
        self.path = os.path.abspath(path)
        self.old_files = old_files
        self._most_bytes = most_bytes
        self._lock = Lock()
        self._is_torn = False
        """Whether the last line of the file is half a line: the disk was full."""
        self._file = self._open()

    def write(self, line: str) -> None:
        """Append one line, which ends with its newline. Raises `OSError` where the disk does not take it."""
        content = line.encode("utf-8", "backslashreplace")
        with self._lock:
            if os.fstat(self._file).st_size >= self._most_bytes:
                with contextlib.suppress(OSError):
                    self._rotate()
            if self._is_torn:
                content = b"\n" + content
            written = os.write(self._file, content)
            self._is_torn = written < len(content)
            if self._is_torn:
                raise OSError("half a line was written")

    def flush(self) -> None:
        """Do nothing: each line is one write."""

    def close(self) -> None:
        """Close the file. Nothing can be written afterwards."""
        with self._lock:
            os.close(self._file)

    def reopen(self) -> None:
        """Open what is at the path now, or make it. Raises `OSError`; then the present file goes on."""
        with self._lock:
            self._replace(self._open())

    def rotate(self) -> None:
        """Begin a new file. Raises `OSError`; then the present file goes on.

        Where somebody else has moved or removed the present file, that is done already.
        """
        with self._lock:
            self._rotate()

    def _rotate(self) -> None:
        # Behind a link lies the file that is rotated: the link stays, and points to the new one.
        path = os.path.realpath(self.path)
        if self._is_at(path):
            for number in range(self.old_files - 1, 0, -1):
                with contextlib.suppress(FileNotFoundError):
                    os.rename(f"{path}.{number}", f"{path}.{number + 1}")
            os.rename(path, f"{path}.1")
        self._replace(self._open())

    def _is_at(self, path: str) -> bool:
        """Whether the open file is the one at `path`, and one that can be rotated: no device, no pipe."""
        try:
            there = os.stat(path)
        except FileNotFoundError:
            return False
        return stat.S_ISREG(there.st_mode) and os.path.samestat(there, os.fstat(self._file))

    def _open(self) -> int:
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _replace(self, file: int) -> None:
        os.close(self._file)
        self._file = file
