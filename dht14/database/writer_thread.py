"""The thread that opens and writes a database: all work that may wait for the disk."""

import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Protocol

import lmdb
from attrs import evolve, field, frozen

from dht14.database import file_check
from dht14.database.fsync import fsync_folder
from dht14.database.tables import Changes, Tables, Usage
from dht14.errors import Malformed

FILE_GONE = "its file was removed or moved"
"""The reason of a failed write; data written into a removed file would be lost with this process."""

NEW = ".new"
"""Behind the name of a database file that is being made."""

PROBE_BYTES = 1 << 20
"""Free space that a disk must have to count as healthy."""

RETRY_INTERVAL = 2.0
"""Seconds between two attempts to open a database on a disk that fails."""

CallSoon = Callable[[Callable[[], None]], object]
"""Calls a function in the thread that owns the database, as `reactor.callFromThread` does."""


class DatabaseEvents(Protocol):
    """Receives what an operator should know, in the thread that owns the database."""

    def opened(self, records: int) -> None:
        """The database is open."""

    def set_aside(self, path: str) -> None:
        """The file was damaged: it was moved to `path`, and a new one was made."""

    def record_damaged(self, total: int) -> None:
        """A damaged record was read; there were `total` since the start."""

    def writing_failed(self, reason: str) -> None:
        """The disk does not accept writes. Called once, until `writing_resumed`."""

    def writing_resumed(self) -> None:
        """The disk has accepted all writes for a while."""

    def store_full(self, used: int) -> None:
        """A record was refused for want of space, with `used` bytes in use. Called once, until
        `space_available`."""

    def space_available(self) -> None:
        """There is space for new records again."""

    def share_used_up(self, total: int) -> None:
        """A record was refused because its writer, or its subnet, has used up its share; `total` were since
        the start. Called once, until there were none for a while."""


@frozen
class Written:
    """The result of a write."""

    usage: Usage
    refused: frozenset[bytes] = field(default=frozenset(), kw_only=True)
    """The slots whose puts are not on disk."""
    failure: str = field(default="", kw_only=True)
    """Why nothing was written; "" if something was."""
    must_reopen: bool = field(default=False, kw_only=True)
    """Whether the database must be reopened before the next write."""
    must_check_file: bool = field(default=False, kw_only=True)
    """Whether its file must be checked first."""


@frozen
class Opened:
    """The result of opening a database."""

    tables: Tables
    usage: Usage
    set_aside: str = ""
    """The path to which a damaged file was moved; "" if there was none."""


