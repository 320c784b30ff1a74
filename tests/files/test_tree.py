from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from dht14.files.manifest import FANOUT, MIN_PIECE_BYTES, Manifest, decode_root
from dht14.files.tree import TreeBuilder
from tests.files.memory import sha256

PIECE = MIN_PIECE_BYTES


def build(count: int, last: int) -> tuple[list[bytes], list[bytes]]:
    """Return the keys of `count` pieces, and the manifests above them."""
    tree = TreeBuilder(PIECE)
    keys = [sha256(number.to_bytes(4, "big")) for number in range(count)]
    manifests: list[bytes] = []
    for number, key in enumerate(keys):
        manifests += tree.add(key, last if number == count - 1 else PIECE)
    return keys, [*manifests, *tree.finish()]


class TreeTests(SynchronousTestCase):
    """The manifests of a file are those that a reader accepts, and lead to its pieces in order."""

    def leaves(self, manifest: Manifest, values: dict[bytes, bytes]) -> list[bytes]:
        keys = [manifest.key(number) for number in range(len(manifest))]
        if not manifest.level:
            return keys
        return [
            leaf
            for number, key in enumerate(keys)
            for leaf in self.leaves(manifest.decode_child(number, values[key]), values)
        ]

    def check(self, count: int, last: int) -> list[bytes]:
        keys, manifests = build(count, last)
        values = {sha256(value): value for value in manifests}
        root = decode_root(manifests[-1])
        self.assertEqual(root.size, max(count - 1, 0) * PIECE + last)
        self.assertEqual(self.leaves(root, values), keys)
        return manifests

    def test_edges(self) -> None:
        """Each number of pieces at which a manifest or a level begins has its tree, and no manifest more."""
        for count, manifests in (
            (0, 1),
            (1, 1),
            (FANOUT - 1, 1),
            (FANOUT, 1),
            (FANOUT + 1, 3),
            (2 * FANOUT, 3),
            (2 * FANOUT + 1, 4),
        ):
            self.assertEqual(len(self.check(count, PIECE if count else 0)), manifests)

    @given(st.integers(1, 3 * FANOUT), st.integers(1, PIECE))
    def test_any(self, count: int, last: int) -> None:
        """So has any other."""
        self.check(count, last)

    def test_three_levels(self) -> None:
        """A manifest of level 2 begins when level 1 is full."""
        tree = TreeBuilder(PIECE)
        manifests = [value for _ in range(FANOUT * FANOUT + 1) for value in tree.add(bytes(32), PIECE)]
        manifests += tree.finish()
        root = decode_root(manifests[-1])
        self.assertEqual((root.level, len(root)), (2, 2))
        self.assertEqual(len(manifests), FANOUT + 1 + 1 + 1 + 1)
