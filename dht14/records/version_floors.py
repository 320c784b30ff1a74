"""What is remembered of records that have expired, so that older copies do not take their place.

There is room for so many floors. When it is used up, those go first that somebody could leave without end: of
records that had only seconds to live when they came. Then the writer that has left most gives up one: of an open
record before one of an owner's, the oldest first. So nobody pushes out what others have left.
"""

from typing import NamedTuple

from attrs import define, field

from dht14.records.record import Kind, Record

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
class _Group:
    """The keys of the floors that one writer has left, each set in the order in which they were left."""

    open: dict[int, None] = field(factory=dict)
    owned: dict[int, None] = field(factory=dict)

    def __len__(self) -> int:
        return len(self.open) + len(self.owned)

    def keys_of(self, kind: int) -> dict[int, None]:
        return self.owned if kind == Kind.OWNER else self.open


class _Left(NamedTuple):
    floor: Floor
    until: float
    """When it is forgotten."""
    group: tuple[bool, int]
    """Whether its record was brief, and who wrote it."""


@define
class Floors:
    """The floors of a store in memory, so many at most."""

    seconds: float
    """How long after the expiry of a record an older copy of its key may still live."""
    limit: int = MAX_FLOORS
    _floors: dict[int, _Left] = field(factory=dict, init=False)
    """By key, in the order in which they were left."""
    _groups: dict[tuple[bool, int], _Group] = field(factory=dict, init=False)

    def __len__(self) -> int:
        return len(self._floors)

    def of(self, key: int, now: float) -> Floor:
        """The floor of a key."""
        left = self._floors.get(key)
        return left.floor if left is not None and left.until > now else NO_FLOOR

    def leave(self, record: Record, now: float) -> None:
        """A record has expired."""
        floor, until = floor_of(record), record.expires_at + self.seconds
        if floor is not NO_FLOOR and until > now:
            self._forget(record.key)
            left = self._floors[record.key] = _Left(floor, until, (record.is_brief, record.writer))
            self._groups.setdefault(left.group, _Group()).keys_of(floor.kind)[record.key] = None
        while self._floors and self._oldest_until() <= now:
            self._forget(next(iter(self._floors)))
        while len(self._floors) > self.limit:
            self._forget(self._least_missed())

    def _least_missed(self) -> int:
        group = self._groups[max(self._groups, key=lambda group: (group[0], len(self._groups[group])))]
        return next(iter(group.open or group.owned))

    def _forget(self, key: int) -> None:
        left = self._floors.pop(key, None)
        if left is not None:
            group = self._groups[left.group]
            del group.keys_of(left.floor.kind)[key]
            if not group:
                del self._groups[left.group]

    def _oldest_until(self) -> float:
        return next(iter(self._floors.values())).until
