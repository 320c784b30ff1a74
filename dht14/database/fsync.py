"""Makes the names of files durable."""

import os
from contextlib import suppress


def fsync_folder(path: str) -> None:
    """Flush a folder, so that the names in it survive a power cut. Raises `OSError`."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def fsync_folders_of(path: str) -> None:
    """Flush a folder, and the names that lead to it: they may be new, or made by a process that was killed
    before it flushed them. Raises `OSError`.

    A folder above it that this user cannot read is left out: it is not one that this process has made.
    """
    path = os.path.realpath(path)
    fsync_folder(path)
    while (above := os.path.dirname(path)) != path:
        path = above
        with suppress(OSError):
            fsync_folder(path)
