"""Shared by the tests of the database: a queue instead of the reactor, and recorded events."""

import os
import queue
from collections.abc import Callable
from pathlib import Path

from attrs import define, field
from twisted.trial.unittest import SynchronousTestCase

from dht14.database.database import Database
from dht14.database.entry_format import EntryFormat
from dht14.database.vault import Vault
from dht14.records.record import Record, version_at
from dht14.records.store import Outcome, Verdict
from dht14.records.version_floors import FLOOR_MARGIN

NOW = 1_700_000_000.0
OWN = 0xAA
"""The id of the node whose databases these are."""
TIMEOUT = 20.0
"""Seconds that a test waits for a thread before it fails."""


def vault(key: bytes = b"k" * 32, salt: bytes = b"s" * 32, database_id: bytes = b"i" * 16) -> Vault:
    return Vault.unlock(key, salt, database_id, os.urandom)


def record(
    key: int = 5,
    value: bytes = b"v",
    version: int = 1,
    ttl: float = 60.0,
    copies: int = 8,
    writer: int = 0,
) -> Record:
    """A record; its version counts from that of NOW."""
    return Record(
        key=key,
        value=value,
        version=version_at(NOW) + version,
        expires_at=NOW + ttl,
        replication=copies,
        writer=writer,
    )


def version(number: int) -> int:
    """The version of `record(version=number)`."""
    return version_at(NOW) + number


@define
class Notes:
    """A `DatabaseEvents` that records its calls."""

    heard: list[tuple[object, ...]] = field(factory=list)

    def opened(self, records: int) -> None:
        self.heard.append(("opened", records))

    def set_aside(self, path: str) -> None:
        self.heard.append(("set aside", path))

    def record_damaged(self, total: int) -> None:
        self.heard.append(("record damaged", total))

    def writing_failed(self, reason: str) -> None:
        self.heard.append(("writing failed", reason))

    def writing_resumed(self) -> None:
        self.heard.append(("writing resumed",))

    def store_full(self, used: int) -> None:
        self.heard.append(("store full", used))

    def space_available(self) -> None:
        self.heard.append(("space available",))

    def share_used_up(self, total: int) -> None:
        self.heard.append(("share used up", total))

    @property
    def names(self) -> list[object]:
        return [heard[0] for heard in self.heard]


class DiskTestCase(SynchronousTestCase):
    """Databases in the folder of this run; `run_until` makes the calls of their threads."""

    LIMIT = 1 << 30
    CHECKED = False
    """Whether the invariants of each database are checked before it is closed; not if a test damages it."""

    def setUp(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        self.path = folder / "db"
        self.calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.notes = Notes()
        self.seconds = 0.0
        self.closed: list[Database] = []
        self.answers_for: Callable[[Record], bool] = lambda record: record.key < 1000

    def run_until(self, condition: Callable[[], object]) -> None:
        while not condition():
            self.calls.get(timeout=TIMEOUT)()

    def database(self, vault: Vault | None = None, limit: int = LIMIT) -> Database:
        """A database that is not open yet."""
        return Database(
            path=str(self.path),
            format=EntryFormat(vault or globals()["vault"](), 0),
            own_id=OWN,
            limit=limit,
            floor_ttl=86_400 + FLOOR_MARGIN,
            answers_for=lambda record: self.answers_for(record),
            call_soon=self.calls.put,
            events=self.notes,
            seconds=lambda: self.seconds,
        )

    def open(self, limit: int = LIMIT) -> Database:
        database = self.database(limit=limit)
        opened: list[bool] = []
        database.open(lambda: opened.append(True))
        self.addCleanup(self.close, database)
        self.run_until(lambda: opened)
        return database

    def close(self, database: Database) -> None:
        if self.CHECKED and database not in self.closed:
            database.check_invariants()
        self.release(database)

    def release(self, database: Database) -> None:
        """Close it without a check: with a limit below its content it violates an invariant."""
        if database not in self.closed:
            self.closed.append(database)
            database.close()

    def reopen(self, database: Database) -> Database:
        self.close(database)
        return self.open()

    def verdicts(self, database: Database, *records: Record, now: float = NOW) -> list[Verdict]:
        """The verdicts on these records, offered all at once."""
        verdicts: list[Verdict | None] = [None] * len(records)
        for number, one in enumerate(records):
            database.offer(one, now, lambda verdict, number=number: verdicts.__setitem__(number, verdict))  # type: ignore[misc]
        self.run_until(lambda: None not in verdicts)
        return [verdict for verdict in verdicts if verdict is not None]

    def offer(self, database: Database, *records: Record, now: float = NOW) -> list[Outcome]:
        return [verdict.outcome for verdict in self.verdicts(database, *records, now=now)]
