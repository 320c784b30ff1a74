"""The folder of a node's database, and the key that opens it.

Below the data directory, `values/header` names the database file beside it, and shows whether a key is the
right one before the database is opened. A damaged header, or anything else in that place, is renamed, never
deleted: the records will be restored from other holders. An empty folder is used as it is. A folder that is a
link or a mount stays one; what is renamed stays inside it. If no key is configured, one is made and kept in
`encryption.key`.

The header: `magic 8 | format u16 | database id 16 | salt 32 | key check 32 | origin 32 | SHA-256 of these`.
"""

import hashlib
import os
import re
import shutil
from contextlib import suppress
from struct import Struct

from attrs import evolve, frozen

from dht14.app.data_dir import DataDir, refuse_dead_link, replace_file, unusable_error
from dht14.app.option_types import secret_key
from dht14.database.entry_format import EntryFormat
from dht14.database.fsync import fsync_folder
from dht14.database.vault import DATABASE_ID_BYTES, KEY_CHECK_BYTES, SALT_BYTES, Vault
from dht14.database.writer_thread import is_missing, set_aside
from dht14.errors import ConfigError, Malformed
from dht14.kademlia.keyspace import ID_BYTES, id_from_bytes, id_to_bytes

FORMAT = 2
"""Number of the format of header, tables and entries."""

_FOLDER = "values"
_HEADER = "header"
_KEY_FILE = "encryption.key"
_MAGIC = b"DHT14VAL"
_HEAD = Struct(f">{len(_MAGIC)}sH")
_LAYOUT = Struct(f">{len(_MAGIC)}sH{DATABASE_ID_BYTES}s{SALT_BYTES}s{KEY_CHECK_BYTES}s{ID_BYTES}s")
_DIGEST_BYTES = 32
_KEY_BYTES = 32
_MAX_HEADER_BYTES = 65_536
_ASIDE_PREFIX = "damaged-"
_UNMADE = ".unmade"
"""Ends the name of an empty file beside a database file. It exists until the database was open for the first
time: while it does, a missing database file is no loss."""
_OUR_FILE = re.compile(
    rf"{_HEADER}|[0-9a-f]{{{2 * DATABASE_ID_BYTES}}}\.mdb(\.unmade|(\.new)?(-lock)?(\.damaged-\d+)?)"
)


class OlderFormat(Malformed):
    """An older version wrote the values, in a format that this one does not know."""


@frozen(kw_only=True)
class DatabaseHeader:
    """What must be known of a database before it can be opened. Nothing in it is secret."""

    database_id: bytes
    salt: bytes
    key_check: bytes
    origin: int
    """The id from which distances are measured."""

    def pack(self) -> bytes:
        """Return the bytes of the file."""
        packed = _LAYOUT.pack(
            _MAGIC, FORMAT, self.database_id, self.salt, self.key_check, id_to_bytes(self.origin)
        )
        return packed + hashlib.sha256(packed).digest()

    @classmethod
    def unpack(cls, packed: bytes) -> "DatabaseHeader":
        """Decode the file.

        Raises `Malformed` if it is damaged, `OlderFormat` if an older version wrote it, `ConfigError` if a
        newer one did.
        """
        content, digest = packed[:-_DIGEST_BYTES], packed[-_DIGEST_BYTES:]
        if hashlib.sha256(content).digest() != digest or not content.startswith(_MAGIC):
            raise Malformed("the header is damaged")
        if (found := _HEAD.unpack_from(content)[1]) > FORMAT:
            raise ConfigError(
                f"[node] data_dir: its values have format {found}, and this version knows formats up to "
                f"{FORMAT}; run the version that wrote them, or give another data_dir"
            )
        if found < FORMAT:
            raise OlderFormat(f"the values have format {found}")
        if len(content) != _LAYOUT.size:
            raise Malformed("the header is damaged")
        _, _, database_id, salt, key_check, origin = _LAYOUT.unpack(content)
        return cls(database_id=database_id, salt=salt, key_check=key_check, origin=id_from_bytes(origin))

    def vault(self, key: bytes) -> Vault:
        """Return the vault of this database under a key, which may be the wrong one."""
        return Vault.unlock(key, self.salt, self.database_id, os.urandom)


