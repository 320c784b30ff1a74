import hashlib
import random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.keyspace import (
    ID_BITS,
    ID_SPACE,
    hash_id,
    id_from_bytes,
    id_to_bytes,
    random_id,
    random_id_sharing,
    shared_prefix,
)

ids = st.integers(0, ID_SPACE - 1)


class BytesTests(SynchronousTestCase):
    def test_bytes(self) -> None:
        """An id is 32 bytes, big-endian."""
        self.assertEqual(id_to_bytes(1), bytes(31) + b"\x01")
        self.assertEqual(id_from_bytes(b"\x80" + bytes(31)), 1 << 255)

    @settings(derandomize=True, deadline=None)
    @given(ids)
    def test_round_trip(self, node_id: int) -> None:
        """Every id comes back from its bytes, and bytes sort as ids do."""
        self.assertEqual(id_from_bytes(id_to_bytes(node_id)), node_id)
        self.assertEqual(id_to_bytes(node_id) < id_to_bytes(12345 << 200), node_id < 12345 << 200)

    def test_too_large(self) -> None:
        """What is no id has no bytes."""
        for number in (ID_SPACE, -1):
            self.assertRaises(OverflowError, id_to_bytes, number)

    def test_hash(self) -> None:
        """The id of data is its SHA-256."""
        self.assertEqual(id_to_bytes(hash_id(b"abc")), hashlib.sha256(b"abc").digest())


class MetricTests(SynchronousTestCase):
    """Section 2.1 of the paper; the distance of two ids is their XOR, written `a ^ b` everywhere."""

    @settings(derandomize=True, deadline=None)
    @given(ids, ids, ids)
    def test_laws(self, a: int, b: int, c: int) -> None:
        """XOR is a metric, unidirectional, and sharing one bit more is always nearer."""
        self.assertEqual(a ^ b == 0, a == b)
        self.assertEqual(a ^ b, b ^ a)
        self.assertLessEqual(a ^ c, (a ^ b) + (b ^ c))
        if b != c:
            self.assertNotEqual(a ^ b, a ^ c)
        if shared_prefix(a, b) > shared_prefix(a, c):
            self.assertLess(a ^ b, a ^ c)

    @settings(derandomize=True, deadline=None)
    @given(ids, ids)
    def test_shared_prefix(self, a: int, b: int) -> None:
        """The shared prefix is that of the bits as one reads them."""
        left, right = f"{a:0256b}", f"{b:0256b}"
        expected = next((n for n in range(ID_BITS) if left[n] != right[n]), ID_BITS)
        self.assertEqual(shared_prefix(a, b), expected)

    def test_ends(self) -> None:
        """The farthest two ids share nothing, an id shares everything with itself."""
        self.assertEqual(shared_prefix(0, ID_SPACE - 1), 0)
        self.assertEqual(shared_prefix(7, 7), ID_BITS)
        self.assertEqual(shared_prefix(6, 7), ID_BITS - 1)


class RandomIdTests(SynchronousTestCase):
    @settings(derandomize=True, deadline=None)
    @given(ids, st.integers(0, ID_BITS - 1), st.integers())
    def test_sharing(self, node_id: int, bits: int, seed: int) -> None:
        """The drawn id shares exactly the given number of bits."""
        drawn = random_id_sharing(node_id, bits, random.Random(seed))
        self.assertTrue(0 <= drawn < ID_SPACE)
        self.assertEqual(shared_prefix(node_id, drawn), bits)

    def test_seeded(self) -> None:
        """The same source draws the same ids, from both halves of the space, and from all of a range."""
        drawn = [random_id(random.Random(seed)) for seed in range(20)]
        self.assertEqual(drawn, [random_id(random.Random(seed)) for seed in range(20)])
        self.assertEqual({one >> 255 for one in drawn}, {0, 1})
        rng = random.Random(1)
        self.assertEqual({random_id_sharing(0, 253, rng) for _ in range(100)}, set(range(4, 8)))
