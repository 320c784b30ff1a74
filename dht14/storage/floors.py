"""What is remembered of records that have expired, so that older copies do not take their place."""

from typing import NamedTuple

from attrs import define, field

from dht14.storage.record import Kind, Record

MAX_FLOORS = 100_000

MARGIN = 300.0
"""Seconds for which a floor is remembered beyond the longest life that an older copy may have."""


class Floor(NamedTuple):
    """Kind and version of a record that has expired. What its key holds next must be above."""

    kind: int
    version: int

    def stops(self, record: Record) -> bool:
        """Whether this record is the expired one, or older. Content is the same whenever it comes."""
        if not self.kind:
            return False
        kind = record.kind
        return kind is not Kind.CONTENT and (kind, record.version) <= self


NO_FLOOR = Floor(0, -1)
"""Of a key under which nothing has expired."""


def floor_of(record: Record) -> Floor:
    """What its expiry leaves behind."""
    kind = record.kind
    return NO_FLOOR if kind is Kind.CONTENT else Floor(kind, record.version)


@define
class Floors:
    """The floors of a store in memory, so many at most: the oldest are forgotten first."""

    seconds: float
    """How long after the expiry of a record an older copy of its key may still live."""
    limit: int = MAX_FLOORS
    _floors: dict[int, tuple[Floor, float]] = field(factory=dict, init=False)
    """With the times at which they are forgotten, in the order in which they were left."""

    def __len__(self) -> int:
        return len(self._floors)

    def of(self, key: int, now: float) -> Floor:
        """The floor of a key."""
        floor, until = self._floors.get(key, (NO_FLOOR, now))
        return floor if until > now else NO_FLOOR

    def leave(self, record: Record, now: float) -> None:
        """A record has expired."""
        floor, until = floor_of(record), record.expires_at + self.seconds
        if floor is not NO_FLOOR and until > now:
            self._floors.pop(record.key, None)
            self._floors[record.key] = floor, until
        while self._floors and (len(self._floors) > self.limit or self._oldest_until() <= now):
            del self._floors[next(iter(self._floors))]

    def _oldest_until(self) -> float:
        return next(iter(self._floors.values()))[1]
