"""Frames of a byte stream: each begins with its own whole size as u16, big-endian."""

from collections.abc import Callable

from dht14.errors import Malformed

MIN_FRAME = 4
MAX_FRAME = 65_535

CheckHead = Callable[[int, int], None]
"""Raises `Malformed` where no frame has this size and this u16 behind it."""


def _any_head(size: int, kind: int) -> None:
    """Take every frame for one that can be."""


class FrameSplitter:
    """Cuts a stream that arrives in arbitrary pieces into whole frames.

    Frames are pulled one by one, so whoever pulls may stop in between; what was not pulled stays here
    as bytes. The cost is linear in the bytes fed, however small the pieces are. After `Malformed` the
    stream has no meaning any more: nothing but throwing it away makes sense.

    `check_head` is asked as soon as the first four bytes of a frame are there and the rest is not: of a frame
    that cannot be it may never come. Who decodes a whole frame looks at its head anyway.
    """

    def __init__(self, check_head: CheckHead = _any_head) -> None:
        self._check_head = check_head
        self._buffer = bytearray()
        self._at = 0

    @property
    def begun(self) -> bool:
        """Whether there are bytes that were not pulled: a message has begun."""
        return self._at < len(self._buffer)

    def feed(self, piece: bytes) -> None:
        """The next bytes of the stream."""
        if self._at:
            # Once per piece, not per frame; a bytearray forgets its front without moving the rest.
            del self._buffer[: self._at]
            self._at = 0
        self._buffer += piece

    def next_frame(self) -> bytes | None:
        """The next whole frame, its size included, or None until more was fed; else `Malformed`."""
        buffer, start = self._buffer, self._at
        there = len(buffer) - start
        if there < 2:
            if not there:
                # Whoever waits for the next message shall not hold the memory of the last one.
                buffer.clear()
                self._at = 0
            return None
        size = buffer[start] << 8 | buffer[start + 1]
        if size < MIN_FRAME:
            raise Malformed("size below the minimum")
        if there < MIN_FRAME:
            return None
        if there < size:
            self._check_head(size, buffer[start + 2] << 8 | buffer[start + 3])
            return None
        self._at = start + size
        return bytes(buffer[start : start + size])
