"""The floors of a database, and which of them go when there are too many: as in `storage.floors`, on disk.

Beside the floors by place there are two indices: by the time at which they are forgotten, and by who has left
them. How many each writer has left is counted in memory, from the second one when the file is opened.
"""

from collections import Counter
from heapq import heapify, heappop, heappush
from typing import Any

from attrs import define, field, frozen

from dht14.database.entry_format import (
    HEAD_BYTES,
    TAG_BYTES,
    Body,
    EntryFormat,
    Head,
    due_entry,
    read_due,
    read_head,
    read_tag,
)
from dht14.records.record import Kind

PURGED_A_BATCH = 1000
"""Floors that one transaction forgets: those whose time has come, and those that are too many."""

_GROUP_BYTES = 1 + TAG_BYTES


@frozen
class LeftFloor:
    """The entry of a floor, and what decides how long it stays where there are too many."""

    entry: bytes
    is_brief: bool
    """Whether its record was."""
    is_owned: bool
    """Whether its record was an owner's."""

    @classmethod
    def seal(cls, entry_format: EntryFormat, place: bytes, head: Head, body: Body) -> "LeftFloor":
        """The floor of these parts; the body has the kind where that of a record has the replication."""
        entry = entry_format.seal(place, head, body)
        return cls(entry, body.is_brief, body.replication == Kind.OWNER)

    @property
    def standing(self) -> bytes:
        """The two as one byte."""
        return bytes([self.is_brief << 1 | self.is_owned])


def order_entry(place: bytes, entry: bytes, standing: bytes) -> bytes:
    """The entry of the index by writer: `group | owned u8 | due`; those of the same group go in this order."""
    is_brief, is_owned = divmod(standing[0], 2)
    due = due_entry(read_head(entry).until, place)
    return bytes([not is_brief]) + read_tag(entry) + bytes([is_owned]) + due


@define(eq=False)
class FloorTable:
    """Three tables that change together, in a transaction of whoever owns the database."""

    floors: Any
    times: Any
    order: Any
    most: int
    _counts: Counter[bytes] = field(factory=Counter, init=False)
    """Floors by group: whether their records were brief (0) or not (1), and the tag of their writer."""
    _growth: Counter[bytes] = field(factory=Counter, init=False)
    """By which the transaction under way changes them."""

    def begin(self, txn: Any) -> None:
        """A transaction begins; what one before did that was not committed is void."""
        self._growth.clear()
        if not self._counts:
            with txn.cursor(self.order) as cursor:
                self._counts.update(key[:_GROUP_BYTES] for key in cursor.iternext(values=False))

    def committed(self) -> None:
        """It is on disk."""
        for group, growth in self._growth.items():
            self._counts[group] += growth
            if not self._counts[group]:
                del self._counts[group]
        self._growth.clear()

    def put(self, txn: Any, place: bytes, left: LeftFloor) -> None:
        """Leave a floor, in place of what stands there."""
        self._delete(txn, place)
        txn.put(place, left.entry, db=self.floors)
        txn.put(_due(place, left.entry), left.standing, db=self.times)
        order = order_entry(place, left.entry, left.standing)
        txn.put(order, b"", db=self.order)
        self._growth[order[:_GROUP_BYTES]] += 1

    def _delete(self, txn: Any, place: bytes) -> None:
        """Drop a floor, if there is one. Where bytes on the disk have changed its indices keep an entry for it, which
        goes when its turn comes."""
        entry = txn.pop(place, db=self.floors)
        if entry is None or len(entry) < HEAD_BYTES:
            return
        standing = txn.pop(_due(place, entry), db=self.times)
        if standing:
            self._delete_order(txn, order_entry(place, entry, standing))

    def _delete_order(self, txn: Any, order: bytes) -> None:
        if txn.delete(order, db=self.order):
            self._growth[order[:_GROUP_BYTES]] -= 1

    def forget(self, txn: Any, now: float) -> None:
        """Drop the floors whose time has come, and those that are too many; not more than a batch of them."""
        forgotten = 0
        with txn.cursor(self.times) as cursor:
            while forgotten < PURGED_A_BATCH and cursor.first():
                due = cursor.key()
                until, place = read_due(due)
                if until > now:
                    break
                self._delete(txn, place)
                txn.delete(due, db=self.times)
                forgotten += 1
        excess: int = txn.stat(self.floors)["entries"] - self.most
        if excess > 0:
            self._displace(txn, min(excess, PURGED_A_BATCH))

    def _displace(self, txn: Any, count: int) -> None:
        counts = self._counts.copy()
        counts.update(self._growth)
        heaviest = [(group[:1], -held, group) for group, held in counts.items() if held]
        heapify(heaviest)
        while heaviest and count:
            is_lasting, held, group = heappop(heaviest)
            with txn.cursor(self.order) as cursor:
                order = cursor.key() if cursor.set_range(group) else b""
            if order.startswith(group):
                self._delete(txn, read_due(order[_GROUP_BYTES + 1 :])[1])
                self._delete_order(txn, order)
                heappush(heaviest, (is_lasting, held + 1, group))
                count -= 1


def _due(place: bytes, entry: bytes) -> bytes:
    return due_entry(read_head(entry).until, place)
