"""Version floors: the kind and version of expired records, so that older copies do not take their place.

The number of floors is limited. When it is reached, the floors of brief records are forgotten first: a writer
could make those without end. Then the writer with the most floors loses one: that of an open record before
that of an owner's, the oldest first. So no writer displaces the floors of others.
"""

from typing import NamedTuple

from dht14.records.record import Kind, Record

MAX_FLOORS = 100_000

FLOOR_MARGIN = 300.0
"""Seconds for which a floor is remembered after every older copy must have expired."""


class Floor(NamedTuple):
    """Kind and version of a record that has expired. The next record of its key must be above."""

    kind: int
    version: int

    def covers(self, record: Record) -> bool:
        """Return whether this record is the expired one, or older. Content has no versions and is never
        covered."""
        if not self.kind:
            return False
        kind = record.kind
        return kind is not Kind.CONTENT and (kind, record.version) <= self


NO_FLOOR = Floor(0, -1)
"""The floor of a key of which no record has expired."""


def floor_of(record: Record) -> Floor:
    """Return the floor that an expired record leaves."""
    kind = record.kind
    return NO_FLOOR if kind is Kind.CONTENT else Floor(kind, record.version)
