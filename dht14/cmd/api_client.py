"""Sends one request to a node's API and returns the reply.

It uses a blocking socket and not Twisted: most of the time that a client takes is the time of its imports.
"""

import errno
import os

from dht14.client.address import format_address
from dht14.client.blocking import ask_once
from dht14.client.channel import ANSWER_TIMEOUT
from dht14.client.errors import NOT_READY, NoNode, TimedOut
from dht14.client.keys import content_key
from dht14.cmd.command_error import NO_NODE, CommandError
from dht14.kademlia.contact import Address
from dht14.records.receipt import NoRecord, PutOutcome, PutReason, Receipt
from dht14.wire.api_messages import (
    ApiReply,
    ApiRequest,
    FoundRecord,
    GetRecord,
    MissingRecord,
    PutReceipt,
    PutWithReceipt,
    Success,
)

_REFUSED = os.strerror(errno.ECONNREFUSED)


Found = FoundRecord | Success
"""What a node found. A node of another VoidPhone tells only the value."""


def put(address: Address, key: bytes, value: bytes, ttl: int, replication: int) -> Receipt | bool:
    """Store a value and return the receipt, or from a node without receipts whether the value is stored.

    Raises `CommandError`.
    """
    reply = ask(address, PutWithReceipt(ttl, replication, key, value))
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
    reply = ask(address, GetRecord(key, content), timeout)
    if isinstance(reply, Found):
        return reply if not content or content_key(reply.value) == key else NoRecord.NOT_FOUND
    if isinstance(reply, MissingRecord):
        if reply.reason is NoRecord.NOT_READY:
            raise _not_ready_error(address)
        return reply.reason
    return NoRecord.NOT_FOUND


def ask(address: Address, request: ApiRequest, timeout: float = ANSWER_TIMEOUT) -> ApiReply:
    """Send a request and return the reply, within `timeout` seconds. Raises `CommandError`.

    A node of another VoidPhone, which closes the connection at our messages or does not answer them, is asked
    again with its own.
    """
    try:
        return ask_once(address, request, timeout)
    except TimedOut:
        # Something listens there, perhaps a node that is not ready yet.
        raise silent_error(address) from None
    except NoNode as error:
        raise no_node_error(address, error.problem) from None


def silent_error(address: Address) -> CommandError:
    """Make the error of a command that something took the connection of, but did not answer."""
    where = format_address(*address)
    return CommandError(
        NO_NODE,
        f"the node at {where} does not answer in time: it is suspended or overloaded, or no DHT node; see "
        "its log, or name another with --api-address",
        "no_node",
        address=where,
    )


def no_node_error(address: Address, why: str) -> CommandError:
    """Make the error of a command that no node answers."""
    where = format_address(*address)
    cure = "; start one there, or name another with --api-address" if why == _REFUSED else ""
    return CommandError(NO_NODE, f"no node at {where}: {why}{cure}", "no_node", address=where)


def _not_ready_error(address: Address) -> CommandError:
    where = format_address(*address)
    return CommandError(NO_NODE, f"the node at {where} {NOT_READY}", "not_ready", address=where)
