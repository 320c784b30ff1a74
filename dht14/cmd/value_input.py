"""Reads the value that a command stores: from the command line, a file or the standard input."""

import argparse
import os
import sys

from dht14.cmd.command_error import WRONG_USAGE, CommandError
from dht14.cmd.parser import typed_bytes
from dht14.kademlia.parameters import MAX_VALUE


def add_file_argument(parser: argparse.ArgumentParser) -> None:
    """Add the option to read the value from a file."""
    parser.add_argument("--file", metavar="F", help="read the value from this file; - is the standard input")


def read_value(typed: str | None, file: str | None, limit: int = MAX_VALUE) -> bytes:
    """Return the value, of 1 to `limit` bytes. Raises `CommandError`."""
    if (typed is None) == (file is None):
        raise CommandError(WRONG_USAGE, "give either VALUE or --file F")
    value = typed_bytes(typed) if typed is not None else read_file(str(file))
    if not value:
        raise CommandError(WRONG_USAGE, "the value is empty; it must have 1 byte or more", "empty")
    if len(value) > limit:
        raise too_large_error(len(value) if typed is not None else _size(str(file)), limit)
    return value


def read_file(path: str) -> bytes:
    """Read a file, up to one byte more than a value may have. Raises `CommandError`."""
    try:
        if path == "-":
            if sys.stdin is None:
                raise CommandError(WRONG_USAGE, "cannot read the standard input: it is closed", "unreadable")
            return sys.stdin.buffer.read(MAX_VALUE + 1)
        with open(path, "rb") as file:
            return file.read(MAX_VALUE + 1)
    except OSError as error:
        raise CommandError(WRONG_USAGE, f"cannot read {path}: {error.strerror}", "unreadable") from None


def _size(path: str) -> int | None:
    """Return the size of a file, or None where it cannot be known (a pipe, a device)."""
    return os.path.getsize(path) if path != "-" and os.path.isfile(path) else None


def too_large_error(size: int | None, limit: int) -> CommandError:
    """Make the error for a value of `size` bytes (None: unknown)."""
    has = f"more than {limit}" if size is None else str(size)
    return CommandError(
        WRONG_USAGE,
        f"the value has {has} bytes, and a value may have {limit}; cut it (split -b {limit // 1000 * 1000}) "
        "and put each piece under a key of its own",
        "too_large",
        bytes=size,
        limit=limit,
    )
