"""The thread in which a database is opened and written: whatever may wait for the disk."""

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
from attrs import evolve, frozen

from dht14.database import file_check
from dht14.database.fsync import flush_folder
from dht14.database.tables import Changes, Tables, Usage
from dht14.errors import Malformed

GONE = "their file is gone from its place"
"""What is written into it would be lost with this process."""

PROBE_BYTES = 1 << 20
"""Room that a disk must have to count as well."""

RETRY_INTERVAL = 2.0
"""Seconds between two tries to open a database on a disk that refuses."""

CallSoon = Callable[[Callable[[], None]], object]
"""Has a function called in the thread that owns the database, as `reactor.callFromThread` does."""


class DatabaseEvents(Protocol):
    """Who is told what an operator should know. Called in the thread that owns the database."""

    def opened(self, records: int) -> None:
        """The database is open."""

    def set_aside(self, path: str) -> None:
        """It was damaged: its file is at `path` now, and a new one has been begun."""

    def record_damaged(self, total: int) -> None:
        """One more damaged record was met: so many since the start."""

    def writing_failed(self, reason: str) -> None:
        """The disk refuses to be written. Told once, however often it does until `writing_resumed`."""

    def writing_resumed(self) -> None:
        """The disk has taken what was written for a while."""

    def store_full(self, used: int) -> None:
        """A record was refused for want of room, so many bytes being in use. Told once, until `room_again`."""

    def room_again(self) -> None:
        """There is room for new records."""

    def share_used_up(self, total: int) -> None:
        """A record was refused because its writer, or its subnet, has had its share: so many since the start. Told
        once, until there have been none for a while."""


@frozen
class Written:
    """What became of changes: the places whose puts are not on disk, and what is held now."""

    usage: Usage
    refused: frozenset[bytes] = frozenset()
    failure: str = ""
    """Why nothing at all was written."""
    broken: bool = False
    """Whether the database must be opened anew before anything else is written."""
    distrusted: bool = False
    """Whether its file must be checked then."""


@frozen
class Opened:
    """An open database, and what had to be done for it."""

    tables: Tables
    usage: Usage
    set_aside: str = ""
    """Where the damaged file is now, if there was one."""


