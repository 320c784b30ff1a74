"""A limit on what other parties can make this node log."""

from collections.abc import Hashable

from dht14.bounded import BoundedDict
from dht14.security.rate_limiter import TokenBucket


class LogLimiter:
    """Limits log lines that other parties cause.

    A subject gets one line, and the next one only after `quiet` seconds without a mention of it. All subjects
    together get a line a second, after a burst of 60.
    """

    quiet = 60.0
    max_subjects = 1024

    def __init__(self, now: float) -> None:
        self._bucket = TokenBucket(1.0, 60.0, now)
        self._mentioned_at: BoundedDict[Hashable, float] = BoundedDict(self.max_subjects)

    def may_log(self, subject: Hashable, now: float) -> bool:
        """Mention a subject; whether to log a line about it now."""
        last = self._mentioned_at.get(subject)
        self._mentioned_at.renew(subject, now)
        return (last is None or now - last >= self.quiet) and self.take(now)

    def take(self, now: float) -> bool:
        """Whether to log a line now whose subject never repeats."""
        return self._bucket.take(now)
