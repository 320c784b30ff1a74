import random
from hashlib import sha256

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from dht14.errors import Malformed
from dht14.kademlia.keyspace import id_to_bytes
from dht14.security.identity import PROOF_BYTES, Identity, Puzzle, public_bytes, public_key_in

PUZZLE = Puzzle("main", 2)
VECTOR = ("0000000000000075", "0000000000000014")
"""n1 and n2."""


def zero_bits(digest: bytes) -> int:
    """Leading zero bits of a digest, counted by hand."""
    bits = "".join(f"{byte:08b}" for byte in digest)
    return len(bits) - len(bits.lstrip("0"))


class PuzzleTests(SynchronousTestCase):
    """The cost of an id, and that no id is cheaper."""

    def test_formula(self) -> None:
        """Id, static and dynamic puzzle are the hashes of docs/protocol.md."""
        identity = Identity.made_up(PUZZLE, random.Random(1))
        public, n1, n2 = identity.proof[:32], identity.proof[32:40], identity.proof[40:]
        node_id = sha256(b"dht14/main/id" + public + n1).digest()
        self.assertEqual(id_to_bytes(identity.node_id), node_id)
        self.assertGreaterEqual(zero_bits(sha256(b"dht14/main/s" + node_id).digest()), 8)
        self.assertGreaterEqual(zero_bits(sha256(b"dht14/main/d" + node_id + n2).digest()), 8)

    def test_vector(self) -> None:
        """The proof of a known key never changes."""
        (proof,) = [proof for proof in Puzzle("main", 2).solve(bytes(range(32))) if proof]
        self.assertEqual(proof[:32], bytes(range(32)))
        self.assertEqual((proof[32:40].hex(), proof[40:].hex()), VECTOR)

    def test_least(self) -> None:
        """The search finds the smallest nonces, so that a lost proof is found again."""
        public = bytes(32)
        found = [list(Puzzle("main", 1).solve(public))[-1] for _ in range(2)]
        self.assertEqual(found[0], found[1])
        assert found[0] is not None
        n1 = int.from_bytes(found[0][32:40], "big")
        for lower in range(n1):
            node_id = sha256(b"dht14/main/id" + public + lower.to_bytes(8, "big")).digest()
            self.assertLess(zero_bits(sha256(b"dht14/main/s" + node_id).digest()), 4)

    @settings(derandomize=True, deadline=None, max_examples=300)
    @given(st.integers(0, PROOF_BYTES - 1), st.integers(1, 255))
    def test_changed(self, at: int, mask: int) -> None:
        """A proof with a changed byte proves another id or nothing, never the same id for another key."""
        identity = Identity.made_up(PUZZLE, random.Random(2))
        changed = bytearray(identity.proof)
        changed[at] ^= mask
        try:
            node_id = PUZZLE.verify_proof(bytes(changed))
        except Malformed:
            return
        self.assertEqual(node_id == identity.node_id, at >= 40)

    def test_lengths(self) -> None:
        """A proof is 48 bytes."""
        proof = Identity.made_up(Puzzle("main", 0), random.Random(3)).proof
        for other in (b"", proof[:-1], proof + b"\0"):
            self.assertRaises(Malformed, Puzzle("main", 0).verify_proof, other)

    def test_easier(self) -> None:
        """A proof passes easier puzzles of its network; harder puzzles and other networks refuse it."""
        proof = Identity.made_up(PUZZLE, random.Random(4)).proof
        self.assertEqual(Puzzle("main", 1).verify_proof(proof), PUZZLE.verify_proof(proof))
        self.assertRaises(Malformed, Puzzle("main", 8).verify_proof, proof)
        self.assertRaises(Malformed, Puzzle("other", 2).verify_proof, proof)

    def test_slices(self) -> None:
        """A long search pauses again and again."""
        search = Puzzle("main", 8).solve(bytes(32))
        self.assertEqual([next(search) for _ in range(3)], [None] * 3)

    def test_spread(self) -> None:
        """Ids are spread evenly, although nodes search for them."""
        rng = random.Random(5)
        high = sum(Identity.made_up(Puzzle("main", 1), rng).node_id >> 255 for _ in range(400))
        self.assertTrue(150 < high < 250, high)


class IdentityTests(SynchronousTestCase):
    def test_signature(self) -> None:
        """Signatures are made with the key in the proof."""
        identity = Identity.made_up(PUZZLE, random.Random(6))
        self.assertEqual(public_key_in(identity.proof), public_bytes(identity.private_key))
        identity.private_key.public_key().verify(identity.sign(b"label" + b"data"), b"labeldata")

    def test_secret(self) -> None:
        """No repr shows the key."""
        self.assertNotIn("rivate", repr(Identity.made_up(PUZZLE, random.Random(7))))
