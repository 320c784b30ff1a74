import os
import random
import stat
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.trial.unittest import SynchronousTestCase

from dht14.app.data_dir import MAX_SAVED_CONTACTS, DataDir
from dht14.errors import ConfigError, DataDirInUse, Malformed
from dht14.security.identity import Identity, Puzzle, public_bytes
from tests.fakes import contact_at, verify_proof

PUZZLE = Puzzle("main", 1)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


class DataDirTestCase(SynchronousTestCase):
    """Data directories in the folder of this run."""

    def setUp(self):
        self.path = Path(self.mktemp()) / "deep" / "node"

    def open(self) -> DataDir:
        opened = DataDir.open(str(self.path))
        self.addCleanup(opened.close)
        return opened

    def reopen(self, opened: DataDir) -> DataDir:
        opened.close()
        return self.open()

    def content(self) -> dict[str, bytes]:
        return {file.name: file.read_bytes() for file in self.path.iterdir()}


class LockTests(DataDirTestCase):
    """One process for each directory."""

    def test_made(self):
        """A missing directory is made, readable only for its owner."""
        self.open()
        self.assertEqual(mode(self.path), 0o700)

    def test_second(self):
        """While one process has it no other gets it, and nothing in it changes."""
        opened = self.open()
        opened.private_key()
        before = self.content()
        error = self.assertRaises(DataDirInUse, DataDir.open, str(self.path))
        self.assertEqual(error.exit_code, 75)
        self.assertIn("data_dir", str(error))
        self.assertEqual(self.content(), before)

    def test_given_back(self):
        """After `close`, once or twice, it can be opened again."""
        opened = self.open()
        opened.close()
        opened.close()
        self.open()

    def test_outlives_a_fork(self):
        """A daemon's parent does not release the lock when it ends."""
        self.open()
        child = os.fork()
        if not child:
            os._exit(0)
        os.waitpid(child, 0)
        self.assertRaises(DataDirInUse, DataDir.open, str(self.path))

    def test_forked_child(self):
        """A child that was forked meanwhile, as by multiprocessing, does not keep the directory locked. Nor
        does its own `close` give back what its parent has."""
        opened = self.open()
        ours, its_end = os.pipe(), os.pipe()
        pid = os.fork()
        if not pid:
            opened.close()
            os.write(its_end[1], b"x")
            os.read(ours[0], 1)
            os._exit(0)
        try:
            os.read(its_end[0], 1)
            self.assertRaises(DataDirInUse, DataDir.open, str(self.path))
        finally:
            os.write(ours[1], b"x")
            os.waitpid(pid, 0)
        pid = os.fork()
        if not pid:
            os.read(ours[0], 1)
            os._exit(0)
        try:
            self.reopen(opened)
        finally:
            os.write(ours[1], b"x")
            os.waitpid(pid, 0)
            for end in (*ours, *its_end):
                os.close(end)

    def test_unusable(self):
        """A path that cannot be a data directory is refused by name, with a remedy."""
        file = Path(self.mktemp())
        file.write_text("")
        for path in (file, file / "below", Path("/proc/dht14")):
            error = self.assertRaises(ConfigError, DataDir.open, str(path))
            self.assertIn("data_dir", str(error))
            self.assertIn(str(path.absolute()), str(error))


