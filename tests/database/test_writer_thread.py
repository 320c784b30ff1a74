import os
import sys
from collections.abc import Callable
from pathlib import Path

import lmdb

from dht14.database import writer_thread as module
from dht14.database.entry_format import EntryFormat
from dht14.database.tables import Changes, Tables
from dht14.database.writer_thread import Opened, WriterThread, Written, set_aside
from tests.database.disk import DiskTestCase, record, vault


class WriterTestCase(DiskTestCase):
    """A writer thread, and the calls that it made."""

    def setUp(self) -> None:
        super().setUp()
        self.format = EntryFormat(vault(), 0)
        self.reports: list[Opened | Written | str] = []
        self.on_report: Callable[[Opened | Written | str], None] = self.reports.append

    def begin(self, limit: int = 1 << 30) -> WriterThread:
        writer = WriterThread(str(self.path), limit, 1000, self.calls.put)
        writer.start()
        self.addCleanup(writer.close)
        writer.open(self.on_report, self.on_report)
        return writer

    def next(self) -> Opened | Written | str:
        count = len(self.reports)
        self.run_until(lambda: len(self.reports) > count)
        return self.reports[count]

    def changes(self, count: int, size: int = 1000) -> Changes:
        return Changes(
            {
                (slot := self.format.slot(n)): self.format.write(slot, record(n, os.urandom(size)))
                for n in range(count)
            }
        )


class OpenTests(WriterTestCase):
    def test_refused(self) -> None:
        """If the file cannot be opened that is reported, and tried again until it succeeds."""
        self.patch(module, "RETRY_INTERVAL", 0.01)
        self.path.mkdir()
        self.begin()
        self.assertIsInstance(self.next(), str)
        self.assertIsInstance(self.next(), str)
        self.path.rmdir()
        self.run_until(lambda: isinstance(self.reports[-1], Opened))

    def test_name_is_flushed(self) -> None:
        """The name of a file is durable before anything is acknowledged, at every start: the process before
        may have been killed. If that fails it is tried again."""
        self.patch(module, "RETRY_INTERVAL", 0.01)
        flushed: list[str] = []

        def flush(folder: str) -> None:
            flushed.append(folder)
            self.assertTrue(self.path.exists())
            if len(flushed) == 1:
                raise OSError(5, "Input/output error")

        self.patch(module, "fsync_folder", flush)
        writer = self.begin()
        self.assertIsInstance(self.next(), str)
        self.run_until(lambda: isinstance(self.reports[-1], Opened))
        self.assertEqual(flushed, [str(self.path.parent)] * 2)
        writer.close()
        self.reports.clear()
        self.begin()
        self.assertIsInstance(self.next(), Opened)
        self.assertEqual(len(flushed), 3)

    def test_ended_while_made(self) -> None:
        """What is left of a file that was being made is no damage, and does not stay."""
        new = self.path.with_name(self.path.name + ".new")
        new.write_bytes(b"half")
        new.with_name(new.name + "-lock").touch()
        self.begin()
        opened = self.next()
        assert isinstance(opened, Opened)
        self.assertEqual(opened.set_aside, "")
        self.assertEqual({path.name for path in self.path.parent.iterdir()}, {"db", "db-lock"})

    def test_too_little_memory(self) -> None:
        """A limit that this process may not map is reported with the name of its option."""

        def opens(*_: object, **__: object) -> Tables:
            raise lmdb.MemoryError("Cannot allocate memory")

        self.patch(Tables, "open", opens)
        self.begin(limit=7 << 20)
        reason = self.next()
        self.assertIsInstance(reason, str)
        self.assertIn("[storage] storage_limit and kept_limit (7340032 bytes)", str(reason))

    def test_half_made(self) -> None:
        """A database that could not be made leaves no file that would look damaged."""
        self.patch(module, "RETRY_INTERVAL", 0.01)
        opening = Tables.open

        def fails(path: str, *rest: int, new: bool) -> Tables:
            Path(path).write_bytes(b"half")
            raise lmdb.Error("No space left on device")

        self.patch(Tables, "open", fails)
        self.begin()
        self.assertIsInstance(self.next(), str)
        self.patch(Tables, "open", opening)
        self.run_until(lambda: isinstance(self.reports[-1], Opened))
        assert isinstance(self.reports[-1], Opened)
        self.assertEqual(self.reports[-1].set_aside, "")

    def test_check_ended(self) -> None:
        """A check that was killed says nothing about the file: it is tried again."""
        self.patch(module, "RETRY_INTERVAL", 0.01)
        first = self.begin()
        self.next()
        first.close()
        self.reports.clear()
        python = sys.executable
        self.patch(sys, "executable", "/bin/false")
        self.begin()
        self.assertIsInstance(self.next(), str)
        self.patch(sys, "executable", python)
        self.run_until(lambda: isinstance(self.reports[-1], Opened))
        assert isinstance(self.reports[-1], Opened)
        self.assertEqual(self.reports[-1].set_aside, "")

    def test_closed_while_it_tries(self) -> None:
        """It can be closed at any time, without waiting for a disk that does not answer."""
        self.path.mkdir()
        writer = self.begin()
        self.next()
        writer.close()


class WriteTests(WriterTestCase):
    def test_written(self) -> None:
        """Written changes are found, and their size is reported."""
        writer = self.begin()
        opened = self.next()
        changes = self.changes(100)
        writer.write(changes, self.on_report)
        written = self.next()
        assert isinstance(opened, Opened) and isinstance(written, Written)
        self.assertEqual(
            (written.usage, written.refused, written.failure), (opened.tables.usage(), frozenset(), "")
        )
        with opened.tables.env.begin() as txn:
            self.assertEqual(dict(txn.cursor(opened.tables.records)), changes.puts)

    def test_no_room(self) -> None:
        """If the changes do not fit as a whole, as many as fit are written; the others are refused, by
        slot."""
        writer = self.begin(limit=1 << 20)
        opened = self.next()
        changes = self.changes(1000)
        writer.write(changes, self.on_report)
        written = self.next()
        assert isinstance(opened, Opened) and isinstance(written, Written)
        self.assertEqual(written.failure, "")
        self.assertLess(len(written.refused), 900)
        with opened.tables.env.begin() as txn:
            held = {slot for slot, _ in txn.cursor(opened.tables.records)}
        self.assertEqual(held, changes.puts.keys() - written.refused)

    def test_written_at_the_end(self) -> None:
        """Changes of calls before the end are written."""
        writer = self.begin()
        self.next()
        writer.write(self.changes(100), self.on_report)
        writer.close()
        tables = Tables.open(str(self.path), 1 << 30, 1000, new=False)
        self.addCleanup(tables.close)
        self.assertEqual(tables.usage().records, 100)


class SetAsideTests(DiskTestCase):
    def test_names(self) -> None:
        """Each gets a name of its own; none replaces another."""
        for number in (1, 2, 3):
            self.path.write_text(str(number))
            self.assertEqual(set_aside(str(self.path)), f"{self.path}.damaged-{number}")
            self.assertEqual(Path(f"{self.path}.damaged-{number}").read_text(), str(number))
