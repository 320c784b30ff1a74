import cbor2
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from dht14.errors import Malformed
from dht14.files.manifest import (
    FANOUT,
    MAGIC,
    MAX_LEVEL,
    MIN_PIECE_BYTES,
    PIECE_BYTES,
    VERSION,
    Manifest,
    capacity,
    decode_root,
    root_level,
)
from dht14.kademlia.parameters import MAX_VALUE

PAGE, PAGES = 4_096, 16
ENTRY_BYTES = 16 + 151
"""What a database adds to a value: the header of its first page, and the record around it."""


def root_of(size: int, piece_bytes: int = PIECE_BYTES) -> Manifest:
    level = root_level(size, piece_bytes)
    children = -(-size // capacity(level - 1, piece_bytes))
    return Manifest(level, piece_bytes, size, bytes(32 * children))


sizes = st.integers(0, 20 * PIECE_BYTES * FANOUT) | st.integers(0, capacity(MAX_LEVEL, MIN_PIECE_BYTES))
piece_sizes = st.integers(MIN_PIECE_BYTES, MAX_VALUE)


class ManifestTests(SynchronousTestCase):
    """A manifest says what it is, in one way only, and never contradicts itself."""

    @given(sizes, piece_sizes)
    def test_round_trip(self, size: int, piece_bytes: int) -> None:
        """Every size of a file has a root, which comes back as it was."""
        root = root_of(size, piece_bytes)
        self.assertEqual(decode_root(root.encode()), root)
        self.assertLessEqual(len(root.encode()), MAX_VALUE)

    @given(sizes, piece_sizes)
    def test_sums(self, size: int, piece_bytes: int) -> None:
        """The sizes of the children are those of the file; all are full but the last."""
        root = root_of(size, piece_bytes)
        parts = [root.size_of(number) for number in range(len(root))]
        self.assertEqual(sum(parts), size)
        self.assertEqual(
            set(parts[:-1]) | {capacity(root.level - 1, piece_bytes)},
            {*parts[:-1], capacity(root.level - 1, piece_bytes)},
        )
        self.assertTrue(all(parts))

    def test_bytes(self) -> None:
        """The bytes of a manifest, as another program must write them."""
        self.assertEqual(
            Manifest(0, PIECE_BYTES, 70_000, b"\x01" * 32 + b"\x02" * 32).encode().hex(),
            "86"
            + "6a"
            + b"dht14/file".hex()
            + "01"
            + "00"
            + "19ff00"
            + "1a00011170"
            + "5840"
            + "01" * 32
            + "02" * 32,
        )

    def test_a_full_manifest_and_a_piece_fill_their_pages(self) -> None:
        """Neither begins a page of the database for a few bytes."""
        full = root_of(PIECE_BYTES * FANOUT)
        self.assertEqual(len(full), FANOUT)
        for size in (PIECE_BYTES, len(full.encode())):
            self.assertLessEqual(size + ENTRY_BYTES, PAGES * PAGE)
            self.assertGreater(size + ENTRY_BYTES, (PAGES - 1) * PAGE + PAGE // 2)

    def refused(self, **changes: object) -> None:
        fields = {
            "magic": MAGIC,
            "version": VERSION,
            "level": 0,
            "piece": PIECE_BYTES,
            "size": 70_000,
            "keys": bytes(64),
        }
        decode_root(cbor2.dumps(list(fields.values())))
        self.assertRaises(Malformed, decode_root, cbor2.dumps(list((fields | changes).values())))

    def test_contradictions(self) -> None:
        """Fields of a wrong type, out of bounds, or that do not agree are refused."""
        for changes in (
            {"magic": "dht14/link"},
            {"magic": b"dht14/file"},
            {"version": 2},
            {"version": True},
            {"level": 1},
            {"level": -1},
            {"level": MAX_LEVEL + 1},
            {"level": False},
            {"piece": MIN_PIECE_BYTES - 1},
            {"piece": MAX_VALUE + 1},
            {"piece": 65_280.0},
            {"size": -1},
            {"size": PIECE_BYTES},
            {"size": 2 * PIECE_BYTES + 1},
            {"size": 1 << 70},
            {"keys": bytes(63)},
            {"keys": bytes(96)},
            {"keys": bytes(32)},
            {"keys": "0" * 64},
            {"keys": [bytes(32), bytes(32)]},
            {"more": 0},
        ):
            self.refused(**changes)

    def test_one_encoding(self) -> None:
        """Another encoding of the same fields, bytes left over, and a level that is not needed are refused: a
        file has one address."""
        good = root_of(70_000).encode()
        longer = good.replace(b"\x19\xff\x00", b"\x1a\x00\x00\xff\x00")
        high = Manifest(1, PIECE_BYTES, 70_000, bytes(32)).encode()
        for value in (
            longer,
            good + b"\x00",
            good[:-1],
            b"",
            b"\x9f" + good[1:] + b"\xff",
            high,
            b"\xc1" + good,
        ):
            self.assertRaises(Malformed, decode_root, value)

    @given(
        st.binary(max_size=200)
        | st.builds(lambda tail: root_of(9).encode()[:12] + tail, st.binary(max_size=80))
    )
    def test_noise(self, value: bytes) -> None:
        """Of any bytes come a manifest that is encoded as them, or `Malformed`."""
        try:
            root = decode_root(value)
        except Malformed:
            return
        self.assertEqual(root.encode(), value)

    def test_children(self) -> None:
        """A child must have the level, the piece size and the size that its place asks for."""
        size = PIECE_BYTES * FANOUT + 5
        root = root_of(size)
        self.assertEqual((root.level, len(root), root.pieces), (1, 2, FANOUT + 1))
        first, last = root_of(PIECE_BYTES * FANOUT), root_of(5)
        self.assertEqual(root.decode_child(0, first.encode()), first)
        self.assertEqual(root.decode_child(1, last.encode()), last)
        other_pieces = evolve(last, piece_bytes=PIECE_BYTES - 1)
        for number, wrong in ((0, last), (1, first), (1, other_pieces), (1, root_of(6)), (0, root)):
            self.assertRaises(Malformed, root.decode_child, number, wrong.encode())
