"""The identity of a node: a key pair, and an id that costs proof of work (docs/protocol.md, section 2.0.1).

A proof is 48 bytes: `public key 32 | n1 u64 | n2 u64`. With T = "dht14/" and the name of the network, and
H = SHA-256: the node id is `H(T "/id" | public key | n1)`. The static puzzle is solved when
`H(T "/s" | node id)` begins with 4·difficulty zero bits, the dynamic one when `H(T "/d" | node id | n2)` does
(S/Kademlia, Baumgart and Mies 2007, section 4.1). Both look at a second hash, so that ids stay evenly spread.
n1 and n2 are the smallest solutions: a node that lost its proof finds the same one again.
"""

import random
from collections.abc import Callable, Generator, Iterator
from functools import lru_cache
from hashlib import sha256

from attrs import field, frozen
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from dht14.errors import Malformed
from dht14.kademlia.keyspace import ID_BITS, id_from_bytes

PUBLIC_KEY_BYTES = 32
PROOF_BYTES = 48
SIGNATURE_BYTES = 64
BITS_PER_DIGIT = 4
SLICE = 2_048
"""Tries between two pauses of a search: a few milliseconds."""

VerifyProof = Callable[[bytes], int]
"""From a proof to its node id; raises Malformed unless the proof solves both puzzles
(`Puzzle.verify_proof`)."""

_NONCE = 8
_KNOWN_PROOFS = 16_384


def public_key_in(proof: bytes) -> bytes:
    """Return the raw Ed25519 public key in a proof."""
    return proof[:PUBLIC_KEY_BYTES]


@frozen(eq=False)
class Puzzle:
    """The proof of work of one network. `difficulty` counts leading zero hex digits."""

    network: str
    difficulty: int
    _tag: bytes = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_tag", b"dht14/" + self.network.encode("ascii"))

    @property
    def tries(self) -> int:
        """The mean number of tries for each of the two puzzles."""
        return 1 << BITS_PER_DIGIT * self.difficulty

    def node_id_of(self, proof: bytes) -> int:
        """Return the id that a proof names, whether it solves the puzzles or not."""
        return id_from_bytes(sha256(self._tag + b"/id" + proof[: PUBLIC_KEY_BYTES + _NONCE]).digest())

    def verify_proof(self, proof: bytes) -> int:
        """Return the node id of a proof (cached). Raises Malformed unless it solves both puzzles."""
        return _verified(self._tag, self.difficulty, proof)

    def solve(self, public_key: bytes) -> Iterator[bytes | None]:
        """Search for the proof of a public key: yield None after each `SLICE` of tries, at last the proof."""
        n1 = yield from self._search(self._tag + b"/id" + public_key, self._is_id)
        node_id = sha256(self._tag + b"/id" + public_key + n1).digest()
        n2 = yield from self._search(self._tag + b"/d" + node_id, self._is_solved)
        yield public_key + n1 + n2

    def _search(self, head: bytes, solves: Callable[[bytes], bool]) -> Generator[None, None, bytes]:
        n = 0
        while not solves(sha256(head + (nonce := n.to_bytes(_NONCE, "big"))).digest()):
            n += 1
            if n % SLICE == 0:
                yield
        return nonce

    def _is_id(self, digest: bytes) -> bool:
        return self._is_solved(sha256(self._tag + b"/s" + digest).digest())

    def _is_solved(self, digest: bytes) -> bool:
        return not id_from_bytes(digest) >> ID_BITS - BITS_PER_DIGIT * self.difficulty


@lru_cache(maxsize=_KNOWN_PROOFS)
def _verified(tag: bytes, difficulty: int, proof: bytes) -> int:
    if len(proof) != PROOF_BYTES:
        raise Malformed("a proof of work of another length")
    node_id = sha256(tag + b"/id" + proof[:-_NONCE]).digest()
    static = sha256(tag + b"/s" + node_id).digest()
    dynamic = sha256(tag + b"/d" + node_id + proof[-_NONCE:]).digest()
    if (id_from_bytes(static) | id_from_bytes(dynamic)) >> ID_BITS - BITS_PER_DIGIT * difficulty:
        raise Malformed("a proof of work that proves nothing")
    return id_from_bytes(node_id)


@frozen
class Identity:
    """The private key, the proof and the id of this node."""

    private_key: Ed25519PrivateKey = field(repr=False, eq=False)
    proof: bytes
    node_id: int

    def sign(self, data: bytes) -> bytes:
        """Return the Ed25519 signature, 64 bytes. `data` must begin with a label of its purpose."""
        return self.private_key.sign(data)

    @classmethod
    def made_up(cls, puzzle: Puzzle, rng: random.Random) -> "Identity":
        """Draw a key pair from `rng` and solve its puzzles at once: for simulations and tests."""
        private_key = Ed25519PrivateKey.from_private_bytes(rng.randbytes(32))
        proof = next(proof for proof in puzzle.solve(public_bytes(private_key)) if proof is not None)
        return cls(private_key, proof, puzzle.node_id_of(proof))


def public_bytes(private_key: Ed25519PrivateKey) -> bytes:
    """Return the raw public key, 32 bytes."""
    return private_key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
