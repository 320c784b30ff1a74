"""The version floors of a database, and which of them are forgotten when there are too many.

The rules are those of `records.version_floors`. Beside the floors by slot there are two indices: by the time
at which they are forgotten, and by the writer that left them. The number of floors of each writer is kept in
memory; it is counted from the second index when the file is opened.
"""

from collections import Counter
from heapq import heapify, heappop, heappush
from typing import Any

from attrs import define, field, frozen

from dht14.database.entry_format import (
    ENTRY_HEADER_BYTES,
    PARTY_TAG_BYTES,
    EntryBody,
    EntryFormat,
    EntryHeader,
    pack_expiry,
    read_header,
    read_writer_tag,
    unpack_expiry,
)
from dht14.records.record import Kind

MAX_FORGOTTEN_FLOORS = 1000
"""Floors that one transaction removes, of those whose time has come and of those over the limit."""

_GROUP_BYTES = 1 + PARTY_TAG_BYTES


@frozen
class LeftFloor:
    """The entry of a floor, and what decides how soon it is displaced."""

    entry: bytes
    is_brief: bool
    """Whether its record was brief."""
    is_owned: bool
    """Whether its record was an owner's."""

    @classmethod
    def seal(
        cls, entry_format: EntryFormat, slot: bytes, header: EntryHeader, body: EntryBody
    ) -> "LeftFloor":
        """Return a sealed floor. Its body has the kind where that of a record has the replication."""
        entry = entry_format.seal(slot, header, body)
        return cls(entry, body.is_brief, body.replication == Kind.OWNER)

    @property
    def standing(self) -> bytes:
        """Both flags as one byte."""
        return bytes([self.is_brief << 1 | self.is_owned])


def order_entry(slot: bytes, entry: bytes, standing: bytes) -> bytes:
    """Return the entry of the index by writer: `group | owned u8 | expiry entry`. It orders the floors of
    a group."""
    is_brief, is_owned = divmod(standing[0], 2)
    expiry_entry = pack_expiry(read_header(entry).until, slot)
    return bytes([not is_brief]) + read_writer_tag(entry) + bytes([is_owned]) + expiry_entry


@define(eq=False)
class FloorTable:
    """Three tables that change together, in a transaction of their owner."""

    floors: Any
    times: Any
    order: Any
    limit: int
    _counts: Counter[bytes] = field(factory=Counter, init=False)
    """Number of floors by group: 0 for brief records or 1 for others, and the tag of the writer."""
    _growth: Counter[bytes] = field(factory=Counter, init=False)
    """Changes of these numbers by the present transaction."""

    def begin(self, txn: Any) -> None:
        """A transaction began. Changes of one that was not committed are discarded."""
        self._growth.clear()
        if not self._counts:
            with txn.cursor(self.order) as cursor:
                self._counts.update(key[:_GROUP_BYTES] for key in cursor.iternext(values=False))

    def committed(self) -> None:
        """The transaction is on disk."""
        for group, growth in self._growth.items():
            self._counts[group] += growth
            if not self._counts[group]:
                del self._counts[group]
        self._growth.clear()

    def put(self, txn: Any, slot: bytes, left: LeftFloor) -> None:
        """Leave a floor in a slot; it replaces the one there."""
        self._delete(txn, slot)
        txn.put(slot, left.entry, db=self.floors)
        txn.put(_expiry_entry(slot, left.entry), left.standing, db=self.times)
        order = order_entry(slot, left.entry, left.standing)
        txn.put(order, b"", db=self.order)
        self._growth[order[:_GROUP_BYTES]] += 1

    def _delete(self, txn: Any, slot: bytes) -> None:
        """Remove the floor of a slot, if there is one. If it is damaged its index entries stay until their
        turn comes."""
        entry = txn.pop(slot, db=self.floors)
        if entry is None or len(entry) < ENTRY_HEADER_BYTES:
            return
        standing = txn.pop(_expiry_entry(slot, entry), db=self.times)
        if standing:
            self._delete_order(txn, order_entry(slot, entry, standing))

    def _delete_order(self, txn: Any, order: bytes) -> None:
        if txn.delete(order, db=self.order):
            self._growth[order[:_GROUP_BYTES]] -= 1

    def forget(self, txn: Any, now: float) -> None:
        """Remove floors whose time has come, and those over the limit; `MAX_FORGOTTEN_FLOORS` of each at
        most."""
        forgotten = 0
        with txn.cursor(self.times) as cursor:
            while forgotten < MAX_FORGOTTEN_FLOORS and cursor.first():
                expiry_entry = cursor.key()
                until, slot = unpack_expiry(expiry_entry)
                if until > now:
                    break
                self._delete(txn, slot)
                txn.delete(expiry_entry, db=self.times)
                forgotten += 1
        excess: int = txn.stat(self.floors)["entries"] - self.limit
        if excess > 0:
            self._displace(txn, min(excess, MAX_FORGOTTEN_FLOORS))

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
                self._delete(txn, unpack_expiry(order[_GROUP_BYTES + 1 :])[1])
                self._delete_order(txn, order)
                heappush(heaviest, (is_lasting, held + 1, group))
                count -= 1


def _expiry_entry(slot: bytes, entry: bytes) -> bytes:
    return pack_expiry(read_header(entry).until, slot)
