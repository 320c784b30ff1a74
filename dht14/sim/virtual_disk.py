"""A disk on the virtual clock: the shipped database, whose flushes take virtual time and can fail.

Tables, group commit and encryption are shipped code, on a real LMDB file, best on a file system in memory.
Only the writer thread is replaced: changes are written at once when a virtual flush ends. So a write that was
not confirmed to a killed process never reaches the file, and runs are repeatable.
"""

import os
import random
import shutil
from collections.abc import Callable, Iterable
from enum import Enum
from functools import partial

from twisted.internet.interfaces import IDelayedCall

from dht14.database.database import Database
from dht14.database.entry_format import EntryFormat
from dht14.database.file_check import SOUND, verify_file
from dht14.database.tables import Changes
from dht14.database.vault import DATABASE_ID_BYTES, SALT_BYTES, Vault
from dht14.database.writer_thread import CallSoon, Opened, WriterThread, Written
from dht14.kademlia.contact import Contact
from dht14.records.version_floors import FLOOR_MARGIN
from dht14.sim.clock import Process
from dht14.stack import MakeStore, StoreOptions

HANG_LOOK = 0.1
"""Seconds between two looks whether a disk that hangs has come back."""

OPEN_SECONDS = 0.02
"""Seconds until a database is open."""

KEPT_LIMIT = 1 << 20
"""Bytes for the list of kept values."""


FLUSH_SECONDS = 0.002
"""The duration of a flush of a good disk."""


class DiskFault(Enum):
    """The error of a faulty disk, in the words of the operating system."""

    NO_SPACE = "No space left on device"
    BROKEN = "Input/output error"


class VirtualDisk:
    """The disk of one host. One process after another uses it."""

    def __init__(self, folder: str, rng: random.Random) -> None:
        self.flush_seconds = FLUSH_SECONDS
        """Duration of a flush; later changes wait for the next one."""
        self.fault: DiskFault | None = None
        self.hangs = False
        """Whether no flush ends, and none fails."""
        self.contacts: tuple[Contact, ...] = ()
        """Saved by the last process."""
        self._path = os.path.join(folder, "values.mdb")
        self._folder = folder
        key, salt = rng.randbytes(32), rng.randbytes(SALT_BYTES)
        self._vault = Vault.unlock(key, salt, rng.randbytes(DATABASE_ID_BYTES), rng.randbytes)
        self._writer_thread: VirtualWriterThread | None = None
        os.makedirs(folder, exist_ok=True)

    def store_of(self, process: Process, opened: Callable[[], None]) -> MakeStore:
        """Return a function that makes the store of a new process and opens it; `opened` is called when it is
        open."""

        def make_writer_thread(path: str, limit: int, max_floors: int, call_soon: CallSoon) -> WriterThread:
            self._writer_thread = VirtualWriterThread(path, limit, max_floors, call_soon, self, process)
            return self._writer_thread

        def make_store(store: StoreOptions) -> Database:
            database = Database(
                path=self._path,
                format=EntryFormat(self._vault, store.own_id),
                own_id=store.own_id,
                limit=store.limit,
                floor_ttl=store.max_ttl + FLOOR_MARGIN,
                answers_for=store.answers_for,
                call_soon=partial(process.callLater, 0),
                events=NoEvents(),
                seconds=process.seconds,
                make_writer_thread=make_writer_thread,
                writer_share=store.writer_share,
                kept_limit=KEPT_LIMIT,
            )
            database.open(opened)
            return database

        return make_store

    def crashed(self, contacts: Iterable[Contact] = ()) -> None:
        """The process has died: unwritten changes are lost. `contacts` are those that it has saved; a process
        that knew none has left those of the one before, as `app.saved_contacts` does."""
        self.contacts = tuple(contacts) or self.contacts
        if self._writer_thread is not None:
            self._writer_thread.abandon()
            self._writer_thread = None

    def erase(self) -> None:
        """Replace it by an empty disk."""
        self.crashed()
        self.contacts = ()
        shutil.rmtree(self._folder, ignore_errors=True)
        os.makedirs(self._folder, exist_ok=True)


class VirtualWriterThread(WriterThread):
    """Does the work of the writer thread without a thread: each job when its flush ends."""

    def __init__(
        self,
        path: str,
        limit: int,
        max_floors: int,
        call_soon: CallSoon,
        disk: VirtualDisk,
        process: Process,
    ) -> None:
        super().__init__(path, limit, max_floors, call_soon)
        self._disk = disk
        self._process = process
        self._flushes: list[tuple[IDelayedCall, Callable[[], None]]] = []
        """Pending flushes, in order."""

    def start(self) -> None:
        """Do nothing: there is no thread."""

    def open(self, opened: Callable[[Opened], None], failed: Callable[[str], None]) -> None:
        """As `WriterThread.open`, after OPEN_SECONDS seconds."""
        self._process.callLater(OPEN_SECONDS, self._open, opened, failed)

    def write(self, changes: Changes, done: Callable[[Written], None]) -> None:
        """As `WriterThread.write`, after `flush_seconds`."""
        job = partial(self._write, changes, done)
        self._flushes.append((self._process.callLater(self._disk.flush_seconds, self._flushed), job))

    def close(self) -> None:
        """As `WriterThread.close`."""
        flushes, self._flushes = self._flushes, []
        for call, job in flushes:
            call.cancel()
            job()
        self._close_tables()

    def abandon(self) -> None:
        """Close the file without the pending changes."""
        self._flushes.clear()
        self._close_tables()

    def _flushed(self) -> None:
        _, job = self._flushes.pop(0)
        if self._disk.hangs:
            self._flushes.insert(0, (self._process.callLater(HANG_LOOK, self._flushed), job))
            return
        job()

    def _is_sound(self) -> bool:
        """In this process: the files of a simulation are not damaged in ways that crash it."""
        return verify_file(self._path) == SOUND

    def _write_changes(self, changes: Changes) -> Written:
        if self._disk.fault is not None:
            return Written(self._usage, failure=self._disk.fault.value)
        return super()._write_changes(changes)


class NoEvents:
    """A `DatabaseEvents` that nobody reads: what a simulation wants to know of a disk, it knows before."""

    def opened(self, records: int) -> None:
        """As `DatabaseEvents`."""

    def set_aside(self, path: str) -> None:
        """As `DatabaseEvents`. A database that is damaged is a bug here."""
        raise AssertionError(f"the database at {path} was found damaged")

    def record_damaged(self, total: int) -> None:
        """As `DatabaseEvents`. A damaged record is a bug here."""
        raise AssertionError("a damaged record was found")

    def writing_failed(self, reason: str) -> None:
        """As `DatabaseEvents`."""

    def writing_resumed(self) -> None:
        """As `DatabaseEvents`."""

    def store_full(self, used: int) -> None:
        """As `DatabaseEvents`."""

    def space_available(self) -> None:
        """As `DatabaseEvents`."""

    def share_used_up(self, total: int) -> None:
        """As `DatabaseEvents`."""
