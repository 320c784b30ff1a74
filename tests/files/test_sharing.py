import hashlib

from twisted.trial.unittest import SynchronousTestCase

from dht14.files.address import encode_link
from dht14.files.manifest import FANOUT, MIN_PIECE_BYTES, PIECE_BYTES, Manifest
from dht14.files.sharing import keys_named, may_be_manifest
from dht14.kademlia.keyspace import ID_BYTES


def digest(value: bytes) -> bytes:
    return hashlib.sha256(value).digest()


class FoundTests(SynchronousTestCase):
    """Which values may be manifests is known by their sizes."""

    def test_sizes(self) -> None:
        """All manifests may be some, and no whole piece."""
        for children in (0, 1, 2, 7, 8, 2_039, FANOUT):
            for piece_bytes in (MIN_PIECE_BYTES, PIECE_BYTES):
                manifest = Manifest(0, piece_bytes, children * piece_bytes, bytes(children * ID_BYTES))
                self.assertTrue(may_be_manifest(len(manifest.encode())))
        largest = Manifest(3, PIECE_BYTES, (1 << 63) - 1, bytes(FANOUT * ID_BYTES))
        self.assertTrue(may_be_manifest(len(largest.encode())))
        self.assertFalse(may_be_manifest(PIECE_BYTES))


class NamedTests(SynchronousTestCase):
    """What a record names is known from it alone."""

    def test_named(self) -> None:
        """A manifest names its children, a link the root of a file; other values, and a link that no owner
        has signed, name nothing."""
        keys = [digest(b"one"), digest(b"two")]
        manifest = Manifest(0, PIECE_BYTES, 2 * PIECE_BYTES, b"".join(keys)).encode()
        self.assertEqual(keys_named(manifest, is_link=False), keys)
        self.assertEqual(keys_named(encode_link(keys[0]), is_link=True), keys[:1])
        for value, is_link in (
            (manifest, True),
            (encode_link(keys[0]), False),
            (b"hello", False),
            (b"", True),
        ):
            self.assertEqual(keys_named(value, is_link), [])
