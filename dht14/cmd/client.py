"""`dht14 put` and `dht14 get`: one question to a node's API.

A blocking socket and no Twisted: most of the time such a command takes is that of its imports.
"""

import argparse
import base64
import hashlib
import json
import os
import re
import socket
import sys
import time
from collections.abc import Callable
from typing import TypeVar

from dht14.errors import Malformed
from dht14.wire.api_messages import MAX_VALUE, Failure, Success, decode_reply, encode_get, encode_put
from dht14.wire.frames import FrameSplitter

FOUND = STORED = 0
NOT_FOUND = REFUSED = 1
WRONG_USAGE = 2
NO_NODE = 3
INTERRUPTED = 130

ANSWER_SECONDS = 15.0
"""A node answers within 5 s; one that has not after so long is not there."""

T = TypeVar("T")


class _Ended(Exception):
    """The command cannot go on: an exit code and a line for stderr."""

    def __init__(self, code: int, line: str) -> None:
        super().__init__(line)
        self.code = code


def add_put_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `dht14 put`."""
    parser.add_argument("key", metavar="KEY", help=_KEY_HELP)
    value = parser.add_argument("value", metavar="VALUE", help="the value, as text (or give --file)")
    # With nargs="?" argparse would not see a VALUE that stands behind an option.
    value.required = False
    parser.add_argument("--file", metavar="F", help="take the value from this file instead")
    parser.add_argument(
        "--ttl",
        type=_number(0xFFFF),
        default=0,
        help="seconds to keep it (default: what the node's default is)",
    )
    parser.add_argument(
        "--replication",
        type=_number(0xFF),
        default=0,
        help="on how many nodes (default: what the node's default is)",
    )
    _add_common_arguments(parser)


def add_get_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `dht14 get`."""
    parser.add_argument("key", metavar="KEY", help=_KEY_HELP)
    parser.add_argument(
        "--output", metavar="F", help="write the value to this file instead of the standard output"
    )
    _add_common_arguments(parser)


def run_put(args: argparse.Namespace) -> int:
    """Store a value; the exit code."""
    return _concluded(lambda: _put(args))


def run_get(args: argparse.Namespace) -> int:
    """Fetch a value; the exit code."""
    return _concluded(lambda: _get(args))


_KEY_HELP = "64 hex digits, or any text: then its SHA-256 is the key"


def _add_common_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--api-address",
        metavar="HOST:PORT",
        type=_host_port,
        default=("127.0.0.1", 7400),
        help="where the node's API is (default: 127.0.0.1:7400)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object, for programs")


