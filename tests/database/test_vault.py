import os

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from dht14.database.vault import NONCE_BYTES, Vault
from dht14.errors import Malformed

KEY, SALT, ID = b"k" * 32, b"s" * 32, b"i" * 16


def vault(key: bytes = KEY, salt: bytes = SALT, database_id: bytes = ID) -> Vault:
    return Vault.unlock(key, salt, database_id, os.urandom)


OTHERS = (vault(key=b"K" * 32), vault(salt=b"S" * 32), vault(database_id=b"I" * 16))


class SealTests(SynchronousTestCase):
    @settings(derandomize=True, deadline=None)
    @given(st.binary(max_size=2000), st.binary(max_size=50))
    def test_opens(self, plain: bytes, slot: bytes) -> None:
        """Sealed bytes open with the same associated data, key, salt and database, after a restart, too."""
        self.assertEqual(vault().open(vault().seal(plain, slot), slot), plain)

    def test_bound(self) -> None:
        """They do not open with other associated data, or under another key, salt or database."""
        sealed = vault().seal(b"value", b"here")
        self.assertRaises(Malformed, vault().open, sealed, b"there")
        for other in OTHERS:
            self.assertRaises(Malformed, other.open, sealed, b"here")

    def test_damaged(self) -> None:
        """A changed bit or a missing byte is always detected."""
        sealed = vault().seal(b"value", b"")
        for n in range(len(sealed)):
            self.assertRaises(Malformed, vault().open, sealed[:n], b"")
            for bit in range(8):
                changed = sealed[:n] + bytes([sealed[n] ^ 1 << bit]) + sealed[n + 1 :]
                self.assertRaises(Malformed, vault().open, changed, b"")

    def test_same_nonce(self) -> None:
        """With a repeated nonce two values differ from their first byte on; those of a stream cipher would
        not."""
        stuck = Vault.unlock(KEY, SALT, ID, bytes)
        one, other = (stuck.seal(b"the same beginning, then " + end, b"") for end in (b"one", b"two"))
        self.assertEqual(one[:NONCE_BYTES], other[:NONCE_BYTES])
        self.assertNotEqual(one[NONCE_BYTES : NONCE_BYTES + 8], other[NONCE_BYTES : NONCE_BYTES + 8])

    def test_vector(self) -> None:
        """The bytes are those of an earlier version, so that its databases open."""
        sealed = Vault.unlock(KEY, SALT, ID, bytes).seal(b"value", b"place")
        self.assertEqual(sealed.hex(), "000000000000000000000000acc080a0069cb2830000eadc34cf167fc65beb5f7b")
        self.assertEqual(
            vault().key_check.hex(), "dd4acd253f3eae6d2dafc30db64a218d489da4c36fd0e18cef9c64a92ee340ca"
        )
        self.assertEqual(vault().hide(b"key", 14).hex(), "e1653a5d24400574ffdd056790de")


class KeyTests(SynchronousTestCase):
    def test_fits(self) -> None:
        """The key check fits the same key, salt and database, and no other."""
        self.assertTrue(vault().fits(vault().key_check))
        for other in OTHERS:
            self.assertFalse(other.fits(vault().key_check))

    def test_hide(self) -> None:
        """Keys are hidden in the same way each time, and differently under another key, salt or database."""
        self.assertEqual(vault().hide(b"key", 14), vault().hide(b"key", 14))
        hidden = {each.hide(b"key", 14) for each in (vault(), *OTHERS)}
        self.assertEqual((len(hidden), {len(each) for each in hidden}), (4, {14}))

    def test_shows_nothing(self) -> None:
        """No repr shows a key, the key check or the key of the index."""
        shown = repr(vault())
        for secret in (KEY, vault().key_check, vault()._index_key):
            self.assertNotIn(repr(secret)[2:-1], shown)
            self.assertNotIn(secret.hex(), shown)
