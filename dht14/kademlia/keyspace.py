"""The 256-bit space that node ids and keys share, and its XOR metric (paper, section 2.1).

Inside the node an id is an `int`: XOR and comparison of integers cost a twentieth of what they cost on
bytes. On the wire it is 32 bytes, big-endian.
"""

import hashlib
import random

ID_BITS = 256
ID_BYTES = ID_BITS // 8
ID_SPACE = 1 << ID_BITS


def id_from_bytes(raw: bytes) -> int:
    """Return the id that these 32 bytes encode."""
    return int.from_bytes(raw, "big")


def id_to_bytes(node_id: int) -> bytes:
    """Return the 32 bytes of an id."""
    return node_id.to_bytes(ID_BYTES, "big")


def hash_id(data: bytes) -> int:
    """Return SHA-256 of `data` as an id: the key of content, and of keys given as text."""
    return id_from_bytes(hashlib.sha256(data).digest())


def shared_prefix(a: int, b: int) -> int:
    """Return how many leading bits two ids have in common: 0 to 256."""
    return ID_BITS - (a ^ b).bit_length()


def random_id(rng: random.Random) -> int:
    """Return an id drawn from the whole space."""
    return rng.getrandbits(ID_BITS)


def random_id_sharing(prefix_of: int, bits: int, rng: random.Random) -> int:
    """Return an id that shares exactly `bits` (0 to 255) leading bits with `prefix_of`."""
    rest = ID_BITS - bits - 1
    flipped = (prefix_of >> rest) ^ 1
    return (flipped << rest) | (rng.getrandbits(rest) if rest else 0)
