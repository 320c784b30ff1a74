import random
from pathlib import Path

import lmdb
from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from dht14.database.entry_format import EntryBody, EntryFormat, EntryHeader
from dht14.database.floor_table import MAX_FORGOTTEN_FLOORS, LeftFloor
from dht14.database.invariants import check_tables
from dht14.database.limits import SpaceLimits
from dht14.database.tables import Changes, Tables
from dht14.records.record import Record
from dht14.records.version_floors import floor_of
from tests.database.disk import NOW, OWN, vault
from tests.owners import Owner
from tests.records.test_version_floors import DisplacedCases

LIMIT = 1 << 24
SECONDS = 1000.0
MAX_FLOORS = 3


class FloorTableTests(DisplacedCases, SynchronousTestCase):
    """The floors on disk."""

    def setUp(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        self.path = str(folder / "db")
        self.format = EntryFormat(vault(), 0)
        self.tables = self.open(new=True)

    def open(self, new: bool = False, limit: int = MAX_FLOORS) -> Tables:
        tables = Tables.open(self.path, LIMIT, limit, new=new)
        self.addCleanup(tables.close)
        return tables

    def reopen(self, limit: int = MAX_FLOORS) -> None:
        check_tables(self.tables, self.format, OWN, SpaceLimits(LIMIT, 1.0))
        self.tables.close()
        self.tables = self.open(limit=limit)

    def leave(self, *expired: Record) -> None:
        for one in expired:
            self.leave_at(NOW, one)

    def leave_at(self, now: float, *expired: Record) -> None:
        """Leave these floors in one batch."""
        changes = Changes(now=now)
        for record in expired:
            slot, floor = self.format.slot(record.key), floor_of(record)
            head = EntryHeader(floor.version, record.expires_at + SECONDS)
            body = EntryBody(record.key, floor.kind, b"", record.writer, is_brief=record.is_brief)
            changes.drops[slot] = LeftFloor.seal(self.format, slot, head, body)
        self.tables.write(changes)

    def versions(self) -> dict[int, int]:
        """By key."""
        floors = self.tables.floors.floors
        with self.tables.env.begin() as txn:
            opened = [self.format.open(slot, entry) for slot, entry in txn.cursor(floors)]
        return {body.key: head.version for head, body in opened}

    def remembered(self) -> list[int]:
        return sorted(key for key in self.versions() if key < 100)

    def is_remembered(self, one: Record) -> bool:
        return self.versions().get(one.key) == one.version

    def test_any_course(self) -> None:
        """Whatever is left, and over restarts, the number is limited, and the indices match the floors."""
        rng = random.Random(2)
        for step in range(300):
            writer, is_brief = rng.choice([0, 1, 2, 2, 2, 3]), rng.random() < 0.3
            expired = Record(
                key=rng.randint(0, 20),
                value=b"v",
                version=step,
                expires_at=NOW + step,
                replication=8,
                writer=writer,
                is_brief=is_brief,
            )
            if rng.random() < 0.3:
                signed = Owner(rng.randint(1, 9)).record(b"x", step + 1, NOW + step)
                expired = evolve(signed, writer=writer, is_brief=is_brief)
            self.leave(expired)
            if step % 50 == 49:
                self.reopen()
            check_tables(self.tables, self.format, OWN, SpaceLimits(LIMIT, 1.0))
            self.assertEqual(
                len(self.versions()), min(MAX_FLOORS, step + 1) if step > 20 else len(self.versions())
            )

    def test_time_comes(self) -> None:
        """Floors whose time has come go, of every writer."""
        self.leave_at(
            NOW,
            *(
                Record(key=n, value=b"v", version=1, expires_at=NOW + n, replication=8, writer=n)
                for n in range(3)
            ),
        )
        self.leave_at(NOW + SECONDS + 1)
        self.assertEqual(self.remembered(), [2])

    def test_fewer_than_before(self) -> None:
        """If the limit is lower than the number of floors, they go a batch at a time."""
        self.reopen(limit=2 * MAX_FORGOTTEN_FLOORS)
        count = MAX_FORGOTTEN_FLOORS + MAX_FLOORS + 5
        self.leave_at(
            NOW,
            *(
                Record(key=n, value=b"v", version=1, expires_at=NOW, replication=8, writer=n % 7)
                for n in range(count)
            ),
        )
        self.reopen()
        self.leave_at(NOW)
        self.assertEqual(len(self.versions()), MAX_FLOORS + 5)
        self.leave_at(NOW)
        self.assertEqual(len(self.versions()), MAX_FLOORS)

    def test_damaged(self) -> None:
        """Changed bytes in the tables stop nothing: entries that do not match go when their turn comes."""
        rng = random.Random(3)
        for _ in range(20):
            self.leave(
                *(
                    Record(
                        key=n,
                        value=b"v",
                        version=1,
                        expires_at=NOW + n,
                        replication=8,
                        writer=n % 4,
                        is_brief=n % 3 == 0,
                    )
                    for n in range(10)
                )
            )
            with self.tables.env.begin(write=True) as txn:
                for table in (self.tables.floors.floors, self.tables.floors.times, self.tables.floors.order):
                    for key, entry in list(txn.cursor(table))[:2]:
                        spoilt = entry[: rng.randrange(1 + len(entry))]
                        txn.delete(key, db=table)
                        if rng.random() < 0.7:
                            txn.put(key[:-1] + rng.randbytes(1), spoilt, db=table)
            self.tables.close()
            self.tables = self.open()
        for later in range(20):
            self.leave_at(NOW + SECONDS + 100 + later)
        with self.tables.env.begin() as txn:
            self.assertEqual(txn.stat(self.tables.floors.times)["entries"], 0)

    def test_failed_write(self) -> None:
        """Changes that were not committed do not count."""
        self.leave_at(NOW, Record(key=1, value=b"v", version=1, expires_at=NOW, replication=8, writer=1))
        too_large = Changes(puts={bytes(600): bytes(8)})
        slot = self.format.slot(2)
        too_large.drops[slot] = LeftFloor(bytes(70), False, False)
        self.assertRaises(lmdb.BadValsizeError, self.tables.write, too_large)
        self.leave_at(
            NOW,
            *(
                Record(key=n, value=b"v", version=1, expires_at=NOW, replication=8, writer=2)
                for n in range(10, 10 + MAX_FLOORS)
            ),
        )
        self.assertEqual(len(self.versions()), MAX_FLOORS)
        self.assertIn(1, self.versions())
        self.reopen()
