"""One question to a node's API.

A blocking socket and no Twisted: most of the time such a command takes is that of its imports.
"""

import hashlib
import socket
import time

from attrs import frozen

from dht14.cmd.ending import NO_NODE, Ended
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

ANSWER_SECONDS = 15.0
"""A node answers within 5 s; one that has not after so long is not there."""

EXTENSION_SECONDS = 7.0
"""Nor does one that has not answered a message of our extension after so long know it."""


class HungUp(ConnectionError):
    """The connection was closed without an answer."""


@frozen
class Found:
    """What a node has found. Of what a node of another kind does not tell, None."""

    value: bytes
    kind: int | None = None
    version: int | None = None
    ttl: int | None = None


def put(address: Address, key: bytes, value: bytes, ttl: int, replication: int) -> Receipt | bool:
    """What became of a value; only whether it is stored, where the node gives no receipts. Raises `Ended`."""
    with_receipt = encode_put(ttl, replication, key, value, receipt=True)
    reply = _ask_either(address, key, with_receipt, encode_put(ttl, replication, key, value))
    if isinstance(reply, FoundRecord | MissingRecord):
        raise no_node(address, "the answer is to another question")
    if isinstance(reply, PutReceipt):
        if reply.receipt.reason is PutReason.NOT_READY and reply.receipt.outcome is PutOutcome.NOT_STORED:
            raise _not_ready(address)
        return reply.receipt
    return isinstance(reply, Success)


def get(
    address: Address, key: bytes, patience: float = ANSWER_SECONDS, *, content: bool = False
) -> Found | NoRecord:
    """What the node finds within `patience` seconds, or why it finds nothing. Raises `Ended`.

    With `content` only a value whose SHA-256 is the key counts, whatever node is asked.
    """
    found = _found(address, key, patience, content)
    if content and isinstance(found, Found) and hashlib.sha256(found.value).digest() != key:
        return NoRecord.NOT_FOUND
    return found


def _found(address: Address, key: bytes, patience: float, content: bool) -> Found | NoRecord:
    reply = _ask_either(address, key, encode_get_record(key, content), encode_get(key), patience)
    if isinstance(reply, PutReceipt):
        raise no_node(address, "the answer is to another question")
    if isinstance(reply, FoundRecord):
        return Found(reply.value, reply.kind, reply.version, reply.ttl)
    if isinstance(reply, Success):
        return Found(reply.value)
    if isinstance(reply, MissingRecord):
        if reply.reason is NoRecord.NOT_READY:
            raise _not_ready(address)
        return reply.reason
    return NoRecord.NOT_FOUND


def _ask_either(
    address: Address, key: bytes, extended: bytes, plain: bytes, patience: float = ANSWER_SECONDS
) -> ApiReply:
    """The answer to the first, or to the second from a node that does not know the first.

    Another node of a VoidPhone hangs up at a type that it does not know, or keeps silent.
    """
    deadline = time.monotonic() + patience
    try:
        return _asked(address, key, extended, min(EXTENSION_SECONDS, patience))
    except (HungUp, ConnectionResetError, BrokenPipeError, TimeoutError):
        return ask(address, key, plain, max(deadline - time.monotonic(), 0.1))
    except OSError as error:
        raise no_node(address, error.strerror or str(error)) from None


def ask(address: Address, key: bytes, request: bytes, patience: float = ANSWER_SECONDS) -> ApiReply:
    """What the node answers within `patience` seconds to a request for this key. Raises `Ended`."""
    try:
        return _asked(address, key, request, patience)
    except TimeoutError:
        # Somebody is there, perhaps a node that is not ready yet.
        message = f"the node at {shown(address)} does not answer in time"
        raise Ended(NO_NODE, message, "no_node", address=shown(address)) from None
    except OSError as error:
        raise no_node(address, error.strerror or str(error)) from None


def _asked(address: Address, key: bytes, request: bytes, patience: float) -> ApiReply:
    """Raises `OSError` where no whole answer comes, `Ended` where it is none of a node."""
    deadline = time.monotonic() + patience
    try:
        with socket.create_connection(address, timeout=patience) as connection:
            connection.sendall(request)
            reply = decode_reply(_receive_frame(connection, deadline))
    except Malformed:
        raise no_node(address, "what answers there is no DHT node") from None
    except UnicodeError:
        raise no_node(address, "no such host name") from None
    if reply.key != key:
        raise no_node(address, "the answer is to another question")
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
            raise HungUp("the connection was closed without an answer")
        splitter.feed(piece)
    return frame


def no_node(address: Address, why: str) -> Ended:
    """The end of a command that nobody answers."""
    return Ended(NO_NODE, f"no node at {shown(address)}: {why}", "no_node", address=shown(address))


def _not_ready(address: Address) -> Ended:
    return Ended(
        NO_NODE,
        f"the node at {shown(address)} is not ready: it searches its identity, opens its values or joins; "
        "dht14 wait tells when it is",
        "not_ready",
        address=shown(address),
    )


def shown(address: Address) -> str:
    """An address as it is typed."""
    host, port = address
    return f"{f'[{host}]' if ':' in host else host}:{port}"