@frozen
class DatabaseDir:
    """A database that can be opened: its folder, its header, and the format with the right key."""

    folder: str
    header: DatabaseHeader
    format: EntryFormat
    set_aside: str = ""
    """The path to which content of the folder was moved that cannot be used; "" if there was none."""
    is_outdated: bool = False
    """Whether that is the database of an older version, and not a damaged one."""
    is_missing: bool = False
    """Whether the database file that the header names is lost."""

    @classmethod
    def new(cls, folder: str, key: bytes, origin: int, aside: str = "") -> "DatabaseDir":
        """Return a new database, of which nothing is on disk yet."""
        database_id, salt = os.urandom(DATABASE_ID_BYTES), os.urandom(SALT_BYTES)
        vault = Vault.unlock(key, salt, database_id, os.urandom)
        return cls(
            folder,
            DatabaseHeader(database_id=database_id, salt=salt, key_check=vault.key_check, origin=origin),
            EntryFormat(vault, origin),
            aside,
        )

    @property
    def path(self) -> str:
        """The path of the database file."""
        return os.path.join(self.folder, self.header.database_id.hex() + ".mdb")

    def made(self) -> None:
        """The database is open: if its file is missing from now on, it was lost."""
        with suppress(OSError):
            os.unlink(self.path + _UNMADE)

    def save(self) -> None:
        """Write the header, atomically: this becomes the database of its folder. Raises `OSError`."""
        replace_file(os.path.join(self.folder, _HEADER), self.header.pack(), durable=True)

    def remove_others(self) -> None:
        """Remove the databases that a change of the key left behind: incomplete ones, and those of the old
        key."""
        ours = os.path.basename(self.path)
        with suppress(OSError):
            for name in os.listdir(self.folder):
                if name.endswith((".mdb", ".mdb-lock", _UNMADE)) and not name.startswith(ours):
                    os.unlink(os.path.join(self.folder, name))


def has_database(data_dir: str) -> bool:
    """Whether a data directory has a database, or anything in its place. Changes nothing.

    Raises `ConfigError` if the folder is a link to nowhere, or cannot be read.
    """
    folder = os.path.join(data_dir, _FOLDER)
    try:
        refuse_dead_link(folder)
        return bool(_content(folder)) if os.path.isdir(folder) else os.path.exists(folder)
    except OSError as error:
        raise unusable_error(data_dir, error) from None


def unlock(data_dir: DataDir, configured_key: bytes | None, origin: int) -> DatabaseDir:
    """Return the database of a data directory; if there is none, make one, and a key if none is configured.

    Raises `ConfigError`, with nothing changed, if the key is missing or wrong.
    """
    try:
        return _unlock(data_dir, configured_key, origin)
    except OSError as error:
        raise unusable_error(data_dir.path, error) from None


def _unlock(data_dir: DataDir, configured_key: bytes | None, origin: int) -> DatabaseDir:
    folder = data_dir.file(_FOLDER)
    header, is_outdated = None, False
    try:
        header = _read_header(os.path.join(folder, _HEADER))
    except OlderFormat:
        is_outdated = True
    except Malformed:
        pass  # It is damaged: as if there were none.
    key = configured_key or _saved_key(data_dir)
    if header is None:
        aside = _set_aside_content(folder)
        new = DatabaseDir.new(folder, key or _new_key(data_dir), origin, aside)
        return _created(evolve(new, is_outdated=is_outdated))
    if key is None:
        raise ConfigError(
            f"[security] encryption_key: is not set, and {data_dir.file(_KEY_FILE)} does not exist; set the "
            f"key of the values in {folder}, or move that folder away to start without values"
        )
    vault = header.vault(key)
    if not vault.fits(header.key_check):
        raise ConfigError(
            f"[security] encryption_key: is not the key of the values in {folder}; set the right one, or "
            "move that folder away to start without values"
        )
    values = DatabaseDir(folder, header, EntryFormat(vault, header.origin))
    # The header may be that of a process that was killed before it flushed the name.
    fsync_folder(folder)
    values.remove_others()
    if not is_missing(values.path):
        values.made()
        return values
    return evolve(values, is_missing=not os.path.lexists(values.path + _UNMADE))


