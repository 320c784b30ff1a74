import asyncio

from twisted.trial.unittest import SynchronousTestCase

from dht14.files.content_store import WINDOW, Hope, TransferFailed
from dht14.files.manifest import FANOUT, PIECE_BYTES, decode_root
from dht14.files.upload import FileUpload, UploadProgress
from dht14.kademlia.parameters import GROUP
from tests.files.memory import LIFETIME, MemoryStore, one_by_one, pieces_of, sha256


class UploadTests(SynchronousTestCase):
    """An upload stores every piece, then the root, and goes on with what an earlier one has stored."""

    def setUp(self) -> None:
        self.reports: list[UploadProgress] = []

    def put(self, store: MemoryStore, pieces: list[bytes]) -> bytes:
        self.upload = FileUpload(store, self.reports.append)
        return asyncio.run(self.upload.run(one_by_one(pieces)))

    def test_all_is_stored(self) -> None:
        """Each piece is stored under its hash, the root last; pieces go beside each other, within bounds."""
        store, pieces = MemoryStore(), pieces_of(100, 7)
        key = self.put(store, pieces)
        root = decode_root(store.values[key])
        self.assertEqual([root.key(number) for number in range(100)], [sha256(piece) for piece in pieces])
        self.assertEqual(root.size, 99 * PIECE_BYTES + 7)
        self.assertEqual(store.puts[-1], key)
        self.assertEqual(len(store.puts), 101)
        self.assertEqual(store.most_running, WINDOW)
        last = self.reports[-1]
        self.assertEqual((last.bytes_done, last.pieces_done, last.bytes_found), (root.size, 100, 0))
        self.assertEqual((last.copies, last.wanted, last.lifetime), (8, 8, LIFETIME))

    def test_empty(self) -> None:
        """A file without a byte has a root only."""
        store = MemoryStore()
        key = self.put(store, [])
        self.assertEqual(store.puts, [key])

    def test_levels(self) -> None:
        """The manifests below the root are stored before it, too."""
        store = MemoryStore()
        key = self.put(store, [bytes(PIECE_BYTES)] * (FANOUT + 1))
        root = decode_root(store.values[key])
        self.assertEqual(root.level, 1)
        self.assertLess({root.key(0), root.key(1)}, set(store.puts))
        self.assertEqual(store.puts.index(key), len(store.puts) - 1)

    def test_plan_first(self) -> None:
        """When one piece is stored it is known how many copies there are and how long they live."""
        store = MemoryStore()
        stored: list[int] = []
        upload = FileUpload(store, lambda _: stored.append(len(store.puts)))
        asyncio.run(upload.run(one_by_one(pieces_of(50))))
        self.assertEqual(stored[0], 1)

    def test_trouble_passes(self) -> None:
        """What is refused for a while delays, and loses nothing."""
        pieces = pieces_of(40)
        store = MemoryStore(troubles={sha256(pieces[n]): [Hope.GREAT, Hope.SMALL] for n in (0, 7, 39)})
        key = self.put(store, pieces)
        self.assertEqual(len(decode_root(store.values[key])), 40)
        self.assertEqual(len(store.pauses), 6)

    def test_trouble_stays(self) -> None:
        """It ends the upload without a root; what was stored before is counted."""
        pieces = pieces_of(200)
        store = MemoryStore(troubles={sha256(pieces[120]): [Hope.SMALL] * 9})
        self.assertRaises(TransferFailed, self.put, store, pieces)
        self.assertEqual(self.reports[-1].pieces_done, 120)
        self.assertLess(len(store.puts), 120 + WINDOW + 1)

    def test_goes_on(self) -> None:
        """A second try stores what is missing, and again what may not have been confirmed the first time;
        but not what was stored long before."""
        pieces = pieces_of(200)
        keys = [sha256(piece) for piece in pieces]
        store = MemoryStore(troubles={keys[120]: [Hope.NONE, Hope.NONE]})
        self.assertRaises(TransferFailed, self.put, store, pieces)
        unconfirmed = set(store.values) - set(keys[:120])
        self.assertTrue(unconfirmed)
        store.troubles.clear()
        store.puts.clear()
        key = self.put(store, pieces)
        self.assertEqual(len(decode_root(store.values[key])), 200)
        self.assertLessEqual({*keys[120:], *unconfirmed}, set(store.puts))
        self.assertEqual(set(store.puts) & set(keys[1 : 119 - WINDOW]), set())
        self.assertGreater(self.reports[-1].bytes_found, 100 * PIECE_BYTES)

    def test_all_is_there(self) -> None:
        """Where all is stored already, the last pieces and the root are stored again: the root may have been
        missing."""
        store, pieces = MemoryStore(), pieces_of(100)
        key = self.put(store, pieces)
        store.puts.clear()
        self.assertEqual(self.put(store, pieces), key)
        self.assertLessEqual(len(store.puts), 2 + WINDOW)
        self.assertEqual(store.puts[-1], key)
        self.assertEqual(set(store.puts[1:-1]), {sha256(piece) for piece in pieces[-WINDOW:]})

    def test_more_copies(self) -> None:
        """Where more copies are asked for than all pieces have, those that are there are stored again."""
        store, pieces = MemoryStore(), pieces_of(100)
        self.put(store, pieces)
        store.puts.clear()
        asyncio.run(FileUpload(store, lambda _: None, GROUP + 1).run(one_by_one(pieces)))
        self.assertLessEqual(set(map(sha256, pieces)), set(store.puts))

    def test_lapsing_pieces(self) -> None:
        """A piece that expires before the others is stored again."""
        pieces = pieces_of(60)
        keys = [sha256(piece) for piece in pieces]
        store = MemoryStore()
        self.put(store, pieces)
        store.puts.clear()
        store.expires_in = dict.fromkeys(keys[1:], int(LIFETIME * 0.8))
        self.put(store, pieces)
        self.assertLessEqual(set(keys), set(store.puts))

    def test_lifetime(self) -> None:
        """A file lives as long as its root, if its first piece, which another file may have, lives longer."""
        store, pieces = MemoryStore(), pieces_of(3)
        root = self.put(MemoryStore(), pieces)
        store.expires_in[root] = 60
        self.put(store, pieces)
        self.assertEqual(self.upload.progress.lifetime, 60)

    def test_found_copies(self) -> None:
        """On how many nodes a piece is that was found and not stored again is not known."""
        store = MemoryStore()
        for count, copies in ((WINDOW + 1, 8), (WINDOW + 2, None)):
            self.put(store, pieces_of(count))
            self.put(store, pieces_of(count))
            self.assertEqual(self.upload.progress.copies, copies)

    def test_fewest_copies(self) -> None:
        """The piece with the fewest copies counts."""
        pieces = pieces_of(10)
        store = MemoryStore(copies={sha256(pieces[3]): 5})
        self.put(store, pieces)
        self.assertEqual(self.reports[-1].copies, 5)
