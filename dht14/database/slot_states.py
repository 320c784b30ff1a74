"""What an offered record is judged against: the record of its slot, and what the slot remembers."""

from collections.abc import Callable
from typing import NamedTuple

from attrs import define

from dht14.database.entry_format import EntryFormat
from dht14.database.eviction import ReadSnapshot
from dht14.database.group_commit import GroupCommit
from dht14.records.record import Record
from dht14.records.version_floors import NO_FLOOR, Floor, floor_of


class SlotState(NamedTuple):
    """The live record of a slot, the entry that a new one would replace, and the floor of what has
    expired."""

    record: Record | None
    entry: bytes | None
    floor: Floor


@define(eq=False)
class SlotStates:
    """The states of the slots of a database. What waits to be written counts as written."""

    _format: EntryFormat
    _commits: GroupCommit
    _read: ReadSnapshot
    _read_record: Callable[[bytes, bytes], Record | None]
    """The record of a slot and its entry; None if the entry is damaged."""
    _floor_ttl: float
    """Seconds for which the version of an expired record is remembered."""

    def find(self, slot: bytes, now: float) -> SlotState:
        """Return the state of a slot."""
        pending = self._commits.newest(slot)
        if pending is not None and pending.record.expires_at > now:
            return SlotState(pending.record, pending.entry, NO_FLOOR)
        nothing: tuple[bytes | None, bytes | None] = None, None
        entry, floor = self._read(
            lambda txn, tables: (txn.get(slot, db=tables.records), txn.get(slot, db=tables.floors.floors)),
            nothing,
        )
        lowest = self._format.read_floor(slot, floor, now) if floor is not None else NO_FLOOR
        # A record that is being dropped is held no more, although it can still be read.
        is_changing = self._commits.is_changing(slot)
        replaced = pending.entry if pending is not None else None if is_changing else entry
        record = self._read_record(slot, entry) if entry is not None else None
        if record is None or record.expires_at > now:
            return SlotState(None if is_changing else record, replaced, lowest)
        if record.expires_at + self._floor_ttl <= now:
            return SlotState(None, replaced, lowest)  # The sweep has not come to it, but it is forgotten.
        return SlotState(None, replaced, max(lowest, floor_of(record)))