class WriterThread:
    """Opens one database file and makes changes to it, one transaction after the other."""

    def __init__(self, path: str, limit: int, max_floors: int, call_soon: CallSoon) -> None:
        self._path = path
        self._limit = limit
        self._max_floors = max_floors
        self._call_soon = call_soon
        self._tables: Tables | None = None
        self._usage = Usage()
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._write_lock = threading.Lock()
        """Held during a write."""
        self._file_check: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None

    # called by the owner

    def start(self) -> None:
        """Start the thread. Must not be called before a daemon forks: the thread would stay in the parent
        process."""
        self._thread = threading.Thread(target=self._run, name="database", daemon=True)
        self._thread.start()

    def open(self, opened: Callable[[Opened], None], failed: Callable[[str], None]) -> None:
        """Check the file and open the database. Close it before if it is open; no read may be under way
        then. `failed` may be called many times before `opened`."""
        self._jobs.put(lambda: self._open(opened, failed))

    def reopen(self) -> Opened:
        """Close the database and open it again in the owner's thread, unchecked, so that no read fails
        meanwhile.

        Waits for the present write. Raises `OSError`, `lmdb.Error`, `Malformed`.
        """
        with self._write_lock:
            self._close_tables()
            self._tables = Tables.open(self._path, self._limit, self._max_floors, new=False)
            return Opened(self._tables, self._tables.usage())

    def write(self, changes: Changes, done: Callable[[Written], None]) -> None:
        """Make these changes, after those of earlier calls."""
        self._jobs.put(lambda: self._write(changes, done))

    def probe(self, is_healthy: Callable[[], None]) -> None:
        """Write and remove a file of `PROBE_BYTES`; call `is_healthy` if the disk has space for it."""
        self._jobs.put(lambda: self._probe(is_healthy))

    def close(self) -> None:
        """Finish the writes of earlier calls, close the database and end the thread."""
        self._closing.set()
        if (child := self._file_check) is not None:
            child.kill()
        self._jobs.put(None)
        if self._thread is not None:
            self._thread.join()

    # in the thread

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
        self._close_tables()

    def _close_tables(self) -> None:
        if self._tables is not None:
            self._tables.close()
            self._tables = None

    def _open(self, opened: Callable[[Opened], None], failed: Callable[[str], None]) -> None:
        self._close_tables()
        while not self._closing.is_set():
            try:
                result = self._open_once()
            except lmdb.MemoryError:
                self._call_soon(partial(failed, self._too_little_memory()))
                self._closing.wait(RETRY_INTERVAL)
            except (OSError, lmdb.Error) as error:
                self._call_soon(partial(failed, str(error)))
                self._closing.wait(RETRY_INTERVAL)
            else:
                self._tables, self._usage = result.tables, result.usage
                self._call_soon(partial(opened, result))
                return

    def _too_little_memory(self) -> str:
        return (
            f"[storage] storage_limit and kept_limit ({self._limit} bytes) are more than this process may "
            "map into its memory; lower them, or raise the limit of address space (ulimit -v, RLIMIT_AS)"
        )

    def _open_once(self) -> Opened:
        if is_missing(self._path):
            return self._make_file()
        if not self._is_sound():
            return self._make_file(set_aside(self._path))
        try:
            return self._open_tables()
        except (Malformed, lmdb.InvalidError, lmdb.VersionMismatchError):
            # It is a database of another program.
            return self._make_file(set_aside(self._path))

    def _make_file(self, aside: str = "") -> Opened:
        """Make a new database. It gets its name when it is complete: a crash leaves none that looks
        damaged."""
        new = self._path + NEW
        try:
            remove_files(new)
            Tables.open(new, self._limit, self._max_floors, new=True).close()
            os.rename(new, self._path)
        finally:
            remove_files(new)
        return self._open_tables(aside)

    def _open_tables(self, aside: str = "") -> Opened:
        # A power cut must not lose the name of the file: then its content would be lost, too. A process that
        # was killed may have left it unflushed.
        fsync_folder(os.path.dirname(self._path))
        tables = Tables.open(self._path, self._limit, self._max_floors, new=False)
        return Opened(tables, tables.usage(), aside)

    def _is_sound(self) -> bool:
        """Check the file in a child process. Raises `OSError` if that is impossible."""
        self._file_check = subprocess.Popen(
            [sys.executable, "-m", file_check.__name__, self._path],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        if self._closing.is_set():
            self._file_check.kill()
        code = self._file_check.wait()
        self._file_check = None
        if code not in (file_check.SOUND, file_check.DAMAGED):
            raise OSError(f"the check of the database ended with {code}")
        return code == file_check.SOUND

    def _probe(self, is_healthy: Callable[[], None]) -> None:
        path = self._path + ".probe"
        try:
            with open(path, "wb", buffering=0) as file:
                written = file.write(bytes(PROBE_BYTES))
        except OSError:
            written = 0
        with suppress(OSError):
            os.unlink(path)
        if written == PROBE_BYTES:
            self._call_soon(is_healthy)

    def _write(self, changes: Changes, done: Callable[[Written], None]) -> None:
        with self._write_lock:
            written = self._write_changes(changes)
            self._usage = written.usage
        self._call_soon(partial(done, written))

    def _write_changes(self, changes: Changes) -> Written:
        if self._tables is None:
            return Written(self._usage, failure="the database is not open")
        if not self._tables.is_at(self._path):
            return Written(self._usage, failure=FILE_GONE)
        try:
            usage = self._tables.write(changes)
            # If the file was removed or moved meanwhile, the data in it is gone as well.
            return Written(usage, failure="" if self._tables.is_at(self._path) else FILE_GONE)
        except lmdb.MapFullError:
            return self._write_by_halves(changes)
        except lmdb.Error as error:
            # A system error (errno, above 0) was undone, and the write can be tried again at once. After an
            # error of its own LMDB does not trust itself, or its file, any more.
            panic = isinstance(error, lmdb.PanicError)
            return Written(
                self._usage,
                failure=str(error),
                must_reopen=error.code <= 0,
                must_check_file=error.code <= 0 and not panic,
            )
        except Exception as bug:  # noqa: BLE001 - reported; without the thread all callbacks would wait
            return Written(self._usage, failure=f"this is a bug: {bug!r}")

    def _write_by_halves(self, changes: Changes) -> Written:
        """Write the puts in two halves: there is no space for all, or no run of pages long enough for one
        value."""
        entries = list(changes.puts.items())
        if len(entries) <= 1:
            return Written(
                self._usage, refused=frozenset(changes.puts), failure="" if entries else "no space"
            )
        half = len(entries) // 2
        first = self._write_changes(evolve(changes, puts=dict(entries[:half])))
        self._usage = first.usage
        second = self._write_changes(Changes(dict(entries[half:]), now=changes.now))
        return Written(
            second.usage,
            refused=first.refused | second.refused,
            failure=first.failure or second.failure,
            must_reopen=first.must_reopen or second.must_reopen,
            must_check_file=first.must_check_file or second.must_check_file,
        )


MakeWriterThread = Callable[[str, int, int, CallSoon], WriterThread]
"""Makes a `WriterThread` of the arguments of its constructor. The simulator has one on a virtual clock."""


def remove_files(path: str) -> None:
    """Remove a database file and its table of readers, as far as they exist."""
    for name in (path, path + "-lock"):
        with suppress(OSError):
            os.unlink(name)


def is_missing(path: str) -> bool:
    """Whether there is no database file, or an empty one."""
    try:
        return os.path.getsize(path) == 0
    except FileNotFoundError:
        return True


def set_aside(path: str) -> str:
    """Rename `path` to the first free name `path.damaged-N`, and return that. Raises `OSError`."""
    number = 1
    while os.path.lexists(aside := f"{path}.damaged-{number}"):
        number += 1
    os.rename(path, aside)
    return aside
