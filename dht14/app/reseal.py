"""Change of the encryption key: encrypts a database again under another key, for `dht14 rekey`."""

import os
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import lmdb
from attrs import define, field, frozen

from dht14.app.database_dir import DatabaseDir
from dht14.database.entry_format import EntryBody, EntryFormat, EntryHeader
from dht14.database.file_check import SOUND, verify_file
from dht14.database.floor_table import LeftFloor
from dht14.database.fsync import fsync_folder
from dht14.database.group_commit import MAX_BATCH_PUTS
from dht14.database.kept_records import KeptFormat
from dht14.database.tables import Changes, Tables
from dht14.errors import ConfigError, Malformed
from dht14.records.version_floors import MAX_FLOORS

_Entry = tuple[bytes, bytes]
"""Slot and entry."""

Progress = Callable[[int, int], None]
"""Called with the number of values that are done, and that of all."""


@frozen
class ResealCounts:
    """The result of a change of the key."""

    records: int
    """Records in the new database."""
    damaged: int
    """Damaged entries, which were left out."""


def reseal(
    values: DatabaseDir, key: bytes, limit: int, progress: Progress = lambda done, count: None
) -> ResealCounts:
    """Encrypt the whole database under another key. Raises `ConfigError`; then the old database is unchanged.

    The new database is made beside the old one and replaces it when the header is replaced. If this is
    interrupted, one of the two is complete and in use; the files of the other are removed at the next start.
    """
    if os.path.exists(values.path) and verify_file(values.path) != SOUND:
        raise ConfigError(
            f"[node] data_dir: {values.path} is damaged; start the node once, it moves the file away"
        )
    new = DatabaseDir.new(values.folder, key, values.header.origin)
    try:
        counts = _copied(values, new, limit, progress) if os.path.exists(values.path) else ResealCounts(0, 0)
        # The name of the database file must be durable before a header names it.
        fsync_folder(values.folder)
        new.save()
    except (OSError, lmdb.Error, Malformed) as error:
        values.remove_others()
        raise ConfigError(
            f"[node] data_dir: the values in {values.folder} cannot be rewritten ({error}); "
            "that needs as much free space as they take now"
        ) from None
    new.remove_others()
    return counts


def _copied(values: DatabaseDir, new: DatabaseDir, limit: int, progress: Progress) -> ResealCounts:
    limit = max(limit, 2 * os.path.getsize(values.path))
    source = Tables.open(values.path, limit, MAX_FLOORS, new=False)
    try:
        target = Tables.open(new.path, limit, MAX_FLOORS, new=True)
        try:
            return _copy(source, values.format, target, new.format, progress)
        finally:
            target.close()
    finally:
        source.close()


def _copy(
    source: Tables, old: EntryFormat, target: Tables, new: EntryFormat, progress: Progress
) -> ResealCounts:
    opened = _EntryReader(old, new)
    done, count = 0, source.usage().records
    with source.env.begin() as txn:
        # Before the records: to leave a floor drops the record of its slot, and a slot can have both.
        for floors in _batches(txn.cursor(source.floors.floors)):
            left = {slot: LeftFloor.seal(new, slot, header, body) for slot, header, body in opened(floors)}
            target.write(Changes(drops=dict(left)))
        for records in _batches(txn.cursor(source.records)):
            target.write(
                Changes(puts={slot: new.seal(slot, header, body) for slot, header, body in opened(records)})
            )
            done += len(records)
            progress(done, count)
        for kept in _batches(txn.cursor(source.kept)):
            target.write(_kept_changes(txn, source, kept, KeptFormat(old), KeptFormat(new), opened))
    return ResealCounts(target.usage().records, opened.damaged)


def _kept_changes(
    txn: Any, source: Tables, kept: list[_Entry], old: KeptFormat, new: KeptFormat, opened: "_EntryReader"
) -> Changes:
    """Return the kept values of these entries, sealed again; damaged ones are left out."""
    changes = Changes()
    for slot, sealed in kept:
        value = txn.get(slot, db=source.kept_values)
        try:
            entry = old.open(slot, sealed)
            plain = old.open_value(slot, value) if value is not None else None
        except (Malformed, ValueError):
            opened.damaged += 1
            continue
        new_slot = new.slot(entry.key)
        changes.kept[new_slot] = new.seal(new_slot, entry)
        if plain is not None:
            changes.kept_values[new_slot] = new.seal_value(new_slot, plain)
    return changes


def _batches(entries: Iterable[_Entry]) -> Iterator[list[_Entry]]:
    entries = iter(entries)
    while batch := list(islice(entries, MAX_BATCH_PUTS)):
        yield batch


@define
class _EntryReader:
    """Opens entries of one database, and yields them with their slots in another."""

    _old: EntryFormat
    _new: EntryFormat
    damaged: int = field(default=0, init=False)

    def __call__(self, entries: Iterable[_Entry]) -> Iterator[tuple[bytes, EntryHeader, EntryBody]]:
        for slot, entry in entries:
            try:
                header, body = self._old.open(slot, entry)
            except Malformed:
                self.damaged += 1
            else:
                yield self._new.slot(body.key), header, body
