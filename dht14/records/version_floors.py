"""What is remembered of records that have expired, so that older copies do not take their place.

There is room for so many floors. When it is used up, those go first that somebody could leave without end: of
records that had only seconds to live when they came. Then the writer that has left most gives up one: of an open
record before one of an owner's, the oldest first. So nobody pushes out what others have left.
"""

from typing import NamedTuple

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
