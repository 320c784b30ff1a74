"""The requests of one API client that came and were not begun: bytes, frames, and one that has to wait."""

from collections.abc import Callable
from contextlib import suppress

from twisted.internet.interfaces import IReactorTime

from dht14.errors import Malformed
from dht14.net.api.frame_timeout import FrameTimer
from dht14.wire.api_messages import ApiRequest, Get, Put, check_request_head, decode_request
from dht14.wire.frames import FrameSplitter


class IncomingRequests:
    """Makes requests of bytes. Each frame must be whole within FRAME_TIMEOUT of reading."""

    def __init__(self, clock: IReactorTime, too_slow: Callable[[], None]) -> None:
        self._splitter = _splitter()
        self._put_back: ApiRequest | None = None
        self._frame_timer = FrameTimer(clock, too_slow)

    def feed(self, data: bytes) -> None:
        """Append bytes of the client."""
        self._splitter.feed(data)

    def take(self) -> ApiRequest | None:
        """Return the next request; None if none is whole. Raises `Malformed`."""
        request, self._put_back = self._put_back, None
        if request is not None:
            return request
        frame = self._splitter.next_frame()
        if frame is None:
            return None
        self._frame_timer.reset()
        return decode_request(frame)

    def put_back(self, request: ApiRequest) -> None:
        """Let this request be the next one again."""
        self._put_back = request

    def reading(self, is_reading: bool) -> None:
        """Measure the time of a frame that has begun, while the connection is read."""
        if is_reading and self._splitter.begun:
            self._frame_timer.start()
        else:
            self._frame_timer.pause()

    def forget(self) -> None:
        """Forget all."""
        self._splitter = _splitter()
        self._put_back = None

    def forget_gets(self) -> None:
        """Forget all but PUTs: the client is gone."""
        if isinstance(self._put_back, Get):
            self._put_back = None
        puts = _splitter()
        with suppress(Malformed):
            while (frame := self._splitter.next_frame()) is not None:
                if isinstance(decode_request(frame), Put):
                    puts.feed(frame)
        self._splitter = puts


def _splitter() -> FrameSplitter:
    return FrameSplitter(check_request_head)
