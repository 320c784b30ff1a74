"""Collections that cannot grow without limit."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

from attrs import define, field

H = TypeVar("H", bound=Hashable)
K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class BoundedDict(OrderedDict[K, V]):
    """A dict of at most `limit` items: when it is full, a new key replaces the oldest one.

    An `OrderedDict` finds its oldest key at once; a dict searches for it behind all that were deleted before.
    Only item assignment and `renew` respect the limit; `setdefault` and `update` must not be used.
    """

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def __setitem__(self, key: K, value: V) -> None:
        if len(self) >= self._limit and key not in self:
            self.popitem(last=False)
        super().__setitem__(key, value)

    def renew(self, key: K, value: V) -> None:
        """Set an item and make it the newest one."""
        self[key] = value
        self.move_to_end(key)


@define
class ExpiringSet(Generic[H]):
    """A set whose members expire after `ttl` seconds; if it is full, a new member replaces the oldest."""

    _ttl: float
    _limit: int
    _added_at: dict[H, float] = field(factory=dict, init=False)

    def __contains__(self, member: H) -> bool:
        return member in self._added_at

    def add(self, member: H, now: float) -> None:
        """Add a member, or let one live for another `ttl` seconds."""
        self.expire(now)
        self._added_at.pop(member, None)
        if len(self._added_at) >= self._limit:
            del self._added_at[next(iter(self._added_at))]
        self._added_at[member] = now

    def expire(self, now: float) -> None:
        """Remove the members that were added `ttl` seconds ago or earlier."""
        while self._added_at:
            oldest = next(iter(self._added_at))
            if now - self._added_at[oldest] < self._ttl:
                return
            del self._added_at[oldest]
