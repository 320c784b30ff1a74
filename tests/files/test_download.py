import asyncio
from contextlib import aclosing

from twisted.trial.unittest import SynchronousTestCase

from dht14.files.address import encode_link
from dht14.files.content_store import (
    WINDOW,
    Hope,
    Missing,
    NoManifest,
    StoreTrouble,
    TransferFailed,
    ValueKind,
)
from dht14.files.download import FileTree, fetch, find_tree, list_keys, list_pieces
from dht14.files.manifest import FANOUT, MAX_LEVEL, MIN_PIECE_BYTES, PIECE_BYTES, Manifest
from dht14.files.tree import TreeBuilder
from dht14.files.upload import FileUpload
from tests.files.memory import LIFETIME, MemoryStore, one_by_one, pieces_of, sha256

OWNER_KEY = sha256(b"owner")


def stored(store: MemoryStore, pieces: list[bytes]) -> bytes:
    return asyncio.run(FileUpload(store, lambda _: None).run(one_by_one(pieces)))


def tree_of(store: MemoryStore, key: bytes) -> FileTree:
    return asyncio.run(find_tree(store, key))


async def collect(store: MemoryStore, root: Manifest, first: int = 0) -> list[bytes]:
    async with aclosing(fetch(store, root, first)) as pieces:
        return [piece async for piece in pieces]


class FindTests(SynchronousTestCase):
    """The root of a file is found under its own key, and under that of an owner's value."""

    def setUp(self) -> None:
        self.store = MemoryStore()
        self.key = stored(self.store, pieces_of(3))

    def test_root(self) -> None:
        """It says how large the file is and when it expires."""
        tree = tree_of(self.store, self.key)
        self.assertEqual((tree.key, tree.root.size, tree.expires_in), (self.key, 3 * PIECE_BYTES, LIFETIME))

    def test_owner(self) -> None:
        """An owner's value leads to it."""
        self.store.values[OWNER_KEY] = encode_link(self.key)
        self.store.kinds[OWNER_KEY] = ValueKind.OWNER
        self.assertEqual(tree_of(self.store, OWNER_KEY).key, self.key)

    def test_missing(self) -> None:
        """What an owner names and is not found after some tries is missing; under an address where there is
        nothing, nobody waits."""
        self.assertRaises(Missing, tree_of, self.store, sha256(b"nothing"))
        self.assertEqual(self.store.pauses, [])
        self.store.values[OWNER_KEY] = encode_link(sha256(b"nothing"))
        self.store.kinds[OWNER_KEY] = ValueKind.OWNER
        self.assertRaises(Missing, tree_of, self.store, OWNER_KEY)
        self.assertEqual(tuple(self.store.pauses), Hope.SMALL.value)

    def test_no_file(self) -> None:
        """A piece, an owner's other value and an open value are no files: they are not followed."""
        piece = sha256(pieces_of(3)[0])
        self.assertRaises(NoManifest, tree_of, self.store, piece)
        self.store.values[OWNER_KEY] = b"something else"
        self.store.kinds[OWNER_KEY] = ValueKind.OWNER
        self.assertRaises(NoManifest, tree_of, self.store, OWNER_KEY)
        self.store.values[OWNER_KEY] = encode_link(self.key)
        self.store.kinds[OWNER_KEY] = ValueKind.OPEN
        self.assertRaises(Missing, tree_of, self.store, OWNER_KEY)
        self.assertEqual(self.store.pauses, [])


