import hashlib
import random

from twisted.trial.unittest import SynchronousTestCase

from dht14.files.manifest import FANOUT, MIN_PIECE_BYTES, PIECE_BYTES, Manifest
from dht14.files.sharing import may_be_manifest, shared_keys
from dht14.files.tree import TreeBuilder
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


class SharedTests(SynchronousTestCase):
    """Files of several manifests, all of them kept, of which one is to go."""

    def setUp(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self.asked: list[bytes] = []

    def file(self, pieces: list[bytes]) -> dict[bytes, None]:
        """Keep a file of these pieces, by their keys; its keys, the root last."""
        builder = TreeBuilder(MIN_PIECE_BYTES)
        manifests = [value for key in pieces for value in builder.add(key, MIN_PIECE_BYTES)]
        manifests += builder.finish()
        self.values |= {digest(value): value for value in manifests}
        return dict.fromkeys([*pieces, *map(digest, manifests)])

    def value(self, key: bytes) -> bytes:
        self.asked.append(key)
        return self.values[key]

    def shared(self, leaving: dict[bytes, None]) -> set[bytes]:
        return shared_keys(leaving, self.values, self.value)

    def test_shared(self) -> None:
        """A manifest that both files have stays, and all that is below it; so do pieces that they share."""
        rng = random.Random(5)
        common, last = [rng.randbytes(32) for _ in range(FANOUT)], rng.randbytes(32)
        one = self.file([*common, rng.randbytes(32), last])
        other = self.file([*common, last])
        shared = self.shared(one)
        self.assertEqual(shared, set(one) & set(other))
        self.assertEqual(
            len(shared), FANOUT + 2, "the pieces, the full manifest above most, and the last piece"
        )
        self.assertEqual(len(self.asked), len(set(self.asked)), "each once")

    def test_part(self) -> None:
        """A file that is a part of another one stays as a whole."""
        rng = random.Random(6)
        common = [rng.randbytes(32) for _ in range(FANOUT)]
        part = self.file(common)
        self.file([*common, rng.randbytes(32)])
        self.assertEqual(self.shared(part), set(part))

    def test_alone(self) -> None:
        """A file that shares nothing goes as a whole; values that are no manifests name nothing."""
        rng = random.Random(7)
        one = self.file([rng.randbytes(32) for _ in range(3)])
        self.file([rng.randbytes(32)])
        self.values[bytes(32)] = b"no manifest"
        self.assertEqual(self.shared(one), set())
