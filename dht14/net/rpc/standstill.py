"""Detects that this process stood still: stopped by a signal, paused in its container, or asleep with its
host.

Datagrams that came meanwhile wait in the kernel for an unknown time. A value brings its remaining lifetime in
seconds: if that were counted from the moment of reading, the value would outlive all its other copies.
"""

from collections.abc import Callable

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from dht14.net.rpc.metrics import StandstillMetrics

BEAT_INTERVAL = 1.0
"""Seconds between two beats of the timer."""

STANDSTILL = 2.0
"""Seconds without a beat that count as a standstill: an upper limit for how much too long a value may
live."""

DRAIN_SECONDS = 0.5
"""Seconds after the next beat until all waiting datagrams are read: the kernel holds a few thousand."""


@define(eq=False)
class StandstillDetector(Service):
    """A timer that beats while the process runs. Before it is started it reports no standstill."""

    _clock: IReactorTime
    metrics: StandstillMetrics = field(factory=StandstillMetrics, init=False)
    on_standstill: Callable[[float], object] = field(default=lambda now: None, init=False)
    """Called with the time when a standstill is over."""
    _beat_at: float = field(default=0.0, init=False)
    _waited_until: float = field(default=0.0, init=False)
    """Datagrams read until then may have waited for longer than STANDSTILL."""
    _next: IDelayedCall | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self.setName("standstill")

    def startService(self) -> None:
        """Start to beat."""
        super().startService()
        self._beat_at = self._clock.seconds()
        self._next = self._clock.callLater(BEAT_INTERVAL, self._beat)

    def stopService(self) -> None:
        """Stop beating."""
        super().stopService()
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def may_have_waited(self, now: float) -> bool:
        """Whether a datagram that is read now may have come long ago."""
        return self._next is not None and (self.is_late(now) or now < self._waited_until)

    def is_late(self, now: float) -> bool:
        """Whether a standstill has just ended, and the next beat will say so."""
        return self._next is not None and now - self._beat_at > STANDSTILL

    def _beat(self) -> None:
        now = self._clock.seconds()
        self.metrics.lag.observe(max(now - self._beat_at - BEAT_INTERVAL, 0.0))
        if now - self._beat_at > STANDSTILL:
            self.metrics.standstills += 1
            self._waited_until = now + DRAIN_SECONDS
            self.on_standstill(now)
        self._beat_at = now
        self._next = self._clock.callLater(BEAT_INTERVAL, self._beat)
