"""What has been done lately, so that it is not done again at once."""

from collections.abc import Hashable
from typing import Generic, TypeVar

from attrs import define, field

H = TypeVar("H", bound=Hashable)


@define
class ExpiringSet(Generic[H]):
    """Remembers for a while; of too many things the oldest are forgotten first."""

    _seconds: float
    _most: int
    _times: dict[H, float] = field(factory=dict, init=False)

    def __contains__(self, what: H) -> bool:
        return what in self._times

    def note(self, what: H, now: float) -> None:
        """It has happened."""
        self.forget(now)
        self._times.pop(what, None)
        if len(self._times) >= self._most:
            del self._times[next(iter(self._times))]
        self._times[what] = now

    def forget(self, now: float) -> None:
        """Forget what happened too long ago."""
        while self._times:
            oldest = next(iter(self._times))
            if now - self._times[oldest] < self._seconds:
                return
            del self._times[oldest]
