"""The value that is typed, or read from a file or from the standard input."""

import argparse
import os
import sys

from dht14.cmd.ending import WRONG_USAGE, Ended
from dht14.cmd.parser import typed_bytes
from dht14.kademlia.parameters import MAX_VALUE


def add_file_argument(parser: argparse.ArgumentParser) -> None:
    """Where the value is read from, if it is not typed."""
    parser.add_argument(
        "--file", metavar="F", help="take the value from this file instead; - is the standard input"
    )


def given_value(typed: str | None, file: str | None, limit: int = MAX_VALUE) -> bytes:
    """The value, of 1 to `limit` bytes. Raises `Ended`."""
    if (typed is None) == (file is None):
        raise Ended(WRONG_USAGE, "give either VALUE or --file F")
    value = typed_bytes(typed) if typed is not None else read_file(str(file))
    if not value:
        raise Ended(WRONG_USAGE, "the value is empty; it must have 1 byte or more", "empty")
    if len(value) > limit:
        raise too_large(len(value) if typed is not None else _size(str(file)), limit)
    return value


def read_file(path: str) -> bytes:
    """What is in a file, as much as a value may have and one byte. Raises `Ended`."""
    try:
        if path == "-":
            if sys.stdin is None:
                raise Ended(WRONG_USAGE, "cannot read the standard input: it is closed", "unreadable")
            return sys.stdin.buffer.read(MAX_VALUE + 1)
        with open(path, "rb") as file:
            return file.read(MAX_VALUE + 1)
    except OSError as error:
        raise Ended(WRONG_USAGE, f"cannot read {path}: {error.strerror}", "unreadable") from None


def _size(path: str) -> int | None:
    """The bytes of a file; None where nobody knows how long it is."""
    return os.path.getsize(path) if path != "-" and os.path.isfile(path) else None


def too_large(size: int | None, limit: int) -> Ended:
    """The end of a command whose value has too many bytes; None: nobody knows how many."""
    has = f"more than {limit}" if size is None else str(size)
    return Ended(
        WRONG_USAGE,
        f"the value has {has} bytes, and a value may have {limit}; cut it (split -b {limit // 1000 * 1000}) and put "
        "each piece under a key of its own",
        "too_large",
        bytes=size,
        limit=limit,
    )