class IdentityTests(DataDirTestCase):
    """The identity of the node, from the first start on."""

    def test_kept(self):
        """The identity of the first start is that of every later one."""
        opened = self.open()
        self.assertIsNone(opened.identity(PUZZLE))
        identity = self.save_proof(opened, PUZZLE)
        self.assertEqual(opened.identity(PUZZLE), identity)
        self.assertEqual(self.reopen(opened).identity(PUZZLE), identity)

    def save_proof(self, opened: DataDir, puzzle: Puzzle) -> Identity:
        public = public_bytes(opened.private_key())
        return opened.save_proof(next(proof for proof in puzzle.solve(public) if proof), puzzle)

    def test_lost_proof(self):
        """Without the proof, or with a damaged or another one, the same id is found again."""
        opened = self.open()
        identity = self.save_proof(opened, PUZZLE)
        other = Identity.made_up(PUZZLE, random.Random(1)).proof
        for content in (None, b"", bytes(48), other, identity.proof[:-1]):
            (self.path / "identity.proof").unlink()
            if content is not None:
                (self.path / "identity.proof").write_bytes(content)
            self.assertIsNone(opened.identity(PUZZLE))
            self.assertEqual(self.save_proof(opened, PUZZLE), identity)

    def test_raised_difficulty(self):
        """A proof for an easier puzzle is no identity for a harder one; the reverse is accepted."""
        opened = self.open()
        identity = self.save_proof(opened, PUZZLE)
        self.assertIsNone(opened.identity(Puzzle("main", 3)))
        self.assertEqual(opened.proof(), identity.proof)
        self.assertEqual(opened.identity(Puzzle("main", 0)), identity)

    def test_other_network(self):
        """In a network of another name the node has another id."""
        opened = self.open()
        here, there = (self.save_proof(opened, Puzzle(name, 0)) for name in ("main", "other"))
        self.assertNotEqual(here.node_id, there.node_id)

    def test_private(self):
        """No other user can read the key, and no repr shows it."""
        identity = self.save_proof(self.open(), PUZZLE)
        self.assertEqual(mode(self.path / "identity.pem"), 0o600)
        self.assertNotIn("rivate", repr(identity))

    def test_damaged(self):
        """A damaged key, or one of another kind, is refused by name and left as it is."""
        opened = self.open()
        opened.private_key()
        file = self.path / "identity.pem"
        other = Ed448PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        whole = file.read_bytes()
        # One character of the algorithm's name, one that makes it an algorithm without such keys.
        changed = [whole[:n] + bytes([whole[n] ^ 1]) + whole[n + 1 :] for n in (40, 43)]
        for content in (b"", whole[:40], b"\xff" * 100, other, *changed):
            file.write_bytes(content)
            self.assertIn(str(file.absolute()), str(self.assertRaises(ConfigError, opened.private_key)))
            self.assertEqual(file.read_bytes(), content)

    def test_after_a_crash(self):
        """A file that a start left incomplete does not keep the next start from making it."""
        opened = self.open()
        (self.path / "identity.pem.new").write_bytes(b"half")
        opened.private_key()
        self.assertEqual(sorted(self.content()), ["identity.pem", "lock"])


class ContactTests(DataDirTestCase):
    """The saved contacts."""

    CONTACTS = (contact_at(5, ("127.0.0.1", 8000)), contact_at(2**256 - 1, ("2001:db8::1", 65535)))

    def test_kept(self):
        """Saved contacts are there after a restart; the last save counts; at first there are none."""
        opened = self.open()
        self.assertEqual(opened.load_contacts(verify_proof), ())
        opened.save_contacts(self.CONTACTS[:1])
        opened.save_contacts(self.CONTACTS)
        self.assertEqual(self.reopen(opened).load_contacts(verify_proof), self.CONTACTS)

    def test_limit(self):
        """However many contacts are given, the saved file can be loaded."""
        opened = self.open()
        many = [contact_at(n, ("2001:db8::1", 1 + n)) for n in range(MAX_SAVED_CONTACTS + 10)]
        opened.save_contacts(many)
        self.assertEqual(opened.load_contacts(verify_proof), tuple(many[:MAX_SAVED_CONTACTS]))

    def test_damaged(self):
        """A damaged file is detected, wherever the damage is."""
        opened = self.open()
        opened.save_contacts(self.CONTACTS)
        file = self.path / "contacts"
        whole = file.read_bytes()
        damaged = [whole[:n] for n in range(len(whole))]
        damaged += [whole[:n] + bytes([whole[n] ^ 1]) + whole[n + 1 :] for n in range(len(whole))]
        for content in damaged:
            file.write_bytes(content)
            self.assertRaises(Malformed, opened.load_contacts, verify_proof)
