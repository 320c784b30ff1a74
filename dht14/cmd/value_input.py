"""Reads the value that a command stores: from the command line, a file or the standard input."""

import argparse
import errno
import io
import os
import sys
from typing import BinaryIO, cast

from dht14.cmd.command_error import WRONG_USAGE, CommandError
from dht14.cmd.parser import typed_bytes
from dht14.kademlia.parameters import MAX_VALUE

_CURE = "name a file that this user can read, or - for the standard input"


def add_file_argument(parser: argparse.ArgumentParser) -> None:
    """Add the option to read the value from a file."""
    parser.add_argument("--file", metavar="F", help="read the value from this file; - is the standard input")


def read_value(typed: str | None, file: str | None, limit: int = MAX_VALUE) -> bytes:
    """Return the value, of 1 to `limit` bytes. Raises `CommandError`."""
    if (typed is None) == (file is None):
        raise CommandError(WRONG_USAGE, "give either VALUE or --file F")
    value = typed_bytes(typed) if typed is not None else read_file(str(file))
    if not value:
        raise _empty_error()
    if len(value) > limit:
        raise too_large_error(len(value) if typed is not None else _size(str(file)), limit)
    return value


def read_file(path: str, option: str = "--file", cure: str = _CURE) -> bytes:
    """Read a file that `option` names, up to one byte more than a value may have. Raises `CommandError`, with
    `cure`."""
    file = open_file(path, option, cure)
    try:
        return _read(file, path, MAX_VALUE + 1, option, cure)
    finally:
        if path != "-":
            file.close()


def read_or_open(typed: str | None, file: str | None, limit: int) -> bytes | BinaryIO:
    """Return the value as `read_value` does; of a longer file the file, to be read from its beginning. Raises
    `CommandError`."""
    if typed is not None or file is None:
        return read_value(typed, file, limit)
    opened = open_file(file)
    value = _read(opened, file, limit + 1)
    if not value:
        raise _empty_error()
    if len(value) <= limit:
        opened.close()
        return value
    if opened.seekable():
        opened.seek(0)
        return opened
    return cast(BinaryIO, _Resumed(value, opened))


def open_file(path: str, option: str = "--file", cure: str = _CURE) -> BinaryIO:
    """Open a file, or the standard input, without a buffer. Raises `CommandError`."""
    try:
        if path != "-":
            return cast(BinaryIO, open(path, "rb", buffering=0))
        if sys.stdin is None:
            raise CommandError(WRONG_USAGE, "cannot read the standard input: it is closed", "unreadable")
        # A thread that waits in a buffered read would not let the program end.
        return cast(BinaryIO, getattr(sys.stdin.buffer, "raw", sys.stdin.buffer))
    except OSError as error:
        raise CommandError.of_file(option, "read", path, error, cure, "unreadable") from None


def _read(file: BinaryIO, path: str, size: int, option: str = "--file", cure: str = _CURE) -> bytes:
    """Read `size` bytes, less only at the end."""
    value = b""
    try:
        while len(value) < size and (part := file.read(size - len(value))) != b"":
            if part is None:
                raise BlockingIOError(errno.EAGAIN, "it is in non-blocking mode (O_NONBLOCK)")
            value += part
    except OSError as error:
        raise CommandError.of_file(option, "read", path, error, cure, "unreadable") from None
    return value


def _empty_error() -> CommandError:
    return CommandError(WRONG_USAGE, "the value is empty; it must have 1 byte or more", "empty")


class _Resumed(io.RawIOBase):
    """A pipe whose first bytes have been read already."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self._head, self._rest = head, rest

    def read(self, size: int = -1) -> bytes:
        """Read some bytes; none at the end."""
        if not self._head:
            return self._rest.read(size)
        part, self._head = self._head[:size], self._head[size:]
        return part


def _size(path: str) -> int | None:
    """Return the size of a file, or None where it cannot be known (a pipe, a device)."""
    return os.path.getsize(path) if path != "-" and os.path.isfile(path) else None


def too_large_error(size: int | None, limit: int) -> CommandError:
    """Make the error for a value of `size` bytes (None: unknown)."""
    has = f"more than {limit}" if size is None else str(size)
    return CommandError(
        WRONG_USAGE,
        f"the value has {has} bytes, and a value may have {limit}; without a KEY, dht14 put --file F stores "
        "files of any size",
        "too_large",
        bytes=size,
        limit=limit,
    )