def _host_port(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not host or (":" in host and not bracketed):
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT or [IPV6]:PORT")
    return (host[1:-1] if bracketed else host), _number(65_535, least=1)(port)


def _number(most: int, least: int = 0) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch("[0-9]{1,9}", text) or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {least} to {most}")
        return int(text)

    return parse


def _put(args: argparse.Namespace) -> int:
    key, value = _key(args.key), _value(args)
    request = encode_put(args.ttl, args.replication, key, value)
    seconds, reply = _timed(lambda: _ask(args.api_address, key, request))
    stored = isinstance(reply, Success)
    if args.json:
        _print_json(key, value, seconds, stored=stored)
    elif not stored:
        raise _Ended(REFUSED, "the node could not store it")
    return STORED if stored else REFUSED


def _get(args: argparse.Namespace) -> int:
    key = _key(args.key)
    seconds, reply = _timed(lambda: _ask(args.api_address, key, encode_get(key)))
    value = reply.value if isinstance(reply, Success) else None
    if value is not None and args.output is not None:
        _write_file(args.output, value)
    if args.json:
        _print_json(key, value, seconds, found=value is not None)
    elif value is None:
        raise _Ended(NOT_FOUND, "not found")
    elif args.output is None:
        _print(value)
    return NOT_FOUND if value is None else FOUND


def _key(text: str) -> bytes:
    if re.fullmatch("[0-9A-Fa-f]{64}", text):
        return bytes.fromhex(text)
    return hashlib.sha256(_bytes(text)).digest()


def _bytes(argument: str) -> bytes:
    # An argument that is no UTF-8 still stands for the bytes that were typed.
    return argument.encode("utf-8", "surrogateescape")


def _value(args: argparse.Namespace) -> bytes:
    if (args.value is None) == (args.file is None):
        raise _Ended(WRONG_USAGE, "give either VALUE or --file F")
    value = _bytes(args.value) if args.file is None else _read_file(args.file)
    if not value:
        raise _Ended(WRONG_USAGE, "the value is empty; it must have 1 byte or more")
    if len(value) > MAX_VALUE:
        raise _Ended(WRONG_USAGE, f"the value is too long; it may have {MAX_VALUE} bytes")
    return value


def _read_file(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(MAX_VALUE + 1)
    except OSError as error:
        raise _Ended(WRONG_USAGE, f"cannot read {path}: {error.strerror}") from None


def _write_file(path: str, value: bytes) -> None:
    """Write all of it or nothing; what is no regular file (a device, a pipe) is written to directly."""
    path = os.path.realpath(path)
    replaces = os.path.isfile(path) or not os.path.exists(path)
    target = f"{path}.{os.getpid()}.part" if replaces else path
    try:
        try:
            with open(target, "xb" if replaces else "wb") as file:
                file.write(value)
            if replaces:
                os.replace(target, path)
        except BaseException:
            if replaces and os.path.exists(target):
                os.unlink(target)
            raise
    except OSError as error:
        raise _Ended(WRONG_USAGE, f"cannot write {path}: {error.strerror}") from None


def _timed(ask: Callable[[], T]) -> tuple[float, T]:
    begin = time.monotonic()
    answer = ask()
    return time.monotonic() - begin, answer


def _ask(address: tuple[str, int], key: bytes, request: bytes) -> Success | Failure:
    deadline = time.monotonic() + ANSWER_SECONDS
    try:
        with socket.create_connection(address, timeout=ANSWER_SECONDS) as connection:
            connection.sendall(request)
            reply = decode_reply(_receive_frame(connection, deadline))
    except TimeoutError:
        raise _no_node(address, f"no answer within {ANSWER_SECONDS:.0f} s") from None
    except OSError as error:
        raise _no_node(address, error.strerror or str(error)) from None
    except Malformed:
        raise _no_node(address, "what answers there is no DHT node") from None
    except UnicodeError:
        raise _no_node(address, "no such host name") from None
    if reply.key != key:
        raise _no_node(address, "the answer is to another question")
    return reply


def _receive_frame(connection: socket.socket, deadline: float) -> bytes:
    splitter = FrameSplitter()
    while (frame := splitter.next_frame()) is None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        piece = connection.recv(65_536)
        if not piece:
            raise ConnectionError("the connection was closed without an answer")
        splitter.feed(piece)
    return frame


def _no_node(address: tuple[str, int], why: str) -> _Ended:
    host, port = address
    return _Ended(NO_NODE, f"no node at {f'[{host}]' if ':' in host else host}:{port}: {why}")


def _print_json(key: bytes, value: bytes | None, seconds: float, **verdict: bool) -> None:
    answer = {
        "key": key.hex(),
        **verdict,
        "value": None if value is None else base64.b64encode(value).decode(),
        "bytes": 0 if value is None else len(value),
        "seconds": round(seconds, 6),
    }
    _print(json.dumps(answer).encode() + b"\n")


def _print(output: bytes) -> None:
    try:
        sys.stdout.buffer.write(output)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        # Whoever reads has enough. Python would complain once more when it closes the standard output.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        raise _Ended(WRONG_USAGE, f"cannot write to the standard output: {error.strerror}") from None


def _concluded(command: Callable[[], int]) -> int:
    try:
        return command()
    except _Ended as end:
        print(f"dht14: {end}", file=sys.stderr)
        return end.code
    except KeyboardInterrupt:
        return INTERRUPTED
