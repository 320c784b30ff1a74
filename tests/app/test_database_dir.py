import hashlib
import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

from attrs import evolve
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from dht14.app.data_dir import DataDir
from dht14.app.database_dir import (
    FORMAT,
    DatabaseDir,
    DatabaseHeader,
    has_database,
    unlock,
)
from dht14.database.entry_format import EntryBody, EntryHeader
from dht14.database.floor_table import LeftFloor
from dht14.database.tables import Changes, Tables
from dht14.errors import ConfigError
from dht14.records.record import Kind
from dht14.security.identity import Puzzle
from tests.database.disk import record

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
SUBNET = bytes([198, 51, 100])
LIMIT = 16 << 20


class DatabaseDirTestCase(SynchronousTestCase):
    """A data directory in the folder of this run."""

    def setUp(self) -> None:
        self.data_dir = DataDir.open(self.mktemp())
        self.addCleanup(self.data_dir.close)
        self.path = Path(self.data_dir.path)

    def content(self) -> dict[str, bytes]:
        return {
            str(file.relative_to(self.path)): file.read_bytes()
            for file in self.path.rglob("*")
            if file.is_file()
        }

    def refused(self, key: bytes | None, remedy: str = "[security] encryption_key") -> None:
        """This key is refused, with the name of the option and without the key, and nothing changes."""
        before = self.content()
        wrong = self.assertRaises(ConfigError, unlock, self.data_dir, key, 1)
        self.assertIn(remedy, str(wrong))
        for secret in filter(None, (key, KEY)):
            self.assertNotIn(secret.decode("ascii", "replace"), str(wrong))
        self.assertEqual(self.content(), before)

    def write(self, values: DatabaseDir, count: int) -> None:
        """Write records and floors into the database."""
        tables = Tables.open(values.path, LIMIT, 1000, new=True)
        changes = Changes()
        for n in range(count):
            slot = values.format.slot(n)
            changes.puts[slot] = values.format.write(
                slot, evolve(record(n, b"%d" % n, writer=n % 3), writer_subnet=SUBNET)
            )
            slot = values.format.slot(1000 + n)
            body = EntryBody(1000 + n, Kind(1 + n % 2), b"", n % 3, is_brief=n % 5 == 0)
            changes.drops[slot] = LeftFloor.seal(values.format, slot, EntryHeader(n, 2e9), body)
        tables.write(changes)
        tables.close()


