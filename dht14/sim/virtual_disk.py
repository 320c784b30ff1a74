"""A disk on the virtual clock: the shipped database, whose flushes take virtual time and may fail.

Tables, group commit and sealing are the shipped ones, on a real LMDB file, best on a file system in memory.
Only the writer's thread is none: what it is handed is written when a virtual flush ends, at one go. So what
a killed process had not heard of as written was never written, and a run repeats itself.
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
from dht14.database.file_check import SOUND, check
from dht14.database.tables import Changes
from dht14.database.vault import DATABASE_ID_BYTES, SALT_BYTES, Vault
from dht14.database.writer_thread import CallSoon, Opened, WriterThread, Written
from dht14.kademlia.contact import Contact
from dht14.records.record import Record
from dht14.records.version_floors import MARGIN
from dht14.sim.clock import Process
from dht14.stack import MakeStore

OPEN_SECONDS = 0.02
"""Seconds until a database is open."""


class DiskFault(Enum):
    """What a disk says instead of writing; as the operating system words it."""

    NO_SPACE = "No space left on device"
    BROKEN = "Input/output error"


class VirtualDisk:
    """The disk of one host. It outlives the processes that use it, one at a time."""

    def __init__(self, folder: str, rng: random.Random) -> None:
        self.flush_seconds = 0.002
        """How long a flush takes; what is handed over meanwhile waits for the next one."""
        self.fault: DiskFault | None = None
        self.contacts: tuple[Contact, ...] = ()
        """Those that the last process had saved."""
        self._path = os.path.join(folder, "values.mdb")
        self._folder = folder
        key, salt = rng.randbytes(32), rng.randbytes(SALT_BYTES)
        self._vault = Vault.unlock(key, salt, rng.randbytes(DATABASE_ID_BYTES), rng.randbytes)
        self._writer: VirtualWriterThread | None = None
        os.makedirs(folder, exist_ok=True)

    def store_of(self, process: Process, opened: Callable[[], None]) -> MakeStore:
        """Makes the store of a process that begins, and opens it: `opened` is told when that is done."""

        def make_writer(path: str, limit: int, most_floors: int, call_soon: CallSoon) -> WriterThread:
            self._writer = VirtualWriterThread(path, limit, most_floors, call_soon, self, process)
            return self._writer

        def make_store(
            own_id: int,
            limit: int,
            answers_for: Callable[[Record], bool],
            max_ttl: float,
            writer_share: float,
        ) -> Database:
            database = Database(
                self._path,
                EntryFormat(self._vault, own_id),
                own_id,
                limit,
                max_ttl + MARGIN,
                answers_for,
                partial(process.callLater, 0),
                IgnoredEvents(),
                make_writer,
                writer_share,
            )
            database.open(opened)
            return database

        return make_store

    def crashed(self, contacts: Iterable[Contact] = ()) -> None:
        """The process that used it is no more: what it had not written is lost. Its contacts it has saved
        all the time."""
        self.contacts = tuple(contacts)
        if self._writer is not None:
            self._writer.abandon()
            self._writer = None

    def erase(self) -> None:
        """Begin anew with nothing."""
        self.crashed()
        shutil.rmtree(self._folder, ignore_errors=True)
        os.makedirs(self._folder, exist_ok=True)


class VirtualWriterThread(WriterThread):
    """Does what the writer's thread does, job by job, when their time has come."""

    def __init__(
        self,
        path: str,
        limit: int,
        most_floors: int,
        call_soon: CallSoon,
        disk: VirtualDisk,
        process: Process,
    ) -> None:
        super().__init__(path, limit, most_floors, call_soon)
        self._disk = disk
        self._process = process
        self._flushes: list[tuple[IDelayedCall, Callable[[], None]]] = []
        """What is on its way, in order."""

    def start(self) -> None:
        """There is no thread."""

    def open(self, opened: Callable[[Opened], None], failed: Callable[[str], None]) -> None:
        """As `WriterThread.open`, after OPENING seconds."""
        self._process.callLater(OPEN_SECONDS, self._open, opened, failed)

    def write(self, changes: Changes, done: Callable[[Written], None]) -> None:
        """As `WriterThread.write`, when a flush from now on would end."""
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
        """Close the file as it is."""
        self._flushes.clear()
        self._close_tables()

    def _flushed(self) -> None:
        _, job = self._flushes.pop(0)
        job()

    def _is_sound(self) -> bool:
        """In this process: the files of a simulation are not damaged in ways that crash it."""
        return check(self._path) == SOUND

    def _written(self, changes: Changes) -> Written:
        if self._disk.fault is not None:
            return Written(self._usage, failure=self._disk.fault.value)
        return super()._written(changes)


class IgnoredEvents:
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

    def room_again(self) -> None:
        """As `DatabaseEvents`."""

    def share_used_up(self, total: int) -> None:
        """As `DatabaseEvents`."""
