"""The log file of a node: opened for appending, rotated by its size, and reopened on request.

Another program (logrotate) or an operator may move, truncate or remove the file. After a request to reopen it
no line goes to the old file, and a truncated file gets no hole of NULs.
"""

import contextlib
import os
import stat
from threading import Lock

LOG_FILE_BYTES = 10_000_000
OLD_LOG_FILES = 9


class LogFile:
    """The file at `path`; its former contents are `path.1`, the newest, to `path.9`. Thread-safe."""

    def __init__(self, path: str, max_bytes: int = LOG_FILE_BYTES, old_files: int = OLD_LOG_FILES) -> None:
        """Open the file; if it is missing, make it readable only for its owner. Raises `OSError`."""
        self.path = os.path.abspath(path)
        self.old_files = old_files
        self._max_bytes = max_bytes
        self._lock = Lock()
        self._is_torn = False
        """Whether the last line of the file is incomplete: the disk was full."""
        self._file = self._open()

    def write(self, line: str) -> None:
        """Append one line, which ends with its newline. Raises `OSError` if the disk does not accept it."""
        content = line.encode("utf-8", "backslashreplace")
        with self._lock:
            if os.fstat(self._file).st_size >= self._max_bytes:
                with contextlib.suppress(OSError):
                    self._rotate()
            if self._is_torn:
                content = b"\n" + content
            written = os.write(self._file, content)
            self._is_torn = written < len(content)
            if self._is_torn:
                raise OSError("only a part of a line was written")

    def flush(self) -> None:
        """Do nothing: each line is one write."""

    def close(self) -> None:
        """Close the file; no write may follow."""
        with self._lock:
            os.close(self._file)

    def reopen(self) -> None:
        """Open the file that is at the path now, or make it. Raises `OSError`; then the present file stays
        in use."""
        with self._lock:
            self._replace(self._open())

    def rotate(self) -> None:
        """Begin a new file. Raises `OSError`; then the present file stays in use.

        If the present file was moved or removed already, only a new one is made.
        """
        with self._lock:
            self._rotate()

    def _rotate(self) -> None:
        # If the path is a link, its target is rotated: the link stays, and leads to the new file.
        path = os.path.realpath(self.path)
        if self._is_at(path):
            for number in range(self.old_files - 1, 0, -1):
                with contextlib.suppress(FileNotFoundError):
                    os.rename(f"{path}.{number}", f"{path}.{number + 1}")
            os.rename(path, f"{path}.1")
        self._replace(self._open())

    def _is_at(self, path: str) -> bool:
        """Whether the open file is the one at `path` and can be rotated: not a device or a pipe."""
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