class UnlockTests(DatabaseDirTestCase):
    def test_same_again(self) -> None:
        """Every later start has the database of the first one, whatever the node id is then."""
        first = unlock(self.data_dir, KEY, 1)
        before = self.content()
        again = unlock(self.data_dir, KEY, 2)
        self.assertEqual((again.path, again.format, again.header), (first.path, first.format, first.header))
        self.assertEqual((self.content(), sorted(before)), (before, [*self.new_files(first)]))

    def new_files(self, values: DatabaseDir) -> list[str]:
        return sorted(["lock", f"values/{os.path.basename(values.path)}.unmade", "values/header"])

    def test_never_opened(self) -> None:
        """A start that ended before the database was open has lost nothing; once it was open, its file is
        missed, also by a process that was killed just then."""
        values = unlock(self.data_dir, KEY, 1)
        for _ in range(2):
            self.assertFalse(unlock(self.data_dir, KEY, 1).is_missing)
        for is_killed in (True, False):
            self.write(values, 1)
            if is_killed:
                unlock(self.data_dir, KEY, 1)
            else:
                values.made()
            os.unlink(values.path)
            self.assertTrue(unlock(self.data_dir, KEY, 1).is_missing)

    def test_missing(self) -> None:
        """A header without its database is distinguished from a first start, and from an existing
        database."""
        values = unlock(self.data_dir, KEY, 1)
        self.assertFalse(values.is_missing)
        self.write(values, 1)
        self.assertFalse(unlock(self.data_dir, KEY, 1).is_missing)
        values.made()
        os.rename(values.path, self.path / "away")
        self.assertTrue(unlock(self.data_dir, KEY, 1).is_missing)

    def test_wrong_key(self) -> None:
        """A wrong key is refused, and changes nothing."""
        unlock(self.data_dir, KEY, 1)
        self.refused(OTHER_KEY)

    def test_own_key(self) -> None:
        """If no key is configured one is made, readable only for its owner, and used again."""
        first = unlock(self.data_dir, None, 1)
        key = self.path / "encryption.key"
        self.assertEqual(stat.S_IMODE(key.stat().st_mode), 0o600)
        self.assertEqual(unlock(self.data_dir, None, 1).format, first.format)
        self.assertEqual(unlock(self.data_dir, bytes.fromhex(key.read_text()), 1).format, first.format)

    def test_missing_key(self) -> None:
        """Values without the key that was made for them, or with half of it, are refused and not replaced."""
        unlock(self.data_dir, None, 1)
        key = self.path / "encryption.key"
        key.write_text(key.read_text()[:20])
        self.refused(None)
        key.unlink()
        self.refused(None)

    def test_nothing_secret(self) -> None:
        """No file holds a key that was configured."""
        unlock(self.data_dir, KEY, 1)
        for content in self.content().values():
            self.assertNotIn(KEY, content)
            self.assertNotIn(KEY.hex().encode(), content)

    def test_strange_things(self) -> None:
        """Anything in the folder that is no database of ours is renamed, and the node starts without
        values."""
        folder = self.path / "values"

        def foreign() -> None:
            folder.mkdir()
            (folder / "x").write_bytes(b"x")

        strange: list[Callable[[], object]] = [foreign, lambda: folder.write_bytes(b"x")]
        for number, make in enumerate(strange, 1):
            make()
            values = unlock(self.data_dir, KEY, 1)
            self.assertEqual(values.set_aside, f"{folder}.damaged-{number}")
            self.assertTrue(os.path.lexists(values.set_aside))
            os.rename(folder, self.path / f"away-{number}")

    def test_empty_folder(self) -> None:
        """A folder without data is used as it is, and nothing is reported as damaged."""
        folder = self.path / "values"

        def with_leftovers() -> None:
            (folder / "lost+found").mkdir(parents=True)
            (folder / "lost+found" / "#7").write_bytes(b"x")
            (folder / "empty" / "deep").mkdir(parents=True)
            (folder / ".keep").touch()
            (folder / "header.new").write_bytes(b"half")

        for make in (folder.mkdir, with_leftovers):
            make()
            inode = folder.stat().st_ino
            self.assertFalse(has_database(self.data_dir.path))
            values = unlock(self.data_dir, KEY, 1)
            self.assertEqual((values.set_aside, folder.stat().st_ino), ("", inode))
            self.assertTrue(has_database(self.data_dir.path))
            self.assertEqual(unlock(self.data_dir, KEY, 1).path, values.path)
            self.assertEqual(sorted(os.listdir(self.path)), ["lock", "values"])
            shutil.rmtree(folder)

    def test_link(self) -> None:
        """Values behind a link stay behind it: damaged ones are renamed there."""
        elsewhere = self.path.parent / "elsewhere"
        elsewhere.mkdir()
        folder = self.path / "values"
        folder.symlink_to(elsewhere)
        first = unlock(self.data_dir, KEY, 1)
        self.write(first, 3)
        (elsewhere / "header").write_bytes(b"damaged")
        for number in (1, 2):
            again = unlock(self.data_dir, KEY, 1)
            self.assertEqual(again.set_aside, str(folder / f"damaged-{number}"))
            self.assertEqual(Path(again.set_aside, "header").read_bytes(), b"damaged")
            (elsewhere / "header").write_bytes(b"damaged")
        self.assertTrue((elsewhere / "damaged-1" / os.path.basename(first.path)).exists())
        self.assertTrue(folder.is_symlink())
        self.assertEqual(sorted(os.listdir(self.path)), ["lock", "values"])

    def test_link_elsewhere(self) -> None:
        """A link to nowhere, or to a folder with foreign files, is refused, and nothing is made or moved."""
        elsewhere = self.path.parent / "elsewhere"
        (self.path / "values").symlink_to(elsewhere)
        self.refused(KEY, "which does not exist")
        self.assertRaises(ConfigError, has_database, self.data_dir.path)
        elsewhere.mkdir()
        (elsewhere / "photo").write_bytes(b"x")
        self.refused(KEY, "'photo'")
        self.assertEqual(os.listdir(elsewhere), ["photo"])
        self.assertEqual(sorted(os.listdir(self.path)), ["lock", "values"])

    def test_mount(self) -> None:
        """The same holds for a volume: one with only lost+found is used; the mount itself is never
        renamed."""
        folder = self.path / "values"
        folder.mkdir()
        if subprocess.run(
            ["mount", "-t", "tmpfs", "none", folder], capture_output=True, check=False
        ).returncode:
            raise SkipTest("only root may mount")
        self.addCleanup(lambda: subprocess.run(["umount", folder], check=True))
        (folder / "lost+found").mkdir()
        self.assertEqual(unlock(self.data_dir, KEY, 1).set_aside, "")
        (folder / "header").write_bytes(b"damaged")
        self.assertEqual(unlock(self.data_dir, KEY, 1).set_aside, str(folder / "damaged-1"))
        self.assertTrue(folder.is_mount())

    def test_after_a_crash(self) -> None:
        """Files that a first start left incomplete do not matter to the next one."""
        (self.path / "values.new").mkdir()
        (self.path / "values.new" / "header.new").write_bytes(b"half")
        self.assertEqual(unlock(self.data_dir, KEY, 1).set_aside, "")

    def test_unusable(self) -> None:
        """A folder that cannot be written is reported as a problem of the data directory."""
        (self.path / "values.new").write_text("")
        self.refused(KEY, "[node] data_dir")


