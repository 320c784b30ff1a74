"""Saying a thing once for each source, with a bounded memory of who it was said about."""

from collections.abc import Hashable

from attrs import define, field


@define
class FirstTimes:
    """Remembers the last `limit` sources, so that a flood of them costs neither memory nor log lines."""

    limit: int
    _seen: dict[Hashable, None] = field(factory=dict, init=False)

    def is_first(self, source: Hashable) -> bool:
        """Whether this source is new here; it no longer is afterwards."""
        if source in self._seen:
            return False
        if len(self._seen) >= self.limit:
            del self._seen[next(iter(self._seen))]
        self._seen[source] = None
        return True