class FetchTests(SynchronousTestCase):
    """The pieces of a file come in order, from any one on."""

    def test_pieces(self) -> None:
        """They are asked for ahead, within bounds, and come in order however long each takes."""
        store, pieces = MemoryStore(), pieces_of(100, 9)
        key = stored(store, pieces)
        root = tree_of(store, key).root
        store.delays[sha256(pieces[5])] = 30
        store.most_running = 0
        self.assertEqual(asyncio.run(collect(store, root)), pieces)
        self.assertEqual(store.most_running, WINDOW)
        self.assertEqual(asyncio.run(collect(store, root, 97)), pieces[97:])
        self.assertEqual(asyncio.run(collect(store, root, 100)), [])

    def test_trouble(self) -> None:
        """A piece that comes late delays; one that is lost ends the download, after all before it."""
        store, pieces = MemoryStore(), pieces_of(60)
        root = tree_of(store, stored(store, pieces)).root
        store.troubles[sha256(pieces[20])] = [Hope.GREAT, Hope.SMALL]
        self.assertEqual(len(asyncio.run(collect(store, root))), 60)
        del store.values[sha256(pieces[40])]
        got: list[bytes] = []

        async def run() -> None:
            async with aclosing(fetch(store, root)) as found:
                async for piece in found:
                    got.append(piece)

        failed = self.assertRaises(TransferFailed, asyncio.run, run())
        self.assertIsInstance(failed.__cause__, Missing)
        self.assertEqual(got, pieces[:40])

    def test_wrong_length(self) -> None:
        """A piece of another length than the manifest says is refused, though its hash is right."""
        store = MemoryStore()
        short = b"short"
        store.values[sha256(short)] = short
        root = Manifest(0, PIECE_BYTES, 2 * PIECE_BYTES, sha256(short) * 2)
        self.assertRaises(TransferFailed, asyncio.run, collect(store, root))

    def test_wrong_child(self) -> None:
        """So is a manifest that does not fit the one above it: a file of a few records cannot pretend to be
        endless."""
        store = MemoryStore()
        root = Manifest(1, PIECE_BYTES, 2 * PIECE_BYTES * FANOUT, OWNER_KEY * 2)
        store.values[OWNER_KEY] = root.encode()
        self.assertRaises(TransferFailed, asyncio.run, collect(store, root))

    def test_levels(self) -> None:
        """With manifests between root and pieces, each is fetched when it is needed; those before the first
        piece not at all."""
        store = MemoryStore()
        tree = TreeBuilder(MIN_PIECE_BYTES)
        count = 2 * FANOUT + 3
        keys = [sha256(number.to_bytes(4, "big")) for number in range(count)]
        manifests = [value for key in keys for value in tree.add(key, MIN_PIECE_BYTES)] + [*tree.finish()]
        store.values = {sha256(value): value for value in manifests}
        found = tree_of(store, sha256(manifests[-1]))

        async def pieces(first: int) -> list[tuple[int, bytes]]:
            return [(piece.number, piece.key) async for piece in list_pieces(store, found.root, first)]

        async def all_keys() -> list[bytes]:
            return [key async for key in list_keys(store, found.key, found.root)]

        for first in (0, 1, FANOUT - 1, FANOUT, FANOUT + 1, 2 * FANOUT, count - 1, count):
            store.finds.clear()
            self.assertEqual(asyncio.run(pieces(first)), [*enumerate(keys)][first:])
            self.assertEqual(len(store.finds), 3 - first // FANOUT if first < count else 1)
        listed = asyncio.run(all_keys())
        self.assertEqual(listed[0], found.key)
        self.assertEqual(set(listed), {*keys, *store.values})
        self.assertEqual(len(listed), count + len(store.values))

    def test_repeated(self) -> None:
        """A manifest that stands in many places is asked for once: an exabyte of equal parts has few keys."""
        store = MemoryStore()

        def put(value: bytes) -> bytes:
            store.values[sha256(value)] = value
            return sha256(value)

        key, size = put(bytes(PIECE_BYTES)), PIECE_BYTES
        keys = [key]
        for level in range(MAX_LEVEL + 1):
            size *= FANOUT
            root = Manifest(level, PIECE_BYTES, size, key * FANOUT)
            key = put(root.encode())
            keys.append(key)
        found = tree_of(store, key)
        self.assertEqual(found.root.size, PIECE_BYTES * FANOUT ** (MAX_LEVEL + 1))
        store.finds.clear()

        async def some_keys() -> list[bytes]:
            listed: list[bytes] = []
            async with aclosing(list_keys(store, found.key, found.root)) as below:
                async for one in below:
                    listed.append(one)
                    if len(listed) > 2 * FANOUT:
                        break
            return listed

        listed = asyncio.run(some_keys())
        self.assertEqual(len(listed), FANOUT + MAX_LEVEL + 1)
        self.assertEqual(set(listed), set(keys))
        self.assertEqual(len(store.finds), MAX_LEVEL)

    def test_repeated_elsewhere(self) -> None:
        """A manifest that is right in one place and wrong in another one is refused."""
        store = MemoryStore()
        child = Manifest(0, PIECE_BYTES, PIECE_BYTES * FANOUT, sha256(b"piece") * FANOUT).encode()
        full = sha256(child)
        store.values[full] = child
        root = Manifest(1, PIECE_BYTES, PIECE_BYTES * FANOUT + 1, full * 2)

        async def keys() -> list[bytes]:
            return [key async for key in list_keys(store, sha256(root.encode()), root)]

        self.assertRaises(StoreTrouble, asyncio.run, keys())
