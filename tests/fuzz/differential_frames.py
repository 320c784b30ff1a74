"""Differential targets of the frames inside TCP: the product and an independent reader get the same stream,
find the same messages in it, and give it up at the same byte."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from attrs import astuple

from dht14.errors import Malformed
from dht14.wire import api_messages
from dht14.wire.api_messages import ApiReply, ApiRequest
from dht14.wire.bulk_messages import TICKET_TAG_BYTES, decode_answer, encode_answer
from dht14.wire.frames import CheckHead, FrameSplitter
from dht14.wire.messages import Outranked, Refused, Stored
from tests.fuzz.bulk import TICKET, VALUE
from tests.fuzz.decoders import api_frames
from tests.fuzz.differential import PACKED4, PACKED6, PROOFS, PUZZLE
from tests.independent_frames import (
    REPLIES,
    REQUESTS,
    Fields,
    Impossible,
    read_answer,
    read_stream,
    write_answer,
)
from tests.independent_peer import Message, write_message

REQUEST_TYPES = {
    api_messages.Put: 650,
    api_messages.Get: 651,
    api_messages.PutWithReceipt: 660,
    api_messages.GetRecord: 662,
    api_messages.WatchKey: 665,
}
REPLY_TYPES = {
    api_messages.Success: 652,
    api_messages.Failure: 653,
    api_messages.PutReceipt: 661,
    api_messages.FoundRecord: 663,
    api_messages.MissingRecord: 664,
    api_messages.ChangedRecord: 666,
    api_messages.GoneRecord: 667,
}


def same_frames(raw: bytes) -> None:
    """A stream of the API, to a node or to a client, that comes in pieces: `side u8 | size of the pieces u8 |
    stream`. After each piece both have read the same messages, and both go on or neither does."""
    if sum(raw[:1]) % 2:
        reader: _Reader = _Reader(api_messages.check_answer_head, api_messages.decode_reply)
        layouts = REPLIES
    else:
        reader = _Reader(api_messages.check_request_head, api_messages.decode_request)
        layouts = REQUESTS
    piece, stream = sum(raw[1:2]) * 8 + 1, raw[2:]
    for at in range(0, len(stream), piece):
        ours = reader.read(stream[at : at + piece])
        its: list[Fields] = []
        ended = False
        try:
            its.extend(read_stream(stream[: at + piece], layouts))
        except Impossible:
            # The messages before it are those that are read of the stream up to it.
            its, ended = before(stream[: at + piece], layouts), True
        assert (ours, reader.ended) == (its, ended), f"ours {ours} {reader.ended}, its {its} {ended}"
        if ended:
            return


def before(stream: bytes, layouts: dict[int, Any]) -> list[Fields]:
    """Return the messages before the first impossible frame."""
    found: list[Fields] = []
    with suppress(Impossible):
        # Not `extend` of a list: it keeps what came before the exception.
        for fields in read_stream(stream, layouts):
            found.append(fields)  # noqa: PERF402
    return found


class _Reader:
    """What the product reads of a stream."""

    def __init__(self, check: CheckHead, decode: Callable[[bytes], ApiRequest | ApiReply]) -> None:
        self._splitter, self._decode = FrameSplitter(check), decode
        self._found: list[Fields] = []
        self.ended = False

    def read(self, piece: bytes) -> list[Fields]:
        """Take a piece; return all messages so far."""
        self._splitter.feed(piece)
        try:
            while (frame := self._splitter.next_frame()) is not None:
                self._found.append(_fields(self._decode(frame)))
        except Malformed:
            self.ended = True
        return self._found


def _fields(message: ApiRequest | ApiReply) -> Fields:
    """The type of a message and its fields, in the order of the page."""
    kind = {**REQUEST_TYPES, **REPLY_TYPES}[type(message)]
    if isinstance(message, api_messages.PutReceipt):
        receipt = message.receipt
        numbers = (receipt.outcome, receipt.stored, receipt.wanted, receipt.reason, receipt.version)
        return kind, message.key, *(int(number) for number in numbers)
    return kind, *(int(one) if isinstance(one, int) else one for one in astuple(message))


def frame_streams() -> Iterator[bytes]:
    """Each message at once and in pieces, several in a row, and what none of the two goes on after."""
    frames = [bytes(frame) for frame in api_frames() if len(frame) < 1_000]
    for frame in frames:
        yield bytes([frame[3] in REPLY_BYTES, 255]) + frame
    requests = b"".join(frame for frame in frames if frame[3] not in REPLY_BYTES)
    replies = b"".join(frame for frame in frames if frame[3] in REPLY_BYTES)
    for piece in (0, 5):
        yield bytes([0, piece]) + requests
        yield bytes([1, piece]) + replies
    yield b"\0\1" + requests[:60] + b"GET / HTTP/1.1\r\n\r\n"
    yield b"\0\0" + replies
    yield b"\1\1" + requests
    yield b"\1\1" + replies + b"\0\3"


REPLY_BYTES = {kind & 255 for kind in REPLY_TYPES.values()}


def same_answers(raw: bytes) -> None:
    """A stream of the bulk channel from a holder: both read each frame alike, or give up at the same one."""
    splitter = FrameSplitter()
    splitter.feed(raw)
    while True:
        try:
            frame = splitter.next_frame()
        except Malformed:
            return
        if frame is None:
            return
        try:
            tag, answer = decode_answer(frame, PUZZLE.verify_proof)
            ours: bytes | None = encode_answer(tag + bytes(16 - TICKET_TAG_BYTES), answer)
        except Malformed:
            ours = None
        try:
            its: bytes | None = write_answer(*read_answer(frame, PROOFS))
        except Impossible:
            its = None
        assert ours == its, f"ours {ours.hex() if ours else None}, its {its.hex() if its else None}"
        if ours is None:
            return


def answer_streams() -> Iterator[bytes]:
    """Each answer, one without and one with contacts, and several in a row."""
    answers = (Stored(()), Outranked(7, ()), Refused(()), VALUE, None, b"v")
    frames = [encode_answer(TICKET, answer) for answer in answers]
    packed = b"\0\1" + PACKED4 + PACKED6
    messages: tuple[Message, ...] = (
        [67, packed, 1, 8],
        [68, 7, packed],
        [69, packed, 1, 1],
        [72, packed, 1, 7],
        [65, packed, 1],
    )
    for fields in messages:
        message = write_message([TICKET[:8], *fields])
        frames.append((4 + len(message)).to_bytes(2, "big") + b"\0\1" + message)
    yield from frames
    yield b"".join(frame for frame in frames if len(frame) < 400)
