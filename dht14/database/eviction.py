"""Which records leave a database: expired ones, and from a full one those that this node need not hold."""

from collections.abc import Callable
from itertools import islice
from typing import Any, Protocol, TypeVar

from attrs import define, field

from dht14.database.entry_format import EntryBody, EntryFormat, EntryHeader, unpack_expiry
from dht14.database.floor_table import LeftFloor
from dht14.database.group_commit import GroupCommit
from dht14.database.limits import EVICTION_TRIES
from dht14.database.tables import Tables
from dht14.records.record import Record
from dht14.records.version_floors import NO_FLOOR, Floor, floor_of

T = TypeVar("T")

MAX_BATCH_DROPS = 100
"""Expired records that are dropped at once."""

FULL_PAUSE = 1.0
"""Seconds until a full store that found too little to evict searches again."""


class ReadSnapshot(Protocol):
    """Runs a query in a read transaction."""

    def __call__(self, query: Callable[[Any, Tables], T], default: T) -> T:
        """Return the result of `query(transaction, tables)`; `default` if the database cannot be read."""


@define(eq=False)
class Eviction:
    """Plans drops. The next batch of the group commit makes them."""

    _format: EntryFormat
    _commits: GroupCommit
    _read_snapshot: ReadSnapshot
    _read_record: Callable[[bytes, bytes], Record | None]
    """The record of a slot and its entry; None if the entry is damaged."""
    _answers_for: Callable[[Record], bool]
    """Whether this node is one of the nearest to the key of a record, of as many as its replication."""
    _floor_ttl: float
    """Seconds for which the version of an expired record is remembered."""
    _full_until: float = field(default=0.0, init=False)

    # expired records

    def expire(self, now: float) -> int:
        """Plan to drop records that have expired, one batch at most. Return how many were found."""

        def query(txn: Any, tables: Tables) -> list[tuple[bytes, bytes | None]]:
            found: list[tuple[bytes, bytes | None]] = []
            with txn.cursor(tables.expiry) as cursor:
                for expiry_entry in cursor.iternext(values=False):
                    expires_at, slot = unpack_expiry(expiry_entry)
                    if expires_at > now or len(found) == MAX_BATCH_DROPS:
                        break
                    if not self._commits.is_changing(slot):
                        found.append((expiry_entry, txn.get(slot, db=tables.records)))
            return found

        found: list[tuple[bytes, bytes | None]] = self._read_snapshot(query, [])
        for expiry_entry, entry in found:
            self._expire_one(expiry_entry, entry, now)
        return len(found)

    def _expire_one(self, expiry_entry: bytes, entry: bytes | None, now: float) -> None:
        expires_at, slot = unpack_expiry(expiry_entry)
        record = self._read_record(slot, entry) if entry is not None else None
        if record is None or record.expires_at != expires_at:
            # Damage: the index and the record disagree. A sound record has an index entry of its own.
            self._commits.forget(expiry_entry)
        if entry is not None and (record is None or record.expires_at == expires_at):
            self._commits.drop(slot, self._floor_left_by(slot, record, now), entry, now)

    def _floor_left_by(self, slot: bytes, record: Record | None, now: float) -> LeftFloor | None:
        if record is None or (floor := floor_of(record)) is NO_FLOOR:
            return None
        forgotten_at = record.expires_at + self._floor_ttl
        return self._sealed(slot, record, floor, forgotten_at) if forgotten_at > now else None

    def _sealed(self, slot: bytes, record: Record, floor: Floor, forgotten_at: float) -> LeftFloor:
        body = EntryBody(record.key, floor.kind, b"", record.writer, is_brief=record.is_brief)
        return LeftFloor.seal(self._format, slot, EntryHeader(floor.version, forgotten_at), body)

    def lapse(self, slot: bytes, record: Record, floor: Floor, now: float) -> None:
        """Drop the record of a slot if it is still this one, and leave this floor."""
        entry: bytes | None = self._read_snapshot(lambda txn, tables: txn.get(slot, db=tables.records), None)
        if entry is None or self._commits.is_changing(slot) or self._read_record(slot, entry) != record:
            return
        self._commits.drop(slot, self._sealed(slot, record, floor, now + self._floor_ttl), entry, now)
        self._commits.send()

    # records for which other nodes answer

    def may_evict(self, now: float) -> bool:
        """Whether there may be something to evict: a search that found too little is not repeated at once."""
        return now >= self._full_until

    def evict(self, newcomer: bytes, target_growth: float, now: float) -> None:
        """Plan to drop records that this node does not answer for, until at most `target_growth` bytes are
        pending.

        Cached records go first, then the farthest. The record in the slot `newcomer` stays: it is being
        replaced.
        """

        def query(txn: Any, tables: Tables) -> list[tuple[bytes, bytes]]:
            with txn.cursor(tables.records) as cursor:
                others = (item for item in cursor.iterprev() if item[0] != newcomer)
                staying = (item for item in others if not self._commits.is_changing(item[0]))
                return list(islice(staying, EVICTION_TRIES))

        farthest: list[tuple[bytes, bytes]] = self._read_snapshot(query, [])
        opened = [(slot, entry, self._read_record(slot, entry)) for slot, entry in farthest]
        evictable = [item for item in opened if item[2] is None or not self._answers_for(item[2])]
        for slot, entry, _ in sorted(evictable, key=lambda item: item[2] is None or not item[2].is_cached):
            if self._commits.growth <= target_growth:
                return
            self._commits.drop(slot, None, entry, now)
        if self._commits.growth > target_growth and len(evictable) < EVICTION_TRIES:
            self._full_until = now + FULL_PAUSE
