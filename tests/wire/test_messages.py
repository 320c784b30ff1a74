import random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.keyspace import ID_SPACE, random_id
from dht14.wire.messages import FINGERPRINT_BITS, fingerprint

ids = st.integers(0, ID_SPACE - 1)


class FingerprintTests(SynchronousTestCase):
    @settings(derandomize=True, deadline=None)
    @given(st.sets(ids, min_size=1, max_size=20), st.randoms(use_true_random=False))
    def test_sets(self, node_ids: set[int], rng: random.Random) -> None:
        """The order does not matter, and it fits its field."""
        shuffled = list(node_ids)
        rng.shuffle(shuffled)
        self.assertEqual(fingerprint(shuffled), fingerprint(node_ids))
        self.assertLess(fingerprint(node_ids), 1 << FINGERPRINT_BITS)

    def test_differences(self) -> None:
        """One node more, less or other gives another fingerprint; no nodes give 0."""
        rng = random.Random(1)
        self.assertEqual(fingerprint([]), 0)
        for _ in range(100):
            nodes = [random_id(rng) for _ in range(8)]
            others = (nodes[1:], [*nodes, random_id(rng)], [random_id(rng), *nodes[1:]])
            for other in others:
                self.assertNotEqual(fingerprint(nodes), fingerprint(other))
