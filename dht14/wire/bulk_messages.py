"""What passes over the bulk channel, inside TLS. DESIGN 4.4.

The asker sends tickets, 16 bytes each, one behind the other; a ticket for sending is followed at once by the
value, as long as was agreed on when the ticket was given. The holder answers each with one frame,
``size u16 | kind u16 | body``, in any order. An answer names its ticket by the first 8 bytes of it, the tag:

====  =======  ==========================================================
kind  name     body
====  =======  ==========================================================
1     ANSWER   a message as in a datagram; its RPC id is the tag
2     VALUE    ``tag | value``
3     GONE     ``tag``: the value is not held any more
====  =======  ==========================================================
"""

from enum import IntEnum

from dht14.errors import Malformed
from dht14.kademlia.parameters import MAX_VALUE
from dht14.security.identity import VerifyProof
from dht14.wire.datagram import RPC_ID_BYTES, decode, encode
from dht14.wire.messages import Outranked, Refused, Reply, Stored

TAG_BYTES = RPC_ID_BYTES
_HEADER = 4
_VALUE = _HEADER + TAG_BYTES


class FrameKind(IntEnum):
    """What a frame holds."""

    ANSWER = 1
    VALUE = 2
    GONE = 3


UploadAnswer = Reply | bytes | None
"""To a value that was sent, a reply; to a value that was asked for, that value or None."""


def tag_of(ticket: bytes) -> bytes:
    """How an answer names the ticket."""
    return ticket[:TAG_BYTES]


def encode_answer(ticket: bytes, answer: UploadAnswer) -> bytes:
    """The frame that answers this ticket."""
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
    """The tag and the answer in one whole frame; Malformed when it is none. `verify_proof` as in `wire.datagram`."""
    kind, tag, value = int.from_bytes(frame[2:_HEADER], "big"), frame[_HEADER:_VALUE], frame[_VALUE:]
    if kind == FrameKind.ANSWER:
        tag, message = decode(frame[_HEADER:], verify_proof)
        if not isinstance(message, Stored | Outranked | Refused):
            raise Malformed("no answer to a value")
        return tag, message
    if kind == FrameKind.VALUE and 1 <= len(value) <= MAX_VALUE:
        return tag, value
    if kind == FrameKind.GONE and len(frame) == _VALUE:
        return tag, None
    raise Malformed("an unknown frame")
