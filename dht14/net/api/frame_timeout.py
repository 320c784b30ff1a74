"""The time that a client has for sending one frame."""

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

FRAME_TIMEOUT = 30.0


class FrameTimer:
    """Measures how long the incoming frame takes; paused while the connection does not read."""

    def __init__(self, clock: IReactorTime, expired: Callable[[], None]) -> None:
        self._clock = clock
        self._expired = expired
        self._seconds_left = FRAME_TIMEOUT
        self._call: IDelayedCall | None = None

    def start(self) -> None:
        """Start or continue, if it is not running."""
        if self._call is None:
            self._call = self._clock.callLater(self._seconds_left, self._expire)

    def pause(self) -> None:
        """Stop, and keep the time that is left."""
        if self._call is not None:
            # Negative where this process stood still, and the timer could not fire yet.
            self._seconds_left = max(self._call.getTime() - self._clock.seconds(), 0.0)
            self._call.cancel()
            self._call = None

    def reset(self) -> None:
        """Stop, and give the next frame the full time."""
        self.pause()
        self._seconds_left = FRAME_TIMEOUT

    def _expire(self) -> None:
        self._call = None
        self._expired()
