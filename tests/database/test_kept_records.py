import os
import struct

import lmdb
from attrs import evolve

from dht14.database.database import Database
from dht14.database.kept_records import _HEADER
from dht14.database.tables import Tables
from dht14.records.kept import KeptBy, KeptEntry, KeptState, RenewalFailure, page_of
from dht14.records.record import Record
from dht14.records.store import Outcome
from dht14.records.version_floors import MAX_FLOORS
from tests.database.disk import NOW, DiskTestCase, record

VALUE = b"a value that stays" * 10


def entry(key: int, value: bytes = VALUE, version: int = 7) -> KeptEntry:
    kept = Record(key=key, value=value, version=version, expires_at=NOW + 600, replication=5)
    return KeptEntry.of(kept, 600, 5, NOW, 0.25)


class KeptCase(DiskTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.one = self.open()

    def done(self, *changes: "tuple[KeptEntry | int, bytes | None]") -> list[bool]:
        """Put entries, or remove keys; return what was reported."""
        results: list[bool] = []
        for changed, value in changes:
            if isinstance(changed, KeptEntry):
                self.one.kept.put(changed, value, results.append)
            else:
                self.one.kept.remove(changed, results.append)
        self.run_until(lambda: len(results) == len(changes))
        return results

    def keys(self) -> list[int]:
        found, mark = [], b""
        while True:
            page = page_of(self.one.kept, mark, 7)
            found += [entry.key for entry in page.entries]
            if page.mark is None:
                return found
            mark = page.mark

    def again(self) -> Database:
        self.one = self.reopen(self.one)
        return self.one


class KeptRecordsTests(KeptCase):
    def test_former_format(self) -> None:
        """A value that was kept before it was known by what stays until it is let go by its key."""
        slot, format = self.one.kept._format.slot(2), self.one.kept._format
        self.assertTrue(self.done((entry(2), VALUE))[0])
        now = format.seal(slot, entry(2))
        header, vault = now[: _HEADER.size], format._format.vault
        body = vault.open(now[_HEADER.size :], b"kept" + slot + header)
        former = header + vault.seal(b"\1" + body[1:-1], b"kept" + slot + header)
        self.assertEqual(format.open(slot, former), evolve(entry(2), by=KeptBy.KEY))

    def test_kept(self) -> None:
        """An entry and its value are as they were, also after the database was opened again."""
        failed = evolve(entry(3).failed(RenewalFailure.NO_ROOM, NOW + 300.25), by=KeptBy.KEY | KeptBy.FILE)
        self.assertEqual(self.done((entry(2), VALUE), (failed, b"x" * 60_000)), [True, True])
        for is_again in (False, True):
            kept = (self.again() if is_again else self.one).kept
            self.assertEqual((kept.get(2), kept.get(3), kept.get(4)), (entry(2), failed, None))
            self.assertEqual(kept.value(entry(2)), VALUE)
            self.assertIsNone(kept.value(failed))  # Its digest is that of another value.
            self.assertEqual(kept.usage().entries, 2)
            self.assertGreater(kept.usage().size, 60_000)

    def test_killed(self) -> None:
        """What was reported as kept is in the file at that moment: a process that is killed has lost
        nothing."""
        self.done((entry(2), VALUE))
        copy = self.path.with_name("copy")
        copy.write_bytes(self.path.read_bytes())
        tables = Tables.open(str(copy), 1 << 30, MAX_FLOORS, new=False)
        self.addCleanup(tables.close)
        with tables.env.begin() as txn:
            self.assertEqual(txn.stat(tables.kept)["entries"], 1)
            self.assertEqual(txn.stat(tables.kept_values)["entries"], 1)

    def test_updated(self) -> None:
        """An entry changes without its value; a stopped one loses the value; a removed one is gone."""
        self.done((entry(2), VALUE))
        later = entry(2).renewed(NOW + 900, NOW + 300, 0.5)
        self.done((later, None))
        self.assertEqual((self.one.kept.get(2), self.one.kept.value(later)), (later, VALUE))
        stopped = later.stopped(KeptState.REPLACED, NOW + 400)
        self.done((stopped, None))
        self.assertEqual((self.one.kept.get(2), self.one.kept.value(stopped)), (stopped, None))
        self.assertEqual(self.done((2, None), (9, None)), [True, True])
        self.assertEqual((self.keys(), self.one.kept.usage().entries), ([], 0))

    def test_one_batch(self) -> None:
        """The last of several changes in one transaction counts, with the value that belongs to it."""
        renewed = evolve(entry(2, b"new"), due_at=NOW + 1)
        self.done(
            (entry(2), VALUE), (entry(2, b"new"), b"new"), (renewed, None), (entry(3), VALUE), (3, None)
        )
        self.assertEqual((self.one.kept.get(2), self.one.kept.value(renewed)), (renewed, b"new"))
        self.assertEqual(self.keys(), [2])

    def test_many(self) -> None:
        """All entries are found page by page, in more than one transaction, and with summaries that agree."""
        entries = {key: entry(key, b"%d" % key) for key in range(1_500)}
        self.assertEqual(set(self.done(*((one, b"%d" % key) for key, one in entries.items()))), {True})
        self.assertEqual(sorted(self.keys()), sorted(entries))
        for summary in self.one.kept.summaries(b"", 2_000):
            opened = self.one.kept.entry_at(summary.mark)
            assert opened is not None
            self.assertEqual(summary, opened.summary(summary.mark))

    def test_beside_records(self) -> None:
        """The record of a key and its kept value do not disturb each other, and the list takes no room of
        the store."""
        self.assertEqual(self.offer(self.one, record(2, b"record")), [Outcome.HELD])
        used = self.one.usage.size
        self.done((entry(2), VALUE), *((entry(key, bytes(10_000)), bytes(10_000)) for key in range(10, 40)))
        self.assertEqual(self.one.usage.size, used)
        held = self.one.get(2, NOW)
        assert held is not None
        self.assertEqual((held.value, self.one.kept.value(entry(2))), (b"record", VALUE))
        self.one.check_invariants()
        self.one.expire(NOW + 10_000)
        self.run_until(lambda: len(self.one) == 0)
        self.assertEqual(self.one.kept.value(entry(2)), VALUE)

    def test_not_open(self) -> None:
        """Before the database is open nothing is kept and nothing is read."""
        database = self.database()
        results: list[bool] = []
        database.kept.put(entry(2), VALUE, results.append)
        self.assertEqual((results, database.kept.is_open, database.kept.get(2)), ([False], False, None))

    def test_file_gone(self) -> None:
        """If the file was moved away, nothing is reported as kept."""
        os.rename(self.path, self.path.with_name("elsewhere"))
        self.assertEqual(self.done((entry(2), VALUE)), [False])
        self.assertEqual(self.done((entry(3), VALUE)), [False])
        os.rename(self.path.with_name("elsewhere"), self.path)

    def test_no_space(self) -> None:
        """A change for which the file has no space is reported as failed, as a whole."""
        self.release(self.one)
        self.one = self.open(limit=1 << 20)
        results = self.done(*((entry(key, bytes(60_000)), bytes(60_000)) for key in range(40)))
        self.assertIn(False, results)
        for key, is_kept in enumerate(results):
            value = self.one.kept.value(entry(key, bytes(60_000)))
            self.assertEqual((key, value is not None), (key, is_kept))
        self.release(self.one)


class DamageTests(KeptCase):
    def change(self, table: bytes, key: int, at: int) -> None:
        """Flip a bit of what is stored for a key."""
        slot = self.one._format.slot(key)
        self.close(self.one)
        with lmdb.open(str(self.path), subdir=False, max_dbs=8, map_size=1 << 30) as env:
            db = env.open_db(table, create=False)
            with env.begin(write=True) as txn:
                stored = bytearray(txn.get(slot, db=db) or b"")
                stored[at] ^= 1
                txn.put(slot, bytes(stored), db=db)
        self.one = self.open()

    def test_entry(self) -> None:
        """An entry of which a bit has changed is not believed, not even the part that is not sealed."""
        for at in (0, 28, 60, -1):
            self.done((entry(2), VALUE), (entry(3), VALUE))
            self.change(b"kept", 2, at)
            self.assertIsNone(self.one.kept.get(2))
            self.assertEqual(self.keys(), [3])

    def test_value(self) -> None:
        """A value of which a bit has changed is never renewed."""
        self.done((entry(2), VALUE))
        self.change(b"kept values", 2, -1)
        self.assertEqual(self.one.kept.get(2), entry(2))
        self.assertIsNone(self.one.kept.value(entry(2)))

    def test_earlier_version(self) -> None:
        """A database of a version that kept no values is opened with its records, and keeps values."""
        self.assertEqual(self.offer(self.one, record(2, b"record")), [Outcome.HELD])
        self.close(self.one)
        with lmdb.open(str(self.path), subdir=False, max_dbs=8, map_size=1 << 30) as env:
            for name in (b"kept", b"kept values"):
                db = env.open_db(name, create=False)
                with env.begin(write=True) as txn:
                    txn.drop(db)
        self.one = self.open()
        self.assertEqual(self.notes.names, ["opened", "opened"])
        self.assertIsNotNone(self.one.get(2, NOW))
        self.assertEqual(self.done((entry(2), VALUE)), [True])

    def test_what_is_seen(self) -> None:
        """Neither key nor value can be read in the file."""
        key = int.from_bytes(b"k" * 32, "big")
        self.done((entry(key, b"a secret value"), b"a secret value"))
        content = self.path.read_bytes()
        self.assertNotIn(b"kkkkkkkk", content)
        self.assertNotIn(b"secret", content)
        self.assertIn(struct.pack(">d", entry(key, b"a secret value").due_at), content)
