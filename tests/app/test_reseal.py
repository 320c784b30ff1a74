import os
from collections import Counter
from pathlib import Path

from attrs import evolve

from dht14.app.database_dir import DatabaseDir, unlock
from dht14.app.reseal import ResealCounts, reseal
from dht14.database.entry_format import EntryBody, EntryHeader
from dht14.database.floor_table import LeftFloor
from dht14.database.kept_records import KeptFormat
from dht14.database.tables import Changes, Tables, growth_of
from dht14.errors import ConfigError
from dht14.records.kept import KeptEntry, KeptState
from dht14.records.record import Kind, Record
from tests.app.test_database_dir import KEY, LIMIT, OTHER_KEY, SUBNET, DatabaseDirTestCase
from tests.database.disk import record


class ResealTests(DatabaseDirTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.values = unlock(self.data_dir, KEY, 7)
        self.write(self.values, 700)

    def check(self, values: DatabaseDir) -> None:
        """All records and floors are there, and the bytes of each writer."""
        tables = Tables.open(values.path, LIMIT, 1000, new=False)
        self.addCleanup(tables.close)
        shares: Counter[bytes] = Counter()
        with tables.env.begin() as txn:
            for n in range(700):
                slot = values.format.slot(n)
                entry = txn.get(slot, db=tables.records)
                read = values.format.read(slot, entry)
                self.assertEqual((read, read.writer), (record(n, b"%d" % n), n % 3))
                shares.update(growth_of(entry, None).of_parties)
                slot = values.format.slot(1000 + n)
                head, body = values.format.open(slot, txn.get(slot, db=tables.floors.floors))
                self.assertEqual((head, body.writer, body.is_brief), (EntryHeader(n, 2e9), n % 3, n % 5 == 0))
            self.assertEqual(shares, {tag: tables.share(txn, tag) for tag in shares})
            tags = {tag for writer in (0, 1, 2) for tag in values.format.tags(writer, SUBNET)}
            self.assertEqual(set(shares), tags)

    def test_resealed(self) -> None:
        """Under the new key everything is found; the old key is refused, and nothing is left of its
        database. The progress is reported."""
        progress: list[tuple[int, int]] = []
        counts = reseal(self.values, OTHER_KEY, LIMIT, lambda done, count: progress.append((done, count)))
        self.assertEqual(counts, ResealCounts(700, 0))
        self.assertEqual((progress[-1], sorted(progress)), ((700, 700), progress))
        self.refused(KEY)
        values = unlock(self.data_dir, OTHER_KEY, 7)
        self.check(values)
        self.assertNotIn(os.path.basename(self.values.path), os.listdir(self.path / "values"))

    def test_record_beside_floor(self) -> None:
        """A record stays that was put after an older one under its key had expired: its slot has a floor."""
        slot = self.values.format.slot(3)
        body = EntryBody(3, Kind.OPEN, b"", 1)
        floor = LeftFloor.seal(self.values.format, slot, EntryHeader(1, 2e9), body)
        tables = Tables.open(self.values.path, LIMIT, 1000, new=False)
        tables.write(Changes(drops={slot: floor}))
        tables.write(Changes(puts={slot: self.values.format.write(slot, record(3))}))
        tables.close()
        self.assertEqual(reseal(self.values, OTHER_KEY, LIMIT), ResealCounts(700, 0))
        values = unlock(self.data_dir, OTHER_KEY, 7)
        tables = Tables.open(values.path, LIMIT, 1000, new=False)
        self.addCleanup(tables.close)
        slot = values.format.slot(3)
        with tables.env.begin() as txn:
            self.assertEqual(values.format.read(slot, txn.get(slot, db=tables.records)), record(3))
            header, _ = values.format.open(slot, txn.get(slot, db=tables.floors.floors))
        self.assertEqual(header.version, 1)

    def test_kept_values(self) -> None:
        """The list of kept values is found under the new key, with its values, but for damaged ones."""
        record_2, value = Record(key=2, value=b"v", version=1, expires_at=2e9, replication=8), b"v"
        old = KeptFormat(self.values.format)
        kept = KeptEntry.of(record_2, 600, 8, 1e9, 0.5)
        stopped = evolve(kept, key=3).stopped(KeptState.DELETED, 1e9)
        changes = Changes(kept_values={old.slot(2): old.seal_value(old.slot(2), value)})
        for one in (kept, stopped):
            changes.kept[old.slot(one.key)] = old.seal(old.slot(one.key), one)
        changes.kept[old.slot(4)] = b"damaged"
        tables = Tables.open(self.values.path, LIMIT, 1000, new=False)
        tables.write(changes)
        tables.close()
        self.assertEqual(reseal(self.values, OTHER_KEY, LIMIT), ResealCounts(700, 1))
        values = unlock(self.data_dir, OTHER_KEY, 7)
        new = KeptFormat(values.format)
        tables = Tables.open(values.path, LIMIT, 1000, new=False)
        self.addCleanup(tables.close)
        with tables.env.begin() as txn:
            for one in (kept, stopped):
                slot = new.slot(one.key)
                self.assertEqual(new.open(slot, txn.get(slot, db=tables.kept)), one)
            self.assertEqual(new.open_value(new.slot(2), txn.get(new.slot(2), db=tables.kept_values)), value)
            self.assertEqual(txn.stat(tables.kept)["entries"], 2)

    def test_interrupted(self) -> None:
        """Until the header is replaced the old key opens the old database, and the new one is removed."""
        self.patch(DatabaseDir, "save", lambda values: (_ for _ in ()).throw(KeyboardInterrupt()))
        self.assertRaises(KeyboardInterrupt, reseal, self.values, OTHER_KEY, LIMIT)
        self.assertEqual(len([name for name in os.listdir(self.path / "values") if name.endswith(".mdb")]), 2)
        self.check(unlock(self.data_dir, KEY, 7))
        self.assertEqual(len([name for name in os.listdir(self.path / "values") if name.endswith(".mdb")]), 1)

    def test_no_room(self) -> None:
        """A disk that fails leaves the old database unchanged, and is reported."""

        def refuses(values: DatabaseDir) -> None:
            raise OSError(28, "No space left on device")

        self.patch(DatabaseDir, "save", refuses)
        wrong = self.assertRaises(ConfigError, reseal, self.values, OTHER_KEY, LIMIT)
        self.assertIn("No space", str(wrong))
        self.check(unlock(self.data_dir, KEY, 7))

    def test_damaged(self) -> None:
        """A damaged file is left to a start of the node; a damaged record is left out, and counted."""
        whole = Path(self.values.path).read_bytes()
        Path(self.values.path).write_bytes(whole[:20_000])
        self.assertRaises(ConfigError, reseal, self.values, OTHER_KEY, LIMIT)
        entry = self.values.format.slot(3) + record(3).version.to_bytes(8, "big")
        at = whole.rindex(entry) + len(entry) + 40
        Path(self.values.path).write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        self.assertEqual(reseal(self.values, OTHER_KEY, LIMIT), ResealCounts(699, 1))

    def test_empty(self) -> None:
        """A node that has never used its database can change its key, too."""
        os.unlink(self.values.path)
        self.assertEqual(reseal(self.values, OTHER_KEY, LIMIT), ResealCounts(0, 0))
        unlock(self.data_dir, OTHER_KEY, 7)
