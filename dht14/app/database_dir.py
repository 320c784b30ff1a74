"""Where a node's values lie, and the key that opens them.

Below the data directory, `values/header` names the database file beside it, and tells whether a key is the
one that it was sealed with, before anything is opened. A header that is not whole, or something else in
that place, is renamed, never deleted: the values come back from other holders. A folder that is empty is used as
it is; one that is a link or a mount stays one, and what is renamed stays in it. The key that is made where none is
configured is `encryption.key`.

The header: `magic 8 | format u16 | database id 16 | salt 32 | key check 32 | origin 32 | SHA-256 of these`.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from struct import Struct

import lmdb
from attrs import define, evolve, field, frozen

from dht14.app.data_dir import DataDir, refuse_dead_link, replace_file, unusable_error
from dht14.app.option_types import secret_key
from dht14.database.entry_format import EntryBody, EntryFormat, EntryHeader
from dht14.database.file_check import SOUND, verify_file
from dht14.database.floor_table import LeftFloor
from dht14.database.fsync import fsync_folder
from dht14.database.group_commit import MAX_BATCH_PUTS
from dht14.database.tables import Changes, Tables
from dht14.database.vault import DATABASE_ID_BYTES, KEY_CHECK_BYTES, SALT_BYTES, Vault
from dht14.database.writer_thread import is_missing, set_aside
from dht14.errors import ConfigError, Malformed
from dht14.kademlia.keyspace import ID_BYTES, id_from_bytes, id_to_bytes
from dht14.records.version_floors import MAX_FLOORS

FORMAT = 2
"""Of the whole database: header, tables and entries."""

_FOLDER = "values"
_HEADER = "header"
_KEY_FILE = "encryption.key"
_MAGIC = b"DHT14VAL"
_START = Struct(f">{len(_MAGIC)}sH")
_LAYOUT = Struct(f">{len(_MAGIC)}sH{DATABASE_ID_BYTES}s{SALT_BYTES}s{KEY_CHECK_BYTES}s{ID_BYTES}s")
_DIGEST_BYTES = 32
_KEY_BYTES = 32
_MOST_BYTES = 65_536
_ASIDE = "damaged-"
_OUR_FILE = re.compile(rf"{_HEADER}|[0-9a-f]{{{2 * DATABASE_ID_BYTES}}}\.mdb(-lock)?(\.damaged-\d+)?")

_Entry = tuple[bytes, bytes]
"""Place and bytes."""


@frozen
class DatabaseHeader:
    """What must be known of a database before it can be opened. Nothing of it is secret."""

    database_id: bytes
    salt: bytes
    key_check: bytes
    origin: int
    """Distances are measured from this id."""

    def pack(self) -> bytes:
        """The bytes of the file."""
        packed = _LAYOUT.pack(
            _MAGIC, FORMAT, self.database_id, self.salt, self.key_check, id_to_bytes(self.origin)
        )
        return packed + hashlib.sha256(packed).digest()

    @classmethod
    def unpack(cls, packed: bytes) -> "DatabaseHeader":
        """Raises `Malformed` where it is damaged, `ConfigError` where a newer version wrote it."""
        content, digest = packed[:-_DIGEST_BYTES], packed[-_DIGEST_BYTES:]
        if hashlib.sha256(content).digest() != digest or not content.startswith(_MAGIC):
            raise Malformed("the header is damaged")
        if (found := _START.unpack_from(content)[1]) > FORMAT:
            raise ConfigError(
                f"[node] data_dir: its values are of format {found}, and this version knows {FORMAT} at most; "
                "run the version that wrote them, or give another --data-dir"
            )
        if found < FORMAT:
            raise Malformed("the values are of a format that no network has used")
        if len(content) != _LAYOUT.size:
            raise Malformed("the header is damaged")
        _, _, database_id, salt, key_check, origin = _LAYOUT.unpack(content)
        return cls(database_id, salt, key_check, id_from_bytes(origin))

    def vault(self, key: bytes) -> Vault:
        """The vault of this database under a key, which may be a wrong one."""
        return Vault.unlock(key, self.salt, self.database_id, os.urandom)


@frozen
class DatabaseDir:
    """A database that can be opened: its folder, its header and the key that fits."""

    folder: str
    header: DatabaseHeader
    format: EntryFormat
    set_aside: str = ""
    """Where what was found in its place has been moved."""
    is_missing: bool = False
    """Whether the header was there, and the database file that it names was not."""

    @classmethod
    def begin(cls, folder: str, key: bytes, origin: int, aside: str = "") -> "DatabaseDir":
        """A new database, of which nothing is on disk yet."""
        database_id, salt = os.urandom(DATABASE_ID_BYTES), os.urandom(SALT_BYTES)
        vault = Vault.unlock(key, salt, database_id, os.urandom)
        return cls(
            folder,
            DatabaseHeader(database_id, salt, vault.key_check, origin),
            EntryFormat(vault, origin),
            aside,
        )

    @property
    def path(self) -> str:
        """The database file."""
        return os.path.join(self.folder, self.header.database_id.hex() + ".mdb")

    def save(self) -> None:
        """Make this the database of its folder, from one moment to the next. Raises `OSError`."""
        replace_file(os.path.join(self.folder, _HEADER), self.header.pack(), durable=True)

    def remove_others(self) -> None:
        """Remove databases that a change of the key left behind: half made, or of the old key."""
        ours = os.path.basename(self.path)
        with suppress(OSError):
            for name in os.listdir(self.folder):
                if name.endswith((".mdb", ".mdb-lock")) and not name.startswith(ours):
                    os.unlink(os.path.join(self.folder, name))


def has_database(data_dir: str) -> bool:
    """Whether there is a database already, or something in its place. Takes a path, and makes nothing there.

    Raises `ConfigError` where the place is a link to nowhere, or cannot be read.
    """
    folder = os.path.join(data_dir, _FOLDER)
    try:
        refuse_dead_link(folder)
        return bool(_content(folder)) if os.path.isdir(folder) else os.path.exists(folder)
    except OSError as wrong:
        raise unusable_error(data_dir, wrong) from None


def unlock(data_dir: DataDir, configured_key: bytes | None, origin: int) -> DatabaseDir:
    """The database of a data directory; made, with a key if need be, where there is none.

    Raises `ConfigError`, with nothing changed, where the key is missing or is not the right one.
    """
    try:
        return _unlock(data_dir, configured_key, origin)
    except OSError as wrong:
        raise unusable_error(data_dir.path, wrong) from None


def _unlock(data_dir: DataDir, configured_key: bytes | None, origin: int) -> DatabaseDir:
    folder = data_dir.file(_FOLDER)
    header = _read_header(os.path.join(folder, _HEADER))
    key = configured_key or _kept_key(data_dir)
    if header is None:
        aside = _cleared(folder)
        return _begun(DatabaseDir.begin(folder, key or _new_key(data_dir), origin, aside))
    if key is None:
        raise ConfigError(
            f"[security] encryption_key: is not set, and {data_dir.file(_KEY_FILE)} is gone; set the key of "
            f"the values in {folder}, or move that folder away to begin anew"
        )
    vault = header.vault(key)
    if not vault.fits(header.key_check):
        raise ConfigError(
            f"[security] encryption_key: is not the key of the values in {folder}; set the one that is, or "
            "move that folder away to begin anew"
        )
    values = DatabaseDir(folder, header, EntryFormat(vault, header.origin))
    values.remove_others()
    return evolve(values, is_missing=is_missing(values.path))


@frozen
class Resealed:
    """What a change of the key met."""

    records: int
    damaged: int


Progress = Callable[[int, int], None]
"""Is told how many of how many values are sealed anew."""


def reseal(
    values: DatabaseDir, key: bytes, limit: int, progress: Progress = lambda done, count: None
) -> Resealed:
    """Seal everything anew under another key. Raises `ConfigError`, the old database being as it was.

    The new one is made beside the old one, and takes its place when the header is replaced: whenever this is
    interrupted, there is one of the two, and what is left of the other goes at the next start.
    """
    if os.path.exists(values.path) and verify_file(values.path) != SOUND:
        raise ConfigError(
            f"[node] data_dir: {values.path} is damaged; start the node once, it will see to it"
        )
    new = DatabaseDir.begin(values.folder, key, values.header.origin)
    try:
        resealed = _copied(values, new, limit, progress) if os.path.exists(values.path) else Resealed(0, 0)
        # The database must have its name before a header names it.
        fsync_folder(values.folder)
        new.save()
    except (OSError, lmdb.Error, Malformed) as wrong:
        values.remove_others()
        raise ConfigError(
            f"[node] data_dir: the values in {values.folder} cannot be written anew ({wrong}); "
            "it takes as much room as they have now"
        ) from None
    new.remove_others()
    return resealed


def _copied(values: DatabaseDir, new: DatabaseDir, limit: int, progress: Progress) -> Resealed:
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


def _copy(source: Tables, old: EntryFormat, target: Tables, new: EntryFormat, progress: Progress) -> Resealed:
    opened = _Opening(old, new)
    done, count = 0, source.usage().records
    with source.env.begin() as txn:
        for records in _batches(txn.cursor(source.records)):
            target.write(
                Changes(puts={slot: new.seal(slot, header, body) for slot, header, body in opened(records)})
            )
            done += len(records)
            progress(done, count)
        for floors in _batches(txn.cursor(source.floors.floors)):
            left = {slot: LeftFloor.seal(new, slot, header, body) for slot, header, body in opened(floors)}
            target.write(Changes(drops=dict(left)))
    return Resealed(target.usage().records, opened.damaged)


def _batches(entries: Iterable[_Entry]) -> Iterator[list[_Entry]]:
    entries = iter(entries)
    while batch := list(islice(entries, MAX_BATCH_PUTS)):
        yield batch


@define
class _Opening:
    """Opens entries of one database, for the places that they have in another."""

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


def _read_header(path: str) -> DatabaseHeader | None:
    try:
        with open(path, "rb") as file:
            return DatabaseHeader.unpack(file.read(_MOST_BYTES))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, Malformed):
        return None


def _cleared(folder: str) -> str:
    """Where what stood in the place of the values is now; "" where nothing did that holds any data."""
    refuse_dead_link(folder)
    if not os.path.isdir(folder):
        return set_aside(folder) if os.path.lexists(folder) else ""
    content = _content(folder)
    if not content:
        return ""
    if not os.path.islink(folder) and not os.path.ismount(folder):
        return set_aside(folder)
    strange = next((name for name in content if not _OUR_FILE.fullmatch(name)), None)
    if strange is not None:
        raise ConfigError(
            f"[node] data_dir: {folder} leads to a folder that holds something else ({strange!r:.50}); "
            "let it lead to an empty one"
        )
    return _set_aside_inside(folder, content)


def _content(folder: str) -> list[str]:
    """The names in a folder behind which there is any data. Raises `OSError`.

    What a crash leaves of a header is none, and what has been set aside there is not looked at.
    """
    return [
        name
        for name in sorted(os.listdir(folder))
        if name != "lost+found"
        and name != _HEADER + ".new"
        and not name.startswith(_ASIDE)
        and _holds_data(os.path.join(folder, name))
    ]


def _holds_data(path: str) -> bool:
    if os.path.islink(path) or not os.path.isdir(path):
        return os.path.islink(path) or not os.path.isfile(path) or os.path.getsize(path) > 0
    return any(_holds_data(os.path.join(path, name)) for name in os.listdir(path))


def _set_aside_inside(folder: str, names: list[str]) -> str:
    """Move files of ours into a folder beside them: a link or a mount cannot be renamed without losing it."""
    number = 1
    while os.path.lexists(aside := os.path.join(folder, f"{_ASIDE}{number}")):
        number += 1
    os.mkdir(aside, 0o700)
    for name in names:
        os.rename(os.path.join(folder, name), os.path.join(aside, name))
    return aside


def _begun(values: DatabaseDir) -> DatabaseDir:
    """Put the folder there with its header in it; a folder that is there already gets its header alone."""
    if os.path.isdir(values.folder):
        values.save()
        return values
    new = values.folder + ".new"
    shutil.rmtree(new, ignore_errors=True)
    os.mkdir(new, 0o700)
    replace_file(os.path.join(new, _HEADER), values.header.pack(), durable=True)
    os.rename(new, values.folder)
    fsync_folder(os.path.dirname(values.folder))
    return values


def _kept_key(data_dir: DataDir) -> bytes | None:
    path = data_dir.file(_KEY_FILE)
    if not os.path.lexists(path):
        return None
    try:
        return secret_key("file:" + path)
    except ValueError as wrong:
        raise ConfigError(f"[security] encryption_key: {wrong}") from None


def _new_key(data_dir: DataDir) -> bytes:
    key = os.urandom(_KEY_BYTES)
    replace_file(data_dir.file(_KEY_FILE), key.hex().encode() + b"\n", durable=True)
    return key
