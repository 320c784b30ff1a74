"""A database whose file is damaged, or whose disk fails."""

import os
from threading import Event
from typing import Any

import lmdb
from attrs import evolve, frozen

from dht14.database.entry_format import SLOT_BYTES
from dht14.database.health import HANG_SECONDS, HANGS, PROBE_TIME, RECOVERY_TIME
from dht14.database.tables import Tables
from dht14.database.writer_thread import FILE_GONE
from dht14.records.store import Outcome
from tests.database.disk import NOW, TIMEOUT, DiskTestCase, record, version

HELD, REFUSED = Outcome.HELD, Outcome.REFUSED


class DamageTests(DiskTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.store = self.open()
        self.offer(self.store, *(record(n, b"value" * 100) for n in range(9)))

    def change(self, key: int, at: int) -> None:
        """Flip a bit of a record's entry in the file."""
        self.close(self.store)
        raw = bytearray(self.path.read_bytes())
        entry = self.store._format.slot(key) + version(1).to_bytes(8, "big")
        found = -1
        # LMDB leaves earlier states of a page behind: all that look like the entry are changed.
        while (found := raw.find(entry, found + 1)) >= 0:
            raw[found + SLOT_BYTES + at] ^= 1
        self.path.write_bytes(raw)
        self.store = self.open()

    def test_record(self) -> None:
        """A damaged record is not served, and is counted once; the others are found, and a good copy
        replaces it."""
        self.change(5, at=100)
        for _ in range(2):
            self.assertIsNone(self.store.get(5, NOW))
        self.assertEqual(
            [heard for heard in self.notes.heard if heard[0] == "record damaged"], [("record damaged", 1)]
        )
        self.assertTrue(all(self.store.get(n, NOW) for n in range(9) if n != 5))
        self.assertEqual(self.offer(self.store, record(5, version=0)), [HELD])
        self.assertEqual(self.store.get(5, NOW), record(5, version=0))
        self.store.check_invariants()

    def test_head(self) -> None:
        """The same holds if its version, time or tag has changed; a sweep removes it from all tables."""
        for key, at in ((3, 7), (4, 15), (5, 20)):
            self.change(key, at)
            self.assertIsNone(self.store.get(key, NOW))
        self.store.expire(NOW + 1e6)
        self.run_until(lambda: not self.store._sweep_until)
        self.assertEqual(len(self.store), 0)
        self.store.check_invariants()

    def test_file(self) -> None:
        """A damaged file is renamed, never deleted; an empty database replaces it, and reports that."""
        self.close(self.store)
        for number, damage in enumerate((b"x" * 100, self.path.read_bytes()[:9000], b"\xff" * 20_000), 1):
            self.path.write_bytes(damage)
            self.notes.heard.clear()
            store = self.open()
            aside = f"{self.path}.damaged-{number}"
            self.assertEqual(self.notes.heard, [("set aside", aside), ("opened", 0)])
            with open(aside, "rb") as file:
                self.assertEqual(file.read(), damage)
            self.assertEqual(self.offer(store, record()), [HELD])
            self.close(store)

    def test_strange_database(self) -> None:
        """An LMDB file of another program is set aside, and its content not changed."""
        self.close(self.store)
        self.path.unlink()
        lmdb.open(str(self.path), subdir=False).close()
        self.open()
        self.assertEqual(self.notes.names, ["opened", "set aside", "opened"])

    def test_lock_file(self) -> None:
        """The content of the lock file does not matter: no other process uses the directory."""
        self.close(self.store)
        lock = self.path.with_name("db-lock")
        lock.write_bytes(os.urandom(lock.stat().st_size))
        self.store = self.open()
        self.assertEqual(len(self.store), 9)


def error(kind: type[lmdb.Error], text: str, code: int) -> lmdb.Error:
    """An error as LMDB raises it."""
    raised = kind(text)
    raised.code = code  # type: ignore[misc]
    return raised


FULL = error(lmdb.Error, "No space left on device", 28)
PANIC = error(lmdb.PanicError, "MDB_PANIC", -30795)
CORRUPTED = error(lmdb.CorruptedError, "MDB_CORRUPTED", -30796)


@frozen
class Refusing:
    """An LMDB environment that refuses reads."""

    error: lmdb.Error

    def begin(self, *options: object) -> None:
        raise self.error


class RefusingDiskTests(DiskTestCase):
    """A disk that fails, simulated by tables whose writes fail."""

    def setUp(self) -> None:
        super().setUp()
        self.store = self.open()
        self.offer(self.store, record(1))
        self.error: Exception | None = None
        self.responds = Event()
        self.responds.set()
        write = Tables.write

        def fails(tables: Tables, changes: Any) -> Any:
            self.responds.wait(TIMEOUT)
            if self.error is not None:
                raise self.error
            return write(tables, changes)

        self.patch(Tables, "write", fails)

    def test_full_disk(self) -> None:
        """PUTs are refused, reads go on, and the first record that can be written is held; each event
        comes once."""
        self.error = FULL
        for _ in range(3):
            self.assertEqual(self.offer(self.store, record(2)), [REFUSED])
            self.assertEqual(self.store.get(1, NOW), record(1))
        self.error = None
        self.assertEqual(self.offer(self.store, record(2)), [HELD])
        self.assertEqual(self.notes.names, ["opened", "writing failed"])
        self.assertEqual(self.offer(self.store, record(3), now=NOW + RECOVERY_TIME), [HELD])
        self.assertEqual(self.notes.names, ["opened", "writing failed", "writing resumed"])

    def test_hanging_disk(self) -> None:
        """A write that does not end counts as a failure of the disk, once it has waited for too long. When it
        ends the record is held, and later the disk counts as healthy again."""
        self.responds.clear()
        self.addCleanup(self.responds.set)
        outcomes: list[Outcome] = []
        self.store.offer(record(2), NOW, lambda verdict: outcomes.append(verdict.outcome))
        for self.seconds, hangs in ((HANG_SECONDS, False), (HANG_SECONDS + 1, True)):
            self.store.inspect_disk(NOW)
            self.assertEqual((self.store.hangs(), "writing failed" in self.notes.names), (hangs, hangs))
        self.store.inspect_disk(NOW)
        self.assertEqual(self.notes.heard[1:], [("writing failed", HANGS)])
        self.responds.set()
        self.run_until(lambda: outcomes)
        self.assertEqual((outcomes, self.store.hangs()), ([HELD], False))
        self.assertEqual(self.offer(self.store, record(3), now=NOW + RECOVERY_TIME), [HELD])
        self.assertEqual(self.notes.names[1:], ["writing failed", "writing resumed"])

    def test_nobody_writes(self) -> None:
        """If nobody writes, a probe finds out that the disk has space again, and leaves nothing behind."""
        self.error = FULL
        self.offer(self.store, record(2))
        self.store.inspect_disk(NOW + PROBE_TIME - 1)
        self.store.inspect_disk(NOW + PROBE_TIME)
        self.run_until(lambda: self.notes.names[-1] == "writing resumed")
        self.assertEqual(sorted(os.listdir(self.path.parent)), ["db", "db-lock"])

    def test_file_is_gone(self) -> None:
        """A record written into a removed or moved file is not held; the event comes once, also without a
        write."""
        moved = self.path.with_name("moved")
        self.path.rename(moved)
        for _ in range(2):
            self.assertEqual(self.offer(self.store, record(2)), [REFUSED])
            self.store.inspect_disk(NOW)
        self.assertEqual(self.notes.heard[1:], [("writing failed", FILE_GONE)])
        self.assertEqual(self.offer(self.store, record(1)), [REFUSED])
        self.assertEqual(self.store.get(1, NOW), record(1))
        moved.rename(self.path)
        self.store.inspect_disk(NOW)
        self.assertEqual(self.offer(self.store, record(2), now=NOW + RECOVERY_TIME), [HELD])
        self.assertEqual(self.notes.names[-1], "writing resumed")
        self.path.unlink()
        self.store.inspect_disk(NOW)
        self.assertEqual(self.notes.heard[-1], ("writing failed", FILE_GONE))

    def test_file_is_gone_unnoticed(self) -> None:
        """A record that can still be read is not held any more when the file has just been removed, before
        anybody has looked: no verdict rests on it, that it is outranked neither."""
        self.path.rename(moved := self.path.with_name("moved"))
        self.assertEqual(self.offer(self.store, record(1)), [REFUSED])
        self.assertEqual(self.notes.heard[1:], [("writing failed", FILE_GONE)])
        self.assertFalse(self.store.is_in_place())
        moved.rename(self.path)
        self.store.inspect_disk(NOW)
        self.assertTrue(self.store.is_in_place())
        self.assertEqual(self.offer(self.store, record(1)), [HELD])
        self.path.unlink()
        self.assertEqual(self.offer(self.store, record(1, version=0)), [REFUSED])

    def test_waiting_ones(self) -> None:
        """A verdict that rests on a pending record is a refusal if that record is not written."""
        self.error = FULL
        self.assertEqual(self.offer(self.store, record(2, version=2), record(2, version=1)), [REFUSED] * 2)

    def test_panic(self) -> None:
        """After a panic LMDB is opened again, and goes on; readers miss nothing."""
        self.error = PANIC
        self.assertEqual(self.offer(self.store, record(2)), [REFUSED])
        self.assertEqual(self.store.get(1, NOW), record(1))
        self.error = None
        self.assertEqual(self.offer(self.store, record(2)), [HELD])
        self.assertEqual(self.store.get(1, NOW), record(1))

    def test_damage(self) -> None:
        """Damage under a running node leads to a check of the file; a sound file stays in use."""
        self.error = CORRUPTED
        self.assertEqual(self.offer(self.store, record(2)), [REFUSED])
        self.error = None
        self.assertEqual(self.offer(self.store, record(2)), [HELD])
        self.assertNotIn("set aside", self.notes.names)

    def test_readers(self) -> None:
        """If LMDB refuses reads before it is opened again, that is done, and the reader notices nothing."""
        tables = self.store._tables
        assert tables is not None
        self.store._tables = evolve(tables, env=Refusing(PANIC))
        self.assertEqual(self.store.get(1, NOW), record(1))
        self.assertEqual(self.offer(self.store, record(2)), [HELD])

    def test_damaged_pages(self) -> None:
        """A reader that finds damage gets nothing; the file is checked, and its sound records are found
        again."""
        tables = self.store._tables
        assert tables is not None
        self.store._tables = evolve(tables, env=Refusing(CORRUPTED))
        self.assertIsNone(self.store.get(1, NOW))
        self.run_until(lambda: self.notes.names.count("opened") == 2)
        self.assertEqual(self.store.get(1, NOW), record(1))

    def test_bug(self) -> None:
        """A bug costs only its batch and is reported; it does not end the thread."""
        self.error = ZeroDivisionError("a bug")
        self.assertEqual(self.offer(self.store, record(2)), [REFUSED])
        self.error = None
        self.assertEqual(self.offer(self.store, record(2)), [HELD])
        self.assertIn("a bug", str(self.notes.heard))
