import tracemalloc

from attrs import evolve
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from twisted.trial.unittest import SynchronousTestCase

from dht14.errors import Malformed
from dht14.kademlia.keyspace import id_to_bytes
from dht14.records.envelope import MAX_SALT, MAX_SEQ, decode
from dht14.records.signing import (
    load_key,
    new_key,
    public_key_of,
    sign_envelope,
    verify_envelope,
    verify_signature,
)
from tests.owners import Owner

KEY = Owner(1).private_key


class VectorTests(SynchronousTestCase):
    """The example of docs/protocol.md: the private key is 32 times 01."""

    def test_value(self) -> None:
        """Key and bytes are those of any implementation."""
        one = sign_envelope(KEY, 2, b"hello", salt=b"blog", cas=1)
        self.assertEqual(one.public_key.hex(), VECTOR_PUBLIC_KEY)
        self.assertEqual(id_to_bytes(one.key).hex(), VECTOR_KEY)
        self.assertEqual(one.encode().hex(), VECTOR_ENVELOPE)
        self.assertEqual(verify_envelope(bytes.fromhex(VECTOR_ENVELOPE)), one)

    def test_tombstone(self) -> None:
        """The same holds for a tombstone."""
        one = sign_envelope(KEY, 3, b"", salt=b"blog")
        self.assertEqual(one.signature.hex(), VECTOR_TOMBSTONE_SIGNATURE)
        self.assertTrue(verify_envelope(one.encode()).deleted)


VECTOR_PUBLIC_KEY = "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c"
VECTOR_KEY = "7325c460f1eb88d6664189939ee6a47301f7b50e66fd7a5adec13367db823423"
VECTOR_ENVELOPE = (
    "44485431344f574e01020000000000000002000000000000000104626c6f678a88e3dd7409f195fd52db2d3cba5d72ca"
    "6709bf1d94121bf3748801b40f6f5cfab2e839d1849884bd443d1d0aa95f286200bcf238ca8561bfeaac5a987f2de340"
    "9faf7fff67b382dbc39a5f7e3c6d922b48df4419bb23b4141c069425432e0a68656c6c6f"
)
VECTOR_TOMBSTONE_SIGNATURE = (
    "8f0481dd804afe1610a295d4c5eba352ea95a3b61cc39b548098718bb40a0c6463e740a1fb2ab2248b430300e036d720"
    "46b33841305cba167292cab346194d00"
)


class SignatureTests(SynchronousTestCase):
    def assert_malformed(self, raw: bytes) -> None:
        self.assertRaises(Malformed, verify_envelope, raw)

    def test_every_byte_counts(self) -> None:
        """An envelope with any byte changed is refused, and so is one with a byte more or less at its end."""
        raw = sign_envelope(KEY, 5, b"payload", salt=b"salt", cas=4).encode()
        verify_envelope(raw)
        for at in range(len(raw)):
            self.assert_malformed(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
        self.assert_malformed(raw[:-1])
        self.assert_malformed(raw + b"\0")

    def test_salt_is_not_key(self) -> None:
        """No byte can move from the salt to its neighbours without being detected."""
        one = sign_envelope(KEY, 5, b"payload", salt=b"salt")
        self.assert_malformed(evolve(one, salt=b"sal").encode())
        self.assert_malformed(evolve(one, salt=b"", payload=b"saltpayload").encode())

    def test_of_another(self) -> None:
        """The signature of another key is refused."""
        one, other = sign_envelope(KEY, 5, b"x"), sign_envelope(Owner(2).private_key, 5, b"x")
        self.assert_malformed(evolve(one, signature=other.signature).encode())

    def test_no_point(self) -> None:
        """A public key that is no point of the curve is refused like any other."""
        self.assert_malformed(evolve(sign_envelope(KEY, 5, b"x"), public_key=b"\xff" * 32).encode())

    def test_verified_again(self) -> None:
        """A verified envelope is not verified again; failures are not cached."""
        verify_signature.cache_clear()
        raw = sign_envelope(KEY, 6, b"x").encode()
        for _ in range(3):
            verify_envelope(raw)
            self.assert_malformed(raw + b"\0")
        remembered = verify_signature.cache_info()
        self.assertEqual((remembered.hits, remembered.currsize), (2, 1))

    def test_remembered_small(self) -> None:
        """The cache entry of an envelope is small, however large its payload is."""
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        before, _ = tracemalloc.get_traced_memory()
        for seq in range(1, 101):
            verify_envelope(sign_envelope(KEY, seq, bytes(60_000)).encode())
        after, _ = tracemalloc.get_traced_memory()
        self.assertLess(after - before, 100 * 2_000)

    def test_ours_is_checked(self) -> None:
        """Nothing is signed that other nodes would refuse."""
        for seq, parts in (
            (0, {}),
            (MAX_SEQ + 1, {}),
            (3, {"cas": 3}),
            (3, {"cas": -1}),
            (3, {"salt": bytes(MAX_SALT + 1)}),
        ):
            self.assertRaises(ValueError, sign_envelope, KEY, seq, b"x", **parts)
        self.assertEqual(decode(sign_envelope(KEY, 3, b"x").encode()).seq, 3)


class KeysTests(SynchronousTestCase):
    def test_new(self) -> None:
        """A new key is PKCS8 PEM, and different each time."""
        one, other = new_key(), new_key()
        self.assertTrue(one.startswith(b"-----BEGIN PRIVATE KEY-----"))
        self.assertNotEqual(public_key_of(load_key(one)), public_key_of(load_key(other)))

    def test_no_key(self) -> None:
        """A file without a private key of ours is refused, and the text has nothing of its content."""
        secret = BestAvailableEncryption(b"passphrase")
        for pem in (
            b"",
            b"-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----\n",
            KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, secret),
            generate_private_key(SECP256R1()).private_bytes(
                Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
            ),
        ):
            with self.assertRaises(Malformed) as caught:
                load_key(pem)
            self.assertNotIn("secret", str(caught.exception))
