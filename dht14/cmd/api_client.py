"""Sends one request to a node's API and returns the reply.

It uses a blocking socket and not Twisted: most of the time that a client takes is the time of its imports.
"""

import hashlib
import socket
import time

from attrs import frozen

from dht14.cmd.command_error import NO_NODE, CommandError
from dht14.errors import Malformed
from dht14.kademlia.contact import Address
from dht14.records.receipt import NoRecord, PutOutcome, PutReason, Receipt
from dht14.wire.api_messages import (
    ApiReply,
    FoundRecord,
    MissingRecord,
    PutReceipt,
    Success,
    check_answer_head,
    decode_reply,
    encode_get,
    encode_get_record,
    encode_put,
)
from dht14.wire.frames import FrameSplitter

ANSWER_TIMEOUT = 15.0
"""Seconds. A node answers within 5 s; one that has not answered by then is not there."""

EXTENSION_TIMEOUT = 7.0
"""Seconds. A node that has not answered a message of our extension by then does not know it."""


class ConnectionClosed(ConnectionError):
    """The node closed the connection without an answer."""


@frozen
class Found:
    """The value that a node found. A node of another VoidPhone reports only the value: the rest is None."""

    value: bytes
    kind: int | None = None
    version: int | None = None
    ttl: int | None = None


def put(address: Address, key: bytes, value: bytes, ttl: int, replication: int) -> Receipt | bool:
    """Store a value and return the receipt, or from a node without receipts whether the value is stored.

    Raises `CommandError`.
    """
    with_receipt = encode_put(ttl, replication, key, value, receipt=True)
    reply = _ask_either(address, key, with_receipt, encode_put(ttl, replication, key, value))
    if isinstance(reply, FoundRecord | MissingRecord):
        raise no_node_error(address, "the answer is to another request")
    if isinstance(reply, PutReceipt):
        if reply.receipt.reason is PutReason.NOT_READY and reply.receipt.outcome is PutOutcome.NOT_STORED:
            raise _not_ready_error(address)
        return reply.receipt
    return isinstance(reply, Success)


def get(
    address: Address, key: bytes, timeout: float = ANSWER_TIMEOUT, *, content: bool = False
) -> Found | NoRecord:
    """Return what the node finds within `timeout` seconds, or why it finds nothing. Raises `CommandError`.

    With `content` only a value whose SHA-256 is the key counts, whichever node is asked.
    """
    found = _found(address, key, timeout, content)
    if content and isinstance(found, Found) and hashlib.sha256(found.value).digest() != key:
        return NoRecord.NOT_FOUND
    return found


def _found(address: Address, key: bytes, timeout: float, content: bool) -> Found | NoRecord:
    reply = _ask_either(address, key, encode_get_record(key, content), encode_get(key), timeout)
    if isinstance(reply, PutReceipt):
        raise no_node_error(address, "the answer is to another request")
    if isinstance(reply, FoundRecord):
        return Found(reply.value, reply.kind, reply.version, reply.ttl)
    if isinstance(reply, Success):
        return Found(reply.value)
    if isinstance(reply, MissingRecord):
        if reply.reason is NoRecord.NOT_READY:
            raise _not_ready_error(address)
        return reply.reason
    return NoRecord.NOT_FOUND


def _ask_either(
    address: Address, key: bytes, extended: bytes, plain: bytes, timeout: float = ANSWER_TIMEOUT
) -> ApiReply:
    """Send the `extended` request, and the `plain` one to a node that does not know the first.

    A node of another VoidPhone closes the connection at an unknown message type, or does not answer.
    """
    deadline = time.monotonic() + timeout
    try:
        return _request_once(address, key, extended, min(EXTENSION_TIMEOUT, timeout))
    except (ConnectionClosed, ConnectionResetError, BrokenPipeError, TimeoutError):
        return ask(address, key, plain, max(deadline - time.monotonic(), 0.1))
    except OSError as error:
        raise no_node_error(address, error.strerror or str(error)) from None


def ask(address: Address, key: bytes, request: bytes, timeout: float = ANSWER_TIMEOUT) -> ApiReply:
    """Send a request for `key` and return the reply, within `timeout` seconds. Raises `CommandError`."""
    try:
        return _request_once(address, key, request, timeout)
    except TimeoutError:
        # Something listens there, perhaps a node that is not ready yet.
        message = f"the node at {format_address(address)} does not answer in time"
        raise CommandError(NO_NODE, message, "no_node", address=format_address(address)) from None
    except OSError as error:
        raise no_node_error(address, error.strerror or str(error)) from None


def _request_once(address: Address, key: bytes, request: bytes, timeout: float) -> ApiReply:
    """Raises `OSError` without a complete answer, `CommandError` if the answer is not that of a node."""
    deadline = time.monotonic() + timeout
    try:
        with socket.create_connection(address, timeout=timeout) as connection:
            connection.sendall(request)
            reply = decode_reply(_receive_frame(connection, deadline))
    except Malformed:
        raise no_node_error(address, "the program that answers there is not a DHT node") from None
    except UnicodeError:
        raise no_node_error(address, "no such host name") from None
    if reply.key != key:
        raise no_node_error(address, "the answer is to another request")
    return reply


def _receive_frame(connection: socket.socket, deadline: float) -> bytes:
    splitter = FrameSplitter(check_answer_head)
    while (frame := splitter.next_frame()) is None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        piece = connection.recv(65_536)
        if not piece:
            raise ConnectionClosed("the connection was closed without an answer")
        splitter.feed(piece)
    return frame


def no_node_error(address: Address, why: str) -> CommandError:
    """Make the error of a command that no node answers."""
    return CommandError(
        NO_NODE, f"no node at {format_address(address)}: {why}", "no_node", address=format_address(address)
    )


def _not_ready_error(address: Address) -> CommandError:
    return CommandError(
        NO_NODE,
        f"the node at {format_address(address)} is not ready: it mines its node id, opens its values or "
        "joins; dht14 wait waits until it is",
        "not_ready",
        address=format_address(address),
    )


def format_address(address: Address) -> str:
    """Format an address as HOST:PORT."""
    host, port = address
    return f"{f'[{host}]' if ':' in host else host}:{port}"
