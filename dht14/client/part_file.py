"""A file that is being fetched: `F.part` until all of it is there, then `F`."""

import contextlib
import hashlib
import os
import shutil
from typing import BinaryIO

if os.name == "posix":
    import fcntl

SUFFIX = ".part"


class PartFile:
    """The pieces of a file that have been fetched, from the first one on.

    Nothing about it is trusted when it is opened again: the pieces that are there are compared with their
    keys. So an end at any moment, of the program or of the whole computer, costs at most some pieces.
    """

    def __init__(self, path: str) -> None:
        """Open or create `path` with `.part` behind it. Raises OSError; BlockingIOError while another
        process writes it."""
        self.path = os.path.realpath(path)
        self._part = self.path + SUFFIX
        self._file = self._open()

    def _open(self) -> BinaryIO:
        while True:
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
            file = os.fdopen(os.open(self._part, flags, 0o666), "r+b", buffering=0)
            try:
                if os.name != "posix":
                    return file
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Another process may have finished and renamed it between the two calls.
                with contextlib.suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(file.fileno()), os.stat(self._part)):
                        return file
            except BaseException:
                file.close()
                raise
            file.close()

    def free_bytes(self) -> int:
        """Return how many bytes the disk has left, those of the part file included."""
        return shutil.disk_usage(os.path.dirname(self.path)).free + os.fstat(self._file.fileno()).st_size

    def has_piece(self, key: bytes, size: int) -> bool:
        """Whether the next piece is there. If not, drop all from here on: it must be written."""
        begin = self._file.tell()
        value = self._file.read(size)
        if value is not None and len(value) == size and hashlib.sha256(value).digest() == key:
            return True
        self._file.seek(begin)
        self._file.truncate()
        return False

    def write(self, piece: bytes) -> None:
        """Append a piece."""
        rest = memoryview(piece)
        while rest:
            rest = rest[self._file.write(rest) :]

    def finish(self) -> None:
        """Give the file its name, when all of it is on the disk, and close it."""
        self._file.truncate()
        os.fsync(self._file.fileno())
        if os.name != "posix":
            self._file.close()
        os.replace(self._part, self.path)
        self._file.close()
        if os.name == "posix":
            folder = os.open(os.path.dirname(self.path), os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def close(self) -> None:
        """Leave the part file for the next time; nothing is left of one without a piece."""
        if self._file.closed:
            return
        with contextlib.suppress(OSError):
            if not os.fstat(self._file.fileno()).st_size:
                os.unlink(self._part)
        self._file.close()
