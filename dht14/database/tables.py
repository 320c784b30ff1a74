"""The tables of a database in LMDB, and the changes that are made to them in one transaction."""

import os
from struct import Struct
from typing import Any

import lmdb
from attrs import define, field, frozen

from dht14.database.entry_format import due_entry, read_head, read_tags
from dht14.database.floor_table import FloorTable, LeftFloor
from dht14.database.limits import Growth
from dht14.errors import Malformed
from dht14.records.store import PAGE_BYTES, PAGE_RECORDS

PAGE = 4096

_MOST_OF_A_PAGE = 2000
"""Bytes; an entry above this gets pages of its own."""
_OVERHEAD = 120
"""Bytes that an entry takes in its table and the time index beside its own, pages being partly empty."""

_NAMES = (b"records", b"expiry", b"writers", b"floors", b"floor times", b"floor order")
_SHARE = Struct(">Q")


def room(entry_size: int) -> int:
    """Bytes by which the database grows with an entry, about; commits tell what it really was.

    The table of writers counts in these: to change them changes the format.
    """
    if entry_size <= _MOST_OF_A_PAGE:
        return entry_size + _OVERHEAD
    return -(-entry_size // PAGE) * PAGE + _OVERHEAD


def growth_of(entry: bytes | None, replaced: bytes | None) -> Growth:
    """Bytes (`room`) that there are more, or less, and of the party of each tag, when one entry replaces another."""
    total, of_parties = 0, {}
    if entry is not None:
        total = room(len(entry))
        of_parties = dict.fromkeys(read_tags(entry), total)
    if replaced is not None:
        given_back = room(len(replaced))
        total -= given_back
        for tag in read_tags(replaced):
            of_parties[tag] = of_parties.get(tag, 0) - given_back
    return Growth(total, of_parties)


@define(eq=False)
class Changes:
    """What one transaction does, in this order: drop, then put."""

    puts: dict[bytes, bytes] = field(factory=dict)
    """Entries by place."""
    drops: dict[bytes, LeftFloor | None] = field(factory=dict)
    """Places, each with the floor that is left there, if any."""
    stale: list[bytes] = field(factory=list)
    """Entries of the time index that lead nowhere."""
    now: float = 0.0
    """When it was decided."""


@frozen
class Usage:
    """What a database holds: pages in use, in bytes, and records."""

    size: int = 0
    records: int = 0


@frozen(eq=False)
class Tables:
    """An open database: `records` by place, the times at which they expire, how many bytes each writer, and each
    subnet of writers, holds, by tag, and the floors.

    Transactions of any thread; of one process only, and not before it forks.
    """

    env: Any
    records: Any
    expiry: Any
    writers: Any
    floors: FloorTable
    _file: os.stat_result
    """As it was opened."""

    @classmethod
    def open(cls, path: str, limit: int, most_floors: int, *, new: bool) -> "Tables":
        """Open the file, or make it where it is `new`. It never grows beyond `limit` bytes.

        The whole limit is mapped at once: that takes addresses, while the file grows by what is written.
        Raises `lmdb.Error`; `Malformed` where a table is missing.
        """
        # Not metasync=False, though it saves a fifth of a millisecond for each commit: a power cut could
        # take back the last one, whose receipts are out. Unwritten bytes are zeroed (meminit is on): they
        # would bring memory of this process, values perhaps, into the file.
        env = lmdb.open(
            path,
            map_size=limit,
            subdir=False,
            mode=0o600,
            max_dbs=len(_NAMES),
            max_readers=8,
            max_spare_txns=2,
            readahead=False,
        )
        try:
            if new:
                with env.begin(write=True) as txn:
                    tables = [env.open_db(name, txn=txn) for name in _NAMES]
            else:
                tables = [env.open_db(name, create=False) for name in _NAMES]
        except BaseException as wrong:
            env.close()
            if isinstance(wrong, lmdb.NotFoundError):
                raise Malformed("a table is missing") from None
            raise
        records, expiry, writers, floors, floor_times, floor_order = tables
        floor_table = FloorTable(floors, floor_times, floor_order, most_floors)
        return cls(env, records, expiry, writers, floor_table, os.stat(path))

    def is_at(self, path: str) -> bool:
        """Whether the open file is still the one at this path."""
        try:
            return os.path.samestat(os.stat(path), self._file)
        except OSError:
            return False

    def write(self, changes: Changes) -> Usage:
        """Make these changes in one transaction, on disk when this returns. Raises `lmdb.Error`."""
        with self.env.begin(write=True) as txn:
            self.floors.begin(txn)
            growth: dict[bytes, int] = {}
            for place, floor in changes.drops.items():
                _add(growth, growth_of(None, self._drop(txn, place)))
                if floor is not None:
                    self.floors.put(txn, place, floor)
            for entry in changes.stale:
                txn.delete(entry, db=self.expiry)
            for place, entry in sorted(changes.puts.items()):
                replaced = self._put(txn, place, entry)
                _add(growth, growth_of(entry, replaced))
            self._charge(txn, growth)
            self.floors.forget(txn, changes.now)
            usage = self._usage(txn)
        self.floors.committed()
        return usage

    def _put(self, txn: Any, place: bytes, entry: bytes) -> bytes | None:
        replaced: bytes | None = txn.replace(place, entry, db=self.records)
        if replaced is not None:
            txn.delete(_due(place, replaced), db=self.expiry)
        txn.put(_due(place, entry), b"", db=self.expiry)
        return replaced

    def _drop(self, txn: Any, place: bytes) -> bytes | None:
        dropped: bytes | None = txn.pop(place, db=self.records)
        if dropped is not None:
            txn.delete(_due(place, dropped), db=self.expiry)
        return dropped

    def _charge(self, txn: Any, growth: dict[bytes, int]) -> None:
        for tag, grown in growth.items():
            if not grown:
                continue
            share = self.share(txn, tag) + grown
            if share > 0:
                txn.put(tag, _SHARE.pack(share), db=self.writers)
            else:
                txn.delete(tag, db=self.writers)

    def share(self, txn: Any, tag: bytes) -> int:
        """Bytes (`room`) that the party of this tag holds."""
        packed = txn.get(tag, db=self.writers)
        share: int = _SHARE.unpack(packed)[0] if packed is not None else 0
        return share

    def largest_share(self, txn: Any) -> int:
        """Bytes of the party that holds most."""
        with txn.cursor(self.writers) as cursor:
            return max((_SHARE.unpack(packed)[0] for packed in cursor.iternext(keys=False)), default=0)

    def page(self, txn: Any, mark: bytes) -> tuple[list[tuple[bytes, bytes]], bool]:
        """Places and entries behind a place, a page of them; and whether they are the last ones."""
        found: list[tuple[bytes, bytes]] = []
        size = 0
        with txn.cursor(self.records) as cursor:
            if not cursor.set_range(mark + b"\0"):
                return found, True
            for place, entry in cursor.iternext():
                if len(found) == PAGE_RECORDS or size >= PAGE_BYTES:
                    return found, False
                found.append((place, entry))
                size += len(entry)
        return found, True

    def usage(self) -> Usage:
        """What is held now."""
        with self.env.begin() as txn:
            return self._usage(txn)

    def _usage(self, txn: Any) -> Usage:
        floors = self.floors
        tables = (self.records, self.expiry, self.writers, floors.floors, floors.times, floors.order)
        stats = [txn.stat(table) for table in tables]
        pages = sum(stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"] for stat in stats)
        return Usage(pages * stats[0]["psize"], stats[0]["entries"])

    def close(self) -> None:
        """Close the file. Nobody may be reading."""
        self.env.close()


def _add(growth: dict[bytes, int], more: Growth) -> None:
    # A Counter would do, at several microseconds for each entry.
    for tag, grown in more.of_parties.items():
        growth[tag] = growth.get(tag, 0) + grown


def _due(place: bytes, entry: bytes) -> bytes:
    return due_entry(read_head(entry).until, place)
