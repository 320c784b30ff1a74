"""The files of the admin surface in the data directory, by which `dht14` finds it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

SOCKET_NAME = "admin.sock"
TOKEN_NAME = "admin.token"

MAX_SOCKET_PATH = 107
"""Bytes of the longest path that a Unix socket can have on Linux."""

_OPEN_FOLDER = "/proc/self/fd/{}"
"""A folder that this process has open. Linux has it, but a container can be without /proc."""


class PathTooLong(OSError):
    """A Unix socket cannot have this path here."""


@contextmanager
def socket_address(path: str) -> Iterator[str]:
    """Return a short path of the same socket, for a `with` block. Raises `PathTooLong`, other OSErrors.

    A long one goes through its folder, which stays open in the block.
    """
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH:
        yield path
        return
    folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
    try:
        short = _OPEN_FOLDER.format(folder)
        if not os.path.isdir(short):
            raise PathTooLong(path)
        yield os.path.join(short, os.path.basename(path))
    finally:
        os.close(folder)
