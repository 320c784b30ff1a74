"""Saying a thing once for each source, with a bounded memory of who it was said about."""

from collections.abc import Hashable

from attrs import define, field


@define
class FirstTimes:
    """Remembers `limit` sources, and takes no further one for new: a flood of forged sources costs neither
    memory nor log lines."""

    limit: int
    _seen: set[Hashable] = field(factory=set, init=False)

    def is_first(self, source: Hashable) -> bool:
        """Whether this source is new here; it no longer is afterwards."""
        if source in self._seen or len(self._seen) >= self.limit:
            return False
        self._seen.add(source)
        return True