def _read_header(path: str) -> DatabaseHeader | None:
    """Return the header; None if there is no such file. Raises `Malformed`, `OlderFormat`, `ConfigError`."""
    try:
        with open(path, "rb") as file:
            return DatabaseHeader.unpack(file.read(_MAX_HEADER_BYTES))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None


def _set_aside_content(folder: str) -> str:
    """Move the content of the folder away. Return the new path; "" if there was no data in it."""
    refuse_dead_link(folder)
    if not os.path.isdir(folder):
        return set_aside(folder) if os.path.lexists(folder) else ""
    content = _content(folder)
    if not content:
        return ""
    if not os.path.islink(folder) and not os.path.ismount(folder):
        return set_aside(folder)
    foreign = next((name for name in content if not _OUR_FILE.fullmatch(name)), None)
    if foreign is not None:
        raise ConfigError(
            f"[node] data_dir: {folder} leads to a folder with a foreign file ({foreign!r:.50}); "
            "let it lead to an empty folder"
        )
    return _set_aside_inside(folder, content)


def _content(folder: str) -> list[str]:
    """Return the names in a folder that have data. Raises `OSError`.

    A header that a crash left incomplete is no data, and content that was set aside does not count.
    """
    return [
        name
        for name in sorted(os.listdir(folder))
        if name != "lost+found"
        and name != _HEADER + ".new"
        and not name.startswith(_ASIDE_PREFIX)
        and _holds_data(os.path.join(folder, name))
    ]


def _holds_data(path: str) -> bool:
    if os.path.islink(path) or not os.path.isdir(path):
        return os.path.islink(path) or not os.path.isfile(path) or os.path.getsize(path) > 0
    return any(_holds_data(os.path.join(path, name)) for name in os.listdir(path))


def _set_aside_inside(folder: str, names: list[str]) -> str:
    """Move our files into a folder beside them: to rename the link or the mount itself would lose it."""
    number = 1
    while os.path.lexists(aside := os.path.join(folder, f"{_ASIDE_PREFIX}{number}")):
        number += 1
    os.mkdir(aside, 0o700)
    for name in names:
        os.rename(os.path.join(folder, name), os.path.join(aside, name))
    return aside


def _created(values: DatabaseDir) -> DatabaseDir:
    """Make the folder with the header in it; an existing folder only gets the header."""
    unmade = os.path.basename(values.path) + _UNMADE
    if os.path.isdir(values.folder):
        replace_file(os.path.join(values.folder, unmade), b"", durable=False)
        values.save()
        return values
    new = values.folder + ".new"
    shutil.rmtree(new, ignore_errors=True)
    os.mkdir(new, 0o700)
    replace_file(os.path.join(new, unmade), b"", durable=False)
    replace_file(os.path.join(new, _HEADER), values.header.pack(), durable=True)
    os.rename(new, values.folder)
    fsync_folder(os.path.dirname(values.folder))
    return values


def _saved_key(data_dir: DataDir) -> bytes | None:
    path = data_dir.file(_KEY_FILE)
    if not os.path.lexists(path):
        return None
    try:
        return secret_key("file:" + path)
    except ValueError as error:
        raise ConfigError(f"[security] encryption_key: {error}") from None


def _new_key(data_dir: DataDir) -> bytes:
    key = os.urandom(_KEY_BYTES)
    replace_file(data_dir.file(_KEY_FILE), key.hex().encode() + b"\n", durable=True)
    return key
