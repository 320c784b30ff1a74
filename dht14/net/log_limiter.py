"""A bound on what others can make us log."""

from collections import OrderedDict
from collections.abc import Hashable

from dht14.security.rate_limiter import TokenBucket


class LogLimiter:
    """Bounds what strangers can make us log.

    One line for each subject and bout, a bout ending after `quiet` seconds without the subject being
    brought up; and so many lines a second over all.
    """

    quiet = 60.0
    max_subjects = 1024

    def __init__(self, now: float) -> None:
        self._lines = TokenBucket(1.0, 60.0, now)
        self._brought_up: OrderedDict[Hashable, float] = OrderedDict()

    def may_log(self, subject: Hashable, now: float) -> bool:
        """Whether a line about this shall be written now."""
        last = self._brought_up.get(subject)
        self._brought_up[subject] = now
        self._brought_up.move_to_end(subject)
        if len(self._brought_up) > self.max_subjects:
            self._brought_up.popitem(last=False)
        return (last is None or now - last >= self.quiet) and self.take(now)

    def take(self, now: float) -> bool:
        """Whether a line that comes only once anyway may be written now."""
        return self._lines.take(now)
