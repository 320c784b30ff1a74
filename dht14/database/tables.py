"""The tables of a database in LMDB, and the changes that one transaction makes."""

import os
from itertools import islice
from struct import Struct
from typing import Any

import lmdb
from attrs import define, field, frozen

from dht14.database.entry_format import pack_expiry, read_header, read_tags
from dht14.database.floor_table import FloorTable, LeftFloor
from dht14.database.limits import Growth
from dht14.errors import Malformed
from dht14.records.store import PAGE_BYTES, PAGE_RECORDS

PAGE = 4096

_MAX_SHARED_PAGE_ENTRY = 2000
"""Bytes. A larger entry gets pages of its own."""
_OVERHEAD = 120
"""Bytes that an entry takes beside its own, in its table and in the time index: pages are partly empty."""

_NAMES = (b"records", b"expiry", b"writers", b"floors", b"floor times", b"floor order")
_KEPT_NAMES = (b"kept", b"kept values")
"""Databases of earlier versions lack these: they are made when such a database is opened."""
_SHARE = Struct(">Q")


def estimated_size(entry_size: int) -> int:
    """Return the bytes by which an entry makes the database grow, about; the exact size is known after the
    commit.

    The table of writers counts these bytes: another formula is another format.
    """
    if entry_size <= _MAX_SHARED_PAGE_ENTRY:
        return entry_size + _OVERHEAD
    return -(-entry_size // PAGE) * PAGE + _OVERHEAD


def growth_of(entry: bytes | None, replaced: bytes | None) -> Growth:
    """Return the growth, in bytes of `estimated_size`, when one entry replaces another."""
    total, of_parties = 0, {}
    if entry is not None:
        total = estimated_size(len(entry))
        of_parties = dict.fromkeys(read_tags(entry), total)
    if replaced is not None:
        given_back = estimated_size(len(replaced))
        total -= given_back
        for tag in read_tags(replaced):
            of_parties[tag] = of_parties.get(tag, 0) - given_back
    return Growth(total, of_parties)


@define(eq=False)
class Changes:
    """The changes of one transaction: first the drops, then the puts."""

    puts: dict[bytes, bytes] = field(factory=dict)
    """Entries by slot."""
    drops: dict[bytes, LeftFloor | None] = field(factory=dict)
    """Slots, each with the floor that is left there, if any."""
    stale: list[bytes] = field(factory=list)
    """Entries of the time index without a record."""
    now: float = 0.0
    """When the last drop was decided."""
    kept: dict[bytes, bytes | None] = field(factory=dict)
    """Entries of the list of kept values, by slot; None removes one."""
    kept_values: dict[bytes, bytes | None] = field(factory=dict)
    """Their values, in the same way; those that are not here stay as they are."""


@frozen
class Usage:
    """The size of a database: bytes of the pages in use, and records."""

    size: int = 0
    records: int = 0
    kept_size: int = 0
    """Bytes of the list of kept values, beside `size`."""
    kept: int = 0
    """Its entries."""


@frozen(eq=False)
class Tables:
    """An open database. `records`: entries by slot; `expiry`: their times; `writers`: the bytes that each
    writer and each subnet holds, by tag; the floors; `kept` and `kept_values`: the list of kept values.

    Any thread may use it, but only of the process that opened it: not after a fork.
    """

    env: Any
    records: Any
    expiry: Any
    writers: Any
    floors: FloorTable
    kept: Any
    kept_values: Any
    _file: os.stat_result
    """Of the file that was opened."""

    @classmethod
    def open(cls, path: str, limit: int, max_floors: int, *, new: bool) -> "Tables":
        """Open the file; make it if it is `new`. It never grows beyond `limit` bytes.

        The whole limit is mapped at once, which uses address space; the file grows with its content. Raises
        `lmdb.Error`, and `Malformed` if a table is missing.
        """
        # Not metasync=False, although it saves a fifth of a millisecond for each commit: a power cut could
        # undo the last one, for which receipts were sent. meminit stays on: unwritten bytes would bring
        # memory of this process, perhaps plain values, into the file.
        env = lmdb.open(
            path,
            map_size=limit,
            subdir=False,
            mode=0o600,
            max_dbs=len(_NAMES) + len(_KEPT_NAMES),
            max_readers=8,
            max_spare_txns=2,
            readahead=False,
        )
        try:
            # What is read counts as held. A process that was killed, or a write that failed, can have left a
            # transaction in the memory of the system that is not on the disk yet.
            env.sync(True)
            if new:
                with env.begin(write=True) as txn:
                    tables = [env.open_db(name, txn=txn) for name in _NAMES]
            else:
                tables = [env.open_db(name, create=False) for name in _NAMES]
            kept, kept_values = (env.open_db(name) for name in _KEPT_NAMES)
        except BaseException as wrong:
            env.close()
            if isinstance(wrong, lmdb.NotFoundError):
                raise Malformed("a table is missing") from None
            raise
        records, expiry, writers, floors, floor_times, floor_order = tables
        floor_table = FloorTable(floors, floor_times, floor_order, max_floors)
        return cls(env, records, expiry, writers, floor_table, kept, kept_values, os.stat(path))

    def is_at(self, path: str) -> bool:
        """Whether the open file is still the one at this path."""
        try:
            return os.path.samestat(os.stat(path), self._file)
        except OSError:
            return False

    def write(self, changes: Changes) -> Usage:
        """Make these changes in one transaction; they are on disk when this returns. Raises `lmdb.Error`."""
        with self.env.begin(write=True) as txn:
            self.floors.begin(txn)
            growth: dict[bytes, int] = {}
            for slot, floor in changes.drops.items():
                _add(growth, growth_of(None, self._drop(txn, slot)))
                if floor is not None:
                    self.floors.put(txn, slot, floor)
            for entry in changes.stale:
                txn.delete(entry, db=self.expiry)
            for slot, entry in sorted(changes.puts.items()):
                replaced = self._put(txn, slot, entry)
                _add(growth, growth_of(entry, replaced))
            self._charge(txn, growth)
            for table, items in ((self.kept, changes.kept), (self.kept_values, changes.kept_values)):
                for slot, item in items.items():
                    if item is not None:
                        txn.put(slot, item, db=table)
                    else:
                        txn.delete(slot, db=table)
            self.floors.forget(txn, changes.now)
            usage = self._usage(txn)
        self.floors.committed()
        return usage

    def _put(self, txn: Any, slot: bytes, entry: bytes) -> bytes | None:
        replaced: bytes | None = txn.replace(slot, entry, db=self.records)
        if replaced is not None:
            txn.delete(_expiry_entry(slot, replaced), db=self.expiry)
        txn.put(_expiry_entry(slot, entry), b"", db=self.expiry)
        return replaced

    def _drop(self, txn: Any, slot: bytes) -> bytes | None:
        dropped: bytes | None = txn.pop(slot, db=self.records)
        if dropped is not None:
            txn.delete(_expiry_entry(slot, dropped), db=self.expiry)
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
        """Return the bytes (`estimated_size`) that the party of this tag holds."""
        packed = txn.get(tag, db=self.writers)
        share: int = _SHARE.unpack(packed)[0] if packed is not None else 0
        return share

    def greatest_share(self, txn: Any, mark: bytes, count: int) -> tuple[int, bytes]:
        """Return the greatest of at most `count` shares after the tag `mark`, and the last of these tags;
        that is empty if there are no more."""
        with txn.cursor(self.writers) as cursor:
            if not cursor.set_range(mark + b"\0"):
                return 0, b""
            shares = list(islice(cursor.iternext(), count))
        # Big-endian numbers of one length are in the order of their bytes.
        greatest: int = _SHARE.unpack(max(packed for _, packed in shares))[0]
        return greatest, shares[-1][0] if len(shares) == count else b""

    def page(self, txn: Any, mark: bytes) -> tuple[list[tuple[bytes, bytes]], bool]:
        """Return a page of slots and entries after the slot `mark`, and whether it is the last page."""
        found: list[tuple[bytes, bytes]] = []
        size = 0
        with txn.cursor(self.records) as cursor:
            if not cursor.set_range(mark + b"\0"):
                return found, True
            for slot, entry in cursor.iternext():
                if len(found) == PAGE_RECORDS or size >= PAGE_BYTES:
                    return found, False
                found.append((slot, entry))
                size += len(entry)
        return found, True

    def usage(self) -> Usage:
        """Return the present size."""
        with self.env.begin() as txn:
            return self._usage(txn)

    def _usage(self, txn: Any) -> Usage:
        floors = self.floors
        tables = (self.records, self.expiry, self.writers, floors.floors, floors.times, floors.order)
        stats = [txn.stat(table) for table in tables]
        kept, kept_values = txn.stat(self.kept), txn.stat(self.kept_values)
        return Usage(
            sum(map(_bytes_of, stats)),
            stats[0]["entries"],
            _bytes_of(kept) + _bytes_of(kept_values),
            kept["entries"],
        )

    def close(self) -> None:
        """Close the file. No read may be under way."""
        self.env.close()


def _bytes_of(stat: dict[str, int]) -> int:
    return stat["psize"] * (stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"])


def _add(growth: dict[bytes, int], more: Growth) -> None:
    # A Counter would do, at several microseconds for each entry.
    for tag, grown in more.of_parties.items():
        growth[tag] = growth.get(tag, 0) + grown


def _expiry_entry(slot: bytes, entry: bytes) -> bytes:
    return pack_expiry(read_header(entry).until, slot)
