"""One question to a node's API, and how a command ends.

A blocking socket and no Twisted: most of the time such a command takes is that of its imports.
"""

import argparse
import base64
import json
import os
import re
import socket
import sys
import time
from collections.abc import Callable

from dht14.errors import Malformed
from dht14.wire.api_messages import Failure, Success, decode_reply
from dht14.wire.frames import FrameSplitter

DONE = 0
"""Found, stored, deleted."""
NOT_DONE = 1
"""Not found, or refused."""
WRONG_USAGE = 2
NO_NODE = 3
INTERRUPTED = 130

ANSWER_SECONDS = 15.0
"""A node answers within 5 s; one that has not after so long is not there."""


class Ended(Exception):
    """The command cannot go on: an exit code and a line for stderr."""

    def __init__(self, code: int, line: str) -> None:
        super().__init__(line)
        self.code = code


def concluded(command: Callable[[], int]) -> int:
    """The exit code of a command, however it ends."""
    try:
        return command()
    except Ended as end:
        print(f"dht14: {end}", file=sys.stderr)
        return end.code
    except KeyboardInterrupt:
        return INTERRUPTED


# arguments


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of every command that asks a node."""
    parser.epilog = (
        "Exit codes: 0 found, stored or deleted; 1 not found, or refused; 2 wrong usage; 3 no node answers."
    )
    parser.add_argument(
        "--api-address",
        metavar="HOST:PORT",
        type=_host_port,
        default=("127.0.0.1", 7400),
        help="where the node's API is (default: 127.0.0.1:7400)",
    )
    add_json_argument(parser)


def add_json_argument(parser: argparse.ArgumentParser) -> None:
    """That of every command that prints something."""
    parser.add_argument("--json", action="store_true", help="print one JSON object, for programs")


def _host_port(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not host or (":" in host and not bracketed):
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT or [IPV6]:PORT")
    return (host[1:-1] if bracketed else host), number(65_535, least=1)(port)


def number(most: int, least: int = 0) -> Callable[[str], int]:
    """A parser of whole numbers within bounds, of 19 digits at most."""

    def parse(text: str) -> int:
        if not re.fullmatch("[0-9]{1,19}", text) or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {least} to {most}")
        return int(text)

    return parse


def typed_bytes(argument: str) -> bytes:
    """The bytes that were typed, UTF-8 or not."""
    return argument.encode("utf-8", "surrogateescape")


# the node


def ask(
    address: tuple[str, int], key: bytes, request: bytes, patience: float = ANSWER_SECONDS
) -> Success | Failure:
    """What the node answers within `patience` seconds to a request for this key. Raises `Ended`."""
    deadline = time.monotonic() + patience
    try:
        with socket.create_connection(address, timeout=patience) as connection:
            connection.sendall(request)
            reply = decode_reply(_receive_frame(connection, deadline))
    except TimeoutError:
        raise _no_node(address, f"no answer within {patience:.0f} s") from None
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


def _no_node(address: tuple[str, int], why: str) -> Ended:
    host, port = address
    return Ended(NO_NODE, f"no node at {f'[{host}]' if ':' in host else host}:{port}: {why}")


# the standard output


def print_json(answer: dict[str, object]) -> None:
    """One object on one line."""
    print_bytes(json.dumps(answer).encode() + b"\n")


def base64_text(raw: bytes) -> str:
    """How bytes stand in JSON."""
    return base64.b64encode(raw).decode()


def print_bytes(output: bytes) -> None:
    """All of it. Raises `Ended`."""
    try:
        sys.stdout.buffer.write(output)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        # Whoever reads has enough. Python would complain once more when it closes the standard output.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        raise Ended(WRONG_USAGE, f"cannot write to the standard output: {error.strerror}") from None
