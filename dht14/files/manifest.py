"""The manifest of a file: which pieces it has, as a tree of content records.

A file is cut into pieces of `piece_bytes`; only the last one may be shorter. The key of a piece is its
SHA-256. A manifest of level 0 has the keys of up to `FANOUT` pieces, one of level n those of up to `FANOUT`
manifests of level n - 1, all full but the last. The root has the lowest level that is enough. So a file and a
piece size have one tree, and one address: the SHA-256 of the root.

A manifest is the CBOR array `["dht14/file", 1, level, piece_bytes, size, keys]` in its shortest form. `size`
is the number of bytes of the file below it, and `keys` is one string of 32 bytes for each child.
"""

import cbor2
from attrs import frozen
from cbor2 import CBORDecodeError

from dht14.errors import Malformed
from dht14.kademlia.keyspace import ID_BYTES
from dht14.kademlia.parameters import MAX_VALUE

MAGIC = "dht14/file"
VERSION = 1

PIECE_BYTES = 65_280
"""Bytes of a piece. A put costs the nodes nearly the same for 1 KB and for 64 KB, so a piece is as large as a
value may be, but for what would begin a 17th page of a database."""

MIN_PIECE_BYTES = 1_024
"""A manifest with smaller pieces is refused: it would make readers ask for very many."""

FANOUT = 2_040
"""Children of a manifest, at most: as many as fit a record of the size of a piece."""

MAX_LEVEL = 3
"""Of a root. With the pieces above one of level 0 is enough for 133 MB, of level 1 for 271 GB."""

MAX_SIZE = (1 << 63) - 1
"""Bytes of a file."""

_FIELDS = 6


@frozen
class Manifest:
    """One node of the tree. Its fields agree with each other."""

    level: int
    piece_bytes: int
    size: int
    """Bytes of the file below it."""
    keys: bytes
    """Those of its children, one behind the other."""

    def __len__(self) -> int:
        """The number of its children."""
        return len(self.keys) // ID_BYTES

    def key(self, number: int) -> bytes:
        """Return the key of a child."""
        return self.keys[number * ID_BYTES : (number + 1) * ID_BYTES]

    def size_of(self, number: int) -> int:
        """Return the bytes of the file below a child."""
        full = capacity(self.level - 1, self.piece_bytes)
        return min(full, self.size - number * full)

    @property
    def pieces(self) -> int:
        """The number of pieces below it."""
        return -(-self.size // self.piece_bytes)

    def encode(self) -> bytes:
        """Return its bytes: at most `MAX_VALUE`."""
        return cbor2.dumps([MAGIC, VERSION, self.level, self.piece_bytes, self.size, self.keys])

    def decode_child(self, number: int, value: bytes) -> "Manifest":
        """Return the manifest that is a child of this one. Raises `Malformed` if its fields are not those
        that this one asks for."""
        child = decode_any(value)
        wanted = (self.level - 1, self.piece_bytes, self.size_of(number))
        if (child.level, child.piece_bytes, child.size) != wanted:
            raise Malformed("a manifest that does not fit the one above it")
        return child


def capacity(level: int, piece_bytes: int) -> int:
    """Return the bytes below a full manifest of this level; level -1 is a piece."""
    return piece_bytes * int(FANOUT ** (level + 1))


def root_level(size: int, piece_bytes: int) -> int:
    """Return the level of the root of a file."""
    return next(level for level in range(64) if size <= capacity(level, piece_bytes))


def decode_root(value: bytes) -> Manifest:
    """Return the manifest of a whole file. Raises `Malformed` for all bytes but the one encoding of it."""
    root = decode_any(value)
    if root.level != root_level(root.size, root.piece_bytes):
        raise Malformed("a manifest of a higher level than the file needs")
    return root


def decode_any(value: bytes) -> Manifest:
    """Return the manifest that a value is: of a file, or of a part of one. Raises `Malformed`."""
    if len(value) > MAX_VALUE:
        raise Malformed("a manifest that is too long")
    try:
        # Depth 1 leaves room for the array itself alone: neither containers nor tags inside.
        items = cbor2.loads(value, max_depth=1, allow_indefinite=False)
    except CBORDecodeError as error:
        raise Malformed("not CBOR as a manifest is") from error
    if type(items) is not list or len(items) != _FIELDS or type(items[0]) is not str:
        raise Malformed("not a manifest")
    if items[0] != MAGIC:
        raise Malformed("not a manifest")
    if type(items[1]) is not int or items[1] != VERSION:
        raise Malformed("a manifest of a version that this program does not know")
    _, _, level, piece_bytes, size, keys = items
    _check(level, piece_bytes, size, keys)
    manifest = Manifest(level, piece_bytes, size, keys)
    if manifest.encode() != value:
        raise Malformed("a manifest that is not in its shortest form")
    return manifest


def _check(level: object, piece_bytes: object, size: object, keys: object) -> None:
    """Raise `Malformed` unless the fields are possible and agree."""
    if type(level) is not int or not 0 <= level <= MAX_LEVEL:
        raise Malformed("the level of a manifest is out of bounds")
    if type(piece_bytes) is not int or not MIN_PIECE_BYTES <= piece_bytes <= MAX_VALUE:
        raise Malformed("the piece size of a manifest is out of bounds")
    if type(size) is not int or not 0 <= size <= min(MAX_SIZE, capacity(level, piece_bytes)):
        raise Malformed("the size of a file is out of bounds")
    children = -(-size // capacity(level - 1, piece_bytes))
    if type(keys) is not bytes or len(keys) != children * ID_BYTES:
        raise Malformed("a manifest has other keys than the size of its file asks for")
