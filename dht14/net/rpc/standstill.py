"""Notices that this process stood still: stopped by a signal, paused in its container, or asleep with its host.

What came for it meanwhile waits in the kernel, and nothing tells for how long. A value that is on its way brings the
seconds that it still has to live: counted from when it is read, it would outlive all other copies of it.
"""

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from dht14.net.rpc.metrics import StandstillMetrics

BEAT_INTERVAL = 1.0
"""Seconds between two beats."""

STANDSTILL = 2.0
"""Seconds without a beat after which the process has stood still: no longer may a value be served too late."""

DRAIN_SECONDS = 0.5
"""Seconds after the next beat until all that had waited has been read: the kernel holds a few thousand datagrams."""


@define(eq=False)
class StandstillDetector(Service):
    """Beats while the process runs. Until it is started nothing has ever stood still."""

    _clock: IReactorTime
    metrics: StandstillMetrics = field(factory=StandstillMetrics, init=False)
    _beat_at: float = field(default=0.0, init=False)
    _waited_until: float = field(default=0.0, init=False)
    """What is read until then may have waited for longer than STANDSTILL."""
    _next: IDelayedCall | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self.setName("standstill")

    def startService(self) -> None:
        """Beat from now on."""
        super().startService()
        self._beat_at = self._clock.seconds()
        self._next = self._clock.callLater(BEAT_INTERVAL, self._beat)

    def stopService(self) -> None:
        """Beat no more."""
        super().stopService()
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def may_have_waited(self, now: float) -> bool:
        """Whether what is read from a socket now may have come long ago."""
        return self._next is not None and (now - self._beat_at > STANDSTILL or now < self._waited_until)

    def _beat(self) -> None:
        now = self._clock.seconds()
        self.metrics.lag.observe(max(now - self._beat_at - BEAT_INTERVAL, 0.0))
        if now - self._beat_at > STANDSTILL:
            self.metrics.standstills += 1
            self._waited_until = now + DRAIN_SECONDS
        self._beat_at = now
        self._next = self._clock.callLater(BEAT_INTERVAL, self._beat)
