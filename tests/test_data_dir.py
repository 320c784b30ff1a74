import os
import stat
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from twisted.trial.unittest import SynchronousTestCase

from dht14.data_dir import MAX_SAVED_CONTACTS, DataDir
from dht14.errors import ConfigError, DataDirInUse, Malformed
from dht14.kademlia.contact import Contact
from dht14.kademlia.keyspace import hash_id


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
    """One process a directory."""

    def test_made(self):
        """The directory is made where it is missing, for its owner's eyes alone."""
        self.open()
        self.assertEqual(mode(self.path), 0o700)

    def test_second(self):
        """While one has it nobody else gets it, and nothing in it changes."""
        opened = self.open()
        opened.identity()
        before = self.content()
        error = self.assertRaises(DataDirInUse, DataDir.open, str(self.path))
        self.assertEqual(error.exit_code, 75)
        self.assertIn("data_dir", str(error))
        self.assertEqual(self.content(), before)

    def test_given_back(self):
        """Closed, twice if need be, it can be opened again."""
        opened = self.open()
        opened.close()
        opened.close()
        self.open()

    def test_outlives_a_fork(self):
        """A daemon's parent takes nothing with it when it ends."""
        self.open()
        child = os.fork()
        if not child:
            os._exit(0)
        os.waitpid(child, 0)
        self.assertRaises(DataDirInUse, DataDir.open, str(self.path))

    def test_unusable(self):
        """What cannot be a data directory is refused by name, with a cure."""
        file = Path(self.mktemp())
        file.write_text("")
        for path in (file, file / "below", Path("/proc/dht14")):
            error = self.assertRaises(ConfigError, DataDir.open, str(path))
            self.assertIn("data_dir", str(error))
            self.assertIn(str(path.absolute()), str(error))


class IdentityTests(DataDirTestCase):
    """Who the node is, from the first start on."""

    def test_kept(self):
        """The identity of the first start is that of every later one."""
        opened = self.open()
        identity = opened.identity()
        self.assertEqual(opened.identity(), identity)
        self.assertEqual(self.reopen(opened).identity(), identity)

    def test_node_id(self):
        """The node id is the hash of network, public key and nonce."""
        identity = self.open().identity()
        public = identity.private_key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.assertEqual(identity.node_id, hash_id(b"dht14/main/id" + public + bytes(8)))

    def test_private(self):
        """Nobody else may read the key, and no repr shows it."""
        identity = self.open().identity()
        self.assertEqual(mode(self.path / "identity.pem"), 0o600)
        self.assertNotIn("rivate", repr(identity))

    def test_damaged(self):
        """A damaged key, or one of another kind, is refused by name and left as it is."""
        opened = self.open()
        opened.identity()
        file = self.path / "identity.pem"
        other = Ed448PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        whole = file.read_bytes()
        # One character of the algorithm's name, one that makes it an algorithm without such keys.
        changed = [whole[:n] + bytes([whole[n] ^ 1]) + whole[n + 1 :] for n in (40, 43)]
        for content in (b"", whole[:40], b"\xff" * 100, other, *changed):
            file.write_bytes(content)
            self.assertIn(str(file.absolute()), str(self.assertRaises(ConfigError, opened.identity)))
            self.assertEqual(file.read_bytes(), content)

    def test_after_a_crash(self):
        """What a start left half made does not keep the next one from making it."""
        opened = self.open()
        (self.path / "identity.pem.new").write_bytes(b"half")
        opened.identity()
        self.assertEqual(sorted(self.content()), ["identity.pem", "lock"])


class ContactTests(DataDirTestCase):
    """Whom the node knew."""

    CONTACTS = (Contact(5, ("127.0.0.1", 8000)), Contact(2**256 - 1, ("2001:db8::1", 65535)))

    def test_kept(self):
        """Saved contacts are there after a restart; the last save counts; at first there are none."""
        opened = self.open()
        self.assertEqual(opened.load_contacts(), ())
        opened.save_contacts(self.CONTACTS[:1])
        opened.save_contacts(self.CONTACTS)
        self.assertEqual(self.reopen(opened).load_contacts(), self.CONTACTS)

    def test_limit(self):
        """However many are handed over, what is saved can be loaded."""
        opened = self.open()
        many = [Contact(n, ("2001:db8::1", 1 + n)) for n in range(MAX_SAVED_CONTACTS + 10)]
        opened.save_contacts(many)
        self.assertEqual(opened.load_contacts(), tuple(many[:MAX_SAVED_CONTACTS]))

    def test_damaged(self):
        """A damaged file is told from a whole one, wherever the damage is."""
        opened = self.open()
        opened.save_contacts(self.CONTACTS)
        file = self.path / "contacts"
        whole = file.read_bytes()
        damaged = [whole[:n] for n in range(len(whole))]
        damaged += [whole[:n] + bytes([whole[n] ^ 1]) + whole[n + 1 :] for n in range(len(whole))]
        for content in damaged:
            file.write_bytes(content)
            self.assertRaises(Malformed, opened.load_contacts)
