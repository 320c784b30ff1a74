"""The bounded store of one node's records, in memory.

`RecordStore` is what the rest of the node knows of it. An outcome is told to a function, because a store
that commits to a disk will know it only later.
"""

from bisect import bisect_left, insort
from collections.abc import Callable
from enum import Enum
from heapq import heappop, heappush
from typing import Protocol

from attrs import define, field, frozen

from dht14.storage.record import CLOCK_TOLERANCE, Record, version_at


class Outcome(Enum):
    """What became of a record that was offered."""

    HELD = "held"
    """It is held now, or was already."""
    OUTRANKED = "outranked"
    """A newer one of its key is held, and stays."""
    REFUSED = "refused"
    """Neither it nor a newer one is held: no room, or its version is from the future."""


@frozen
class Verdict:
    """What became of a record that was offered, and the version that is held under its key now."""

    outcome: Outcome
    version: int


class RecordStore(Protocol):
    """Where records are held. `now` is in seconds."""

    def offer(self, record: Record, now: float, tell: Callable[[Verdict], None]) -> None:
        """Hold the record if it may be held, and tell when it is safe."""

    def get(self, key: int, now: float) -> Record | None:
        """The record held under `key`, unless it has expired."""

    def expire(self, now: float) -> int:
        """Drop what has expired; how many records that were."""


RECORD_OVERHEAD = 400
"""Bytes a record takes beside its value: measured on CPython 3.11 with 100,000 records."""

EVICTION_TRIES = 32
"""How many records are considered for eviction before a new one is refused."""


@define
class MemoryStore:
    """Records in a dict. They are gone when the process ends.

    Full, it drops first what has expired, then records of keys that this node no longer answers for, the
    farthest first; a record that it answers for is never dropped for a newcomer, which is refused then.
    """

    own_id: int
    limit: int
    """Bytes, `RECORD_OVERHEAD` for each record included."""
    answers_for: Callable[[Record], bool]
    """Whether this node is one of the nearest to a record's key, as many as its replication."""
    size: int = field(default=0, init=False)
    _records: dict[int, Record] = field(factory=dict, init=False)
    _deadlines: list[tuple[float, int]] = field(factory=list, init=False)
    """A heap of (expiry, key); entries of records since replaced stay until their time has come."""
    _distances: list[int] = field(factory=list, init=False)
    """Of all keys from the own id, sorted."""

    def __len__(self) -> int:
        return len(self._records)

    def offer(self, record: Record, now: float, tell: Callable[[Verdict], None]) -> None:
        """As `RecordStore.offer`; it tells before it returns."""
        tell(self._judge(record, now))

    def _judge(self, record: Record, now: float) -> Verdict:
        held = self.get(record.key, now)
        if record.version > version_at(now + CLOCK_TOLERANCE) or record.expires_at <= now:
            return Verdict(Outcome.REFUSED, held.version if held else 0)
        if held is not None and held.rank >= record.rank:
            same = held.rank == record.rank
            return Verdict(Outcome.HELD if same else Outcome.OUTRANKED, held.version)
        if not self._make_room(_size(record) - (_size(held) if held else 0), now):
            return Verdict(Outcome.REFUSED, held.version if held else 0)
        self._drop(record.key)
        self._hold(record)
        return Verdict(Outcome.HELD, record.version)

    def get(self, key: int, now: float) -> Record | None:
        """As `RecordStore.get`; expiry is looked at here, swept or not."""
        record = self._records.get(key)
        return record if record is not None and record.expires_at > now else None

    def expire(self, now: float) -> int:
        """As `RecordStore.expire`."""
        dropped = 0
        while self._deadlines and self._deadlines[0][0] <= now:
            _, key = heappop(self._deadlines)
            record = self._records.get(key)
            if record is not None and record.expires_at <= now:
                self._drop(key)
                dropped += 1
        return dropped

    def _make_room(self, needed: int, now: float) -> bool:
        if self.size + needed > self.limit:
            self.expire(now)
        tried = 0
        while self.size + needed > self.limit and tried < min(EVICTION_TRIES, len(self._distances)):
            tried += 1
            key = self._distances[-tried] ^ self.own_id
            if not self.answers_for(self._records[key]):
                self._drop(key)
                tried = 0
        return self.size + needed <= self.limit

    def _hold(self, record: Record) -> None:
        self._records[record.key] = record
        self.size += _size(record)
        heappush(self._deadlines, (record.expires_at, record.key))
        insort(self._distances, record.key ^ self.own_id)

    def _drop(self, key: int) -> None:
        record = self._records.pop(key, None)
        if record is not None:
            self.size -= _size(record)
            del self._distances[bisect_left(self._distances, key ^ self.own_id)]

    def check_invariants(self) -> None:
        """Raise AssertionError where the store contradicts itself; for tests and the simulator."""
        assert self.size == sum(map(_size, self._records.values())) <= self.limit
        assert self._distances == sorted(key ^ self.own_id for key in self._records)
        assert self._records.keys() <= {key for _, key in self._deadlines}


def _size(record: Record) -> int:
    return RECORD_OVERHEAD + len(record.value)
