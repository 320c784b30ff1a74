"""Cuts a byte stream into frames. Each frame begins with its own whole size as u16, big-endian."""

from collections.abc import Callable

from dht14.errors import Malformed

MIN_FRAME = 4
MAX_FRAME = 65_535

_MANY_BYTES = 4_096
"""From this size on a memoryview costs less than copying twice, as a slice of a bytearray does."""

CheckHead = Callable[[int, int], None]
"""Raises `Malformed` where no frame begins with this size and this u16 after it."""


def _any_head(size: int, kind: int) -> None:
    """Allow every frame."""


class FrameSplitter:
    """Cuts a stream that arrives in arbitrary pieces into whole frames.

    The caller pulls frames one by one and may stop in between; the rest stays here as bytes. The cost is
    linear in the bytes fed, however small the pieces are. After `Malformed` the caller must drop the stream.

    `check_head` is called when the first four bytes of a frame are there and the rest is not: the rest of an
    impossible frame may never come. The decoder of a whole frame checks its head anyway.
    """

    def __init__(self, check_head: CheckHead = _any_head) -> None:
        self._check_head = check_head
        self._buffer = bytearray()
        self._at = 0

    @property
    def begun(self) -> bool:
        """Whether there are bytes that were not pulled: a frame has begun."""
        return self._at < len(self._buffer)

    def feed(self, piece: bytes) -> None:
        """Take the next bytes of the stream."""
        if self._at:
            # Once for each piece, not for each frame; a bytearray drops its front without moving the rest.
            del self._buffer[: self._at]
            self._at = 0
        self._buffer += piece

    def next_frame(self) -> bytes | None:
        """Return the next whole frame, its size included; None until more was fed. Raises Malformed."""
        buffer, start = self._buffer, self._at
        there = len(buffer) - start
        if there < 2:
            if not there:
                # A connection that waits for its next message must not hold the memory of the last one.
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
        if size < _MANY_BYTES:
            return bytes(buffer[start : start + size])
        with memoryview(buffer) as whole:
            return bytes(whole[start : start + size])
