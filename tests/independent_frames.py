"""The frames of the API and of the bulk channel, read as sections 1 and 5.3 of docs/protocol.md say. Like the
independent peer, this imports nothing of dht14."""

import struct
from collections.abc import Callable, Iterator

from tests.independent_messages import VOID, read_whole
from tests.independent_peer import Message, Proofs, write_message

Fields = tuple[int | bytes, ...]
"""The type of a message and its fields, in the order of the page."""

KEY = 32
VALUE = 65_495
STORED, OUTRANKED, REFUSED = 67, 68, 69


class Impossible(Exception):
    """A frame that ends the connection."""


def _put(body: bytes) -> Fields:
    ttl, replication, _, key = struct.unpack(">HBB32s", body[:36])
    return ttl, replication, key, body[36:]


def _key(body: bytes) -> Fields:
    return (body,)


def _flagged(body: bytes) -> Fields:
    if body[KEY] > 1:
        raise Impossible(body[KEY])
    return body[:KEY], body[KEY]


def _success(body: bytes) -> Fields:
    return body[:KEY], body[KEY:]


def _receipt(body: bytes) -> Fields:
    key, outcome, stored, wanted, reason, version = struct.unpack(">32sBBBBQ", body)
    if outcome > 3 or reason > 7:
        raise Impossible(outcome, reason)
    return key, outcome, stored, wanted, reason, version


def _record(body: bytes) -> Fields:
    key, kind, version, ttl = struct.unpack(">32sBQI", body[:45])
    if kind not in (1, 2, 3):
        raise Impossible(kind)
    return key, kind, version, ttl, body[45:]


def _no_record(body: bytes) -> Fields:
    if body[KEY] > 4:
        raise Impossible(body[KEY])
    return body[:KEY], body[KEY]


Layout = tuple[int, int, Callable[[bytes], Fields]]
"""The shortest and the longest body, and how it is read."""

REQUESTS: dict[int, Layout] = {
    650: (KEY + 4 + 1, KEY + 4 + VALUE, _put),
    651: (KEY, KEY, _key),
    660: (KEY + 4 + 1, KEY + 4 + VALUE, _put),
    662: (KEY + 1, KEY + 1, _flagged),
    665: (KEY + 1, KEY + 1, _flagged),
}

REPLIES: dict[int, Layout] = {
    652: (KEY + 1, KEY + VALUE, _success),
    653: (KEY, KEY, _key),
    661: (KEY + 12, KEY + 12, _receipt),
    663: (KEY + 13 + 1, KEY + 13 + 65_486, _record),
    664: (KEY + 1, KEY + 1, _no_record),
    666: (KEY + 13, KEY + 13 + 65_486, _record),
    667: (KEY + 1, KEY + 1, _no_record),
}


def read_stream(raw: bytes, layouts: dict[int, Layout]) -> Iterator[Fields]:
    """Yield the messages that are there, one after the other. Raises `Impossible`, when the first four bytes
    of a frame are there at the latest if these say so."""
    while len(raw) >= 2:
        size = int.from_bytes(raw[:2], "big")
        if size < 4:
            raise Impossible(size)
        if len(raw) < 4:
            return
        kind = int.from_bytes(raw[2:4], "big")
        if kind not in layouts:
            raise Impossible(kind)
        shortest, longest, read = layouts[kind]
        if not shortest <= size - 4 <= longest:
            raise Impossible(size)
        if len(raw) < size:
            return
        yield kind, *read(raw[4:size])
        raw = raw[size:]


def read_answer(frame: bytes, proofs: Proofs) -> tuple[int, bytes, Message | bytes | None]:
    """The kind, the tag, and what follows it in a whole frame of the bulk channel. Raises `Impossible`."""
    kind, body = int.from_bytes(frame[2:4], "big"), frame[4:]
    if kind == 1:
        try:
            tag, code, *fields = read_whole(body, proofs)
        except VOID as error:
            raise Impossible from error
        if code not in (STORED, OUTRANKED, REFUSED) or not isinstance(tag, bytes):
            raise Impossible(code)
        return kind, tag, [code, *fields]
    if kind == 2 and 8 + 1 <= len(body) <= 8 + VALUE:
        return kind, body[:8], body[8:]
    if kind == 3 and len(body) == 8:
        return kind, body, None
    raise Impossible(kind)


def write_answer(kind: int, tag: bytes, content: Message | bytes | None) -> bytes:
    """The frame of these parts."""
    body = write_message([tag, *content]) if isinstance(content, list) else tag + (content or b"")
    return struct.pack(">HH", 4 + len(body), kind) + body
