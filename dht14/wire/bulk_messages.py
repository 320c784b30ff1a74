"""The messages of the bulk channel, inside TLS.

The side that connected sends tickets of 16 bytes, one after the other. After a ticket of a WANTED it sends
the value at once, with the length that the OFFER said. The other side answers each ticket with one frame,
``size u16 | kind u16 | body``, in any order. An answer names its ticket by the tag, the first 8 bytes of it:

====  =======  ==========================================================
kind  name     body
====  =======  ==========================================================
1     ANSWER   a message as in a datagram, with the tag as its RPC id
2     VALUE    ``tag | value``
3     GONE     ``tag``; the node no longer holds the value
====  =======  ==========================================================
"""

from enum import IntEnum

from dht14.errors import Malformed
from dht14.kademlia.parameters import MAX_VALUE
from dht14.security.identity import VerifyProof
from dht14.wire.datagram import RPC_ID_BYTES, decode, encode
from dht14.wire.messages import Reply, Store
from dht14.wire.schema import REPLIES_TO

TICKET_TAG_BYTES = RPC_ID_BYTES
_HEADER = 4
_VALUE = _HEADER + TICKET_TAG_BYTES


class FrameKind(IntEnum):
    """The kinds of frames."""

    ANSWER = 1
    VALUE = 2
    GONE = 3


UploadAnswer = Reply | bytes | None
"""The reply to a sent value; or the value that was asked for, None where it is gone."""


def tag_of(ticket: bytes) -> bytes:
    """Return what names the ticket in its answer."""
    return ticket[:TICKET_TAG_BYTES]


def encode_answer(ticket: bytes, answer: UploadAnswer) -> bytes:
    """Return the frame that answers this ticket."""
    tag = tag_of(ticket)
    if answer is None:
        return _frame(FrameKind.GONE, tag)
    if isinstance(answer, bytes):
        return _frame(FrameKind.VALUE, tag, answer)
    return _frame(FrameKind.ANSWER, encode(tag, answer))


def _frame(kind: FrameKind, *body: bytes) -> bytes:
    size = _HEADER + sum(map(len, body))
    return b"".join((size.to_bytes(2, "big"), kind.to_bytes(2, "big"), *body))


def decode_answer(frame: bytes, verify_proof: VerifyProof) -> tuple[bytes, UploadAnswer]:
    """Return the tag and the answer in one whole frame. Raises Malformed for anything else."""
    kind, tag, value = int.from_bytes(frame[2:_HEADER], "big"), frame[_HEADER:_VALUE], frame[_VALUE:]
    if kind == FrameKind.ANSWER:
        tag, message = decode(frame[_HEADER:], verify_proof)
        if not isinstance(message, REPLIES_TO[Store]):
            raise Malformed("no answer to a value")
        return tag, message
    if kind == FrameKind.VALUE and 1 <= len(value) <= MAX_VALUE:
        return tag, value
    if kind == FrameKind.GONE and len(frame) == _VALUE:
        return tag, None
    raise Malformed("an unknown frame")