class WriterThread:
    """Opens one database file, and writes what it is handed, one transaction after the other."""

    def __init__(self, path: str, limit: int, most_floors: int, call_soon: CallSoon) -> None:
        self._path = path
        self._limit = limit
        self._most_floors = most_floors
        self._call_soon = call_soon
        self._tables: Tables | None = None
        self._usage = Usage()
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._at_work = threading.Lock()
        """Held while the database is written."""
        self._check: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None

    # called by the owner

    def start(self) -> None:
        """Begin the thread. A daemon forks before: so much as a thread that was made by then is of no use."""
        self._thread = threading.Thread(target=self._run, name="database", daemon=True)
        self._thread.start()

    def open(self, opened: Callable[[Opened], None], failed: Callable[[str], None]) -> None:
        """Open the database when its file has been checked; one that is open, and that nobody may be
        reading, is closed before. `failed` may be told many times before `opened` is."""
        self._jobs.put(lambda: self._open(opened, failed))

    def reopen(self) -> Opened:
        """Close the database and open it again, at once and unchecked, in the owner's thread, so that readers
        miss nothing. Waits for what is being written. Raises `OSError`, `lmdb.Error`, `Malformed`."""
        with self._at_work:
            self._close_tables()
            self._tables = Tables.open(self._path, self._limit, self._most_floors, new=False)
            return Opened(self._tables, self._tables.usage())

    def write(self, changes: Changes, done: Callable[[Written], None]) -> None:
        """Write these, after all that was handed over before."""
        self._jobs.put(lambda: self._write(changes, done))

    def probe(self, is_well: Callable[[], None]) -> None:
        """Have `is_well` called where the disk takes as much as a full one would not."""
        self._jobs.put(lambda: self._probe(is_well))

    def close(self) -> None:
        """Finish what was handed over, close the database and end the thread."""
        self._closing.set()
        if (child := self._check) is not None:
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
                result = self._opened_now()
            except lmdb.MemoryError:
                self._call_soon(partial(failed, self._too_little_memory()))
                self._closing.wait(RETRY_INTERVAL)
            except (OSError, lmdb.Error) as wrong:
                self._call_soon(partial(failed, str(wrong)))
                self._closing.wait(RETRY_INTERVAL)
            else:
                self._tables, self._usage = result.tables, result.usage
                self._call_soon(partial(opened, result))
                return

    def _too_little_memory(self) -> str:
        return (
            f"[storage] storage_limit ({self._limit} bytes) is more than this process may map into its memory; "
            "lower it, or raise the limit of address space (ulimit -v, RLIMIT_AS)"
        )

    def _opened_now(self) -> Opened:
        if is_missing(self._path):
            return self._begin()
        if not self._is_sound():
            return self._begin(set_aside(self._path))
        try:
            tables = Tables.open(self._path, self._limit, self._most_floors, new=False)
        except (Malformed, lmdb.InvalidError, lmdb.VersionMismatchError):
            # It is a database, but not one of ours.
            return self._begin(set_aside(self._path))
        return Opened(tables, tables.usage())

    def _begin(self, aside: str = "") -> Opened:
        """Make a new database, where there is none, or none any more."""
        try:
            tables = Tables.open(self._path, self._limit, self._most_floors, new=True)
            try:
                # A file that a power cut leaves without its name is lost, whatever was flushed into it.
                flush_folder(os.path.dirname(self._path))
                return Opened(tables, tables.usage(), aside)
            except BaseException:
                tables.close()
                raise
        except BaseException:
            # Half made, on a full disk, it would look damaged the next time.
            with suppress(OSError):
                os.unlink(self._path)
            raise

    def _is_sound(self) -> bool:
        """Check the file in a child process. Raises OSError when that cannot be done."""
        self._check = subprocess.Popen(
            [sys.executable, "-m", file_check.__name__, self._path],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        if self._closing.is_set():
            self._check.kill()
        code = self._check.wait()
        self._check = None
        if code not in (file_check.SOUND, file_check.DAMAGED):
            raise OSError(f"the check of the database ended with {code}")
        return code == file_check.SOUND

    def _probe(self, is_well: Callable[[], None]) -> None:
        path = self._path + ".probe"
        try:
            with open(path, "wb", buffering=0) as file:
                written = file.write(bytes(PROBE_BYTES))
        except OSError:
            written = 0
        with suppress(OSError):
            os.unlink(path)
        if written == PROBE_BYTES:
            self._call_soon(is_well)

    def _write(self, changes: Changes, done: Callable[[Written], None]) -> None:
        with self._at_work:
            written = self._written(changes)
            self._usage = written.usage
        self._call_soon(partial(done, written))

    def _written(self, changes: Changes) -> Written:
        if self._tables is None:
            return Written(self._usage, failure="the database is not open")
        if not self._tables.is_at(self._path):
            return Written(self._usage, failure=GONE)
        try:
            usage = self._tables.write(changes)
            # Who removed the file, or moved it away, has taken what was written into it as well.
            return Written(usage, failure="" if self._tables.is_at(self._path) else GONE)
        except lmdb.MapFullError:
            return self._written_by_halves(changes)
        except lmdb.Error as wrong:
            # What the system refuses (errno, above 0) is undone, and may be tried again at once. LMDB's own
            # errors mean that it trusts itself no more, or its file.
            panic = isinstance(wrong, lmdb.PanicError)
            return Written(
                self._usage, frozenset(), str(wrong), wrong.code <= 0, wrong.code <= 0 and not panic
            )
        except Exception as bug:  # noqa: BLE001 - it is told; a thread that ended would keep everybody waiting
            return Written(self._usage, failure=f"this is a bug: {bug!r}")

    def _written_by_halves(self, changes: Changes) -> Written:
        """There is no room for all of it, or no run of pages that is long enough for one of its values."""
        entries = list(changes.puts.items())
        if len(entries) <= 1:
            return Written(self._usage, frozenset(changes.puts), failure="" if entries else "no room")
        half = len(entries) // 2
        first = self._written(evolve(changes, puts=dict(entries[:half])))
        self._usage = first.usage
        second = self._written(Changes(dict(entries[half:]), now=changes.now))
        return Written(
            second.usage,
            first.refused | second.refused,
            first.failure or second.failure,
            first.broken or second.broken,
            first.distrusted or second.distrusted,
        )


MakeWriter = Callable[[str, int, int, CallSoon], WriterThread]
"""Makes a writer of what `WriterThread` is made of. The simulator has one on a virtual clock."""


def is_missing(path: str) -> bool:
    """Whether there is no database file, or one in which nothing was ever written."""
    try:
        return os.path.getsize(path) == 0
    except FileNotFoundError:
        return True


def set_aside(path: str) -> str:
    """Rename what is at `path` to the first free name behind it, which is returned. Raises OSError."""
    number = 1
    while os.path.lexists(aside := f"{path}.damaged-{number}"):
        number += 1
    os.rename(path, aside)
    return aside