class HeaderTests(DatabaseDirTestCase):
    def test_damaged(self) -> None:
        """However the header is damaged, the folder is renamed as it is, and the node starts without
        values."""
        values = unlock(self.data_dir, KEY, 1)
        header = self.path / "values" / "header"
        whole = header.read_bytes()
        damaged = [whole[:n] for n in range(7, len(whole), 7)]
        damaged += [whole[:n] + bytes([whole[n] ^ 1]) + whole[n + 1 :] for n in range(7, len(whole), 7)]
        for content in damaged:
            header.write_bytes(content)
            again = unlock(self.data_dir, KEY, 1)
            self.assertNotEqual(again.path, values.path)
            self.assertEqual((Path(again.set_aside) / "header").read_bytes(), content)

    def test_newer(self) -> None:
        """A database of a later version is refused with its format, and not changed."""
        unlock(self.data_dir, KEY, 1)
        content = b"DHT14VAL" + (FORMAT + 1).to_bytes(2, "big") + b"whatever comes then"
        (self.path / "values" / "header").write_bytes(content + hashlib.sha256(content).digest())
        self.refused(KEY, "format 3")

    def test_older(self) -> None:
        """A database of an older format is renamed, and the node starts without values: others have them."""
        unlock(self.data_dir, KEY, 1)
        header = self.path / "values" / "header"
        content = b"DHT14VAL" + (FORMAT - 1).to_bytes(2, "big") + header.read_bytes()[10:-32]
        header.write_bytes(content + hashlib.sha256(content).digest())
        values = unlock(self.data_dir, KEY, 1)
        self.assertEqual((bool(values.set_aside), values.is_outdated), (True, True))
        header.write_bytes(b"damaged")
        values = unlock(self.data_dir, KEY, 1)
        self.assertEqual((bool(values.set_aside), values.is_outdated), (True, False))

    def test_round_trip(self) -> None:
        """A header comes back as it was."""
        header = unlock(self.data_dir, KEY, 2**256 - 1).header
        self.assertEqual(DatabaseHeader.unpack(header.pack()), header)


class EarlierVersionTests(DatabaseDirTestCase):
    """A data directory that an earlier version wrote opens: the formats on disk have not changed."""

    def setUp(self) -> None:
        folder = self.mktemp()
        with ZipFile(Path(__file__).parent / "earlier_data_dir.zip") as archive:
            archive.extractall(folder)
        self.data_dir = DataDir.open(os.path.join(folder, "data"))
        self.addCleanup(self.data_dir.close)

    def test_identity(self) -> None:
        """The node keeps its id."""
        identity = self.data_dir.identity(Puzzle("main", 1))
        assert identity is not None
        node_id = "60f7b525ca3b5b0b3b9b1bb93e4eaa45c4bc98b51763bc083584c89ae7f72331"
        self.assertEqual(f"{identity.node_id:064x}", node_id)

    def test_values(self) -> None:
        """Records of all kinds can be read, with the key that the node made for itself."""
        values = unlock(self.data_dir, None, 0)
        tables = Tables.open(values.path, LIMIT, 1000, new=False)
        self.addCleanup(tables.close)
        with tables.env.begin() as txn:
            records = [values.format.read(slot, entry) for slot, entry in txn.cursor(tables.records)]
        self.assertTrue(all(record.is_authentic for record in records))
        self.assertEqual(
            sorted((record.kind, record.value[-12:]) for record in records),
            [(Kind.OPEN, b"n open value"), (Kind.OWNER, b"wner's value"), (Kind.CONTENT, b"some content")],
        )
