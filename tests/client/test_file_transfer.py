import io
import os
import threading
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

import dht14
import dht14.aio
from dht14.client.errors import FileFailed, NoNode, NotAFile, Refused, TooLarge
from dht14.client.file_store import ClientStore
from dht14.client.keys import content_key
from dht14.client.part_file import SUFFIX
from dht14.files.manifest import PIECE_BYTES
from dht14.kademlia.keyspace import id_to_bytes
from dht14.records.receipt import PutOutcome, PutReason, Receipt
from dht14.wire.api_messages import ApiRequest, GetRecord, Put, encode_receipt
from tests.client.both import AsyncioCalls, BothClients
from tests.client.fake_node import Conversation, FakeNode
from tests.owners import Owner

PIECES = 70
CONTENT = b"".join(number.to_bytes(8, "big") * (PIECE_BYTES // 8) for number in range(1, PIECES + 1)) + b"end"


def piece(number: int) -> bytes:
    return content_key(CONTENT[number * PIECE_BYTES : (number + 1) * PIECE_BYTES])


async def no_sleep(store: ClientStore, seconds: float) -> None:
    """Do not wait for a node that answers at once."""


class FileCases(BothClients):
    """What both clients do with files."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.source, self.target = self.folder / "source", self.folder / "target"
        self.source.write_bytes(CONTENT)
        self.part = Path(f"{self.target}{SUFFIX}")
        self.patch(ClientStore, "sleep", no_sleep)

    def store(self, node: FakeNode) -> dht14.StoredFile:
        stored = self.connect(node).put_file(self.source)
        assert isinstance(stored, dht14.StoredFile)
        return stored

    def test_put_and_get(self) -> None:
        """A file comes back as it was. The calls say what there is, and how far they are."""
        node = self.node()
        reports: list[dht14.FileProgress] = []
        client = self.connect(node)
        stored = client.put_file(str(self.source), ttl=600, replication=3, progress=reports.append)
        self.assertEqual(stored.address, f"dht14:{stored.key.hex()}")
        self.assertEqual((stored.size, stored.pieces, stored.copies), (len(CONTENT), PIECES + 1, 8))
        self.assertEqual(
            {(put.ttl, put.replication) for put in node.requests if isinstance(put, Put)}, {(600, 3)}
        )
        self.assertEqual((reports[-1].bytes_done, reports[-1].bytes_total), (len(CONTENT), len(CONTENT)))
        fetched = client.get_file(stored.address, self.target, progress=reports.append)
        self.assertEqual((fetched.size, fetched.pieces, fetched.bytes_found), (len(CONTENT), PIECES + 1, 0))
        self.assertEqual(self.target.read_bytes(), CONTENT)
        self.assertFalse(self.part.exists())

    def test_more_copies(self) -> None:
        """All pieces are stored again where more copies are wanted than the five that each one has."""
        node = self.node()
        self.store(node)
        for replication, is_again in ((5, False), (6, True)):
            node.requests.clear()
            self.connect(node).put_file(self.source, replication=replication)
            puts = {put.key for put in node.requests if isinstance(put, Put)}
            self.assertEqual(piece(1) in puts, is_again)

    def test_open_files(self) -> None:
        """An open file is read from where it stands to its end, and written in order."""
        client = self.connect(self.node())
        source, target = io.BytesIO(b"skipped" + CONTENT), io.BytesIO()
        source.seek(7)
        stored = client.put_file(source)
        client.get_file(stored.address, target)
        self.assertEqual(target.getvalue(), CONTENT)

    def test_wrong_types(self) -> None:
        """A file that is open as text is refused before anything is stored; and an address is a text."""
        node = self.node()
        client = self.connect(node)
        for call in (lambda: client.put_file(io.StringIO("text")), lambda: self.fetch_as_text(client)):
            self.assertIn("binary", str(self.assertRaises(TypeError, call)))
        self.assertIn("dht14:", str(self.assertRaises(TypeError, client.get_file, bytes(32), self.target)))

    def fetch_as_text(self, client: Any) -> None:
        client.get_file(client.put_file(io.BytesIO(CONTENT)).address, io.StringIO())

    def test_pipe(self) -> None:
        """A pipe gives small parts and no size: it makes the same file."""
        node = self.node()
        reading, writing = os.pipe()

        def write() -> None:
            with os.fdopen(writing, "wb") as pipe:
                pipe.write(CONTENT)

        writer = threading.Thread(target=write)
        writer.start()
        reports: list[dht14.FileProgress] = []
        with os.fdopen(reading, "rb", buffering=0) as pipe:
            stored = self.connect(node).put_file(pipe, progress=reports.append)
        writer.join()
        self.assertIsNone(reports[-1].bytes_total)
        self.assertEqual(stored.address, self.store(node).address)

    def test_non_blocking_pipe(self) -> None:
        """A pipe that does not wait, and has nothing yet, is not at its end: no half file is stored."""
        node = self.node()
        reading, writing = os.pipe2(os.O_NONBLOCK)
        os.write(writing, b"the beginning")
        with os.fdopen(reading, "rb", buffering=0) as pipe, os.fdopen(writing, "wb"):
            self.assertRaises(BlockingIOError, self.connect(node).put_file, pipe)
        self.assertEqual(node.values, {})

    def test_keys(self) -> None:
        """The keys of a file are those of all values that it consists of."""
        node = self.node()
        stored = self.store(node)
        client = self.connect(node)
        self.assertEqual(set(client.file_keys(stored.address)), set(node.values))
        self.assertEqual(client.file_keys(stored.address)[0], stored.key)
        self.assertIsNone(client.file_keys(f"dht14:{'0' * 64}"))

    def test_owner(self) -> None:
        """An owner's value names a file, and then another one, under one address."""
        owner = Owner(salt=b"s")
        client = self.connect(self.node())
        first = client.put_file(self.source, owner=owner.private_key, salt=b"s")
        self.assertEqual(first.key, id_to_bytes(owner.key))
        client.get_file(first.address, self.target)
        self.assertEqual(self.target.read_bytes(), CONTENT)
        second = client.put_file(io.BytesIO(b"other"), owner=owner.private_key, salt=b"s")
        self.assertEqual(second.address, first.address)
        client.get_file(first.address, self.target)
        self.assertEqual(self.target.read_bytes(), b"other")
        self.assertEqual(len(client.file_keys(first.address)), 3)

    def test_nothing_there(self) -> None:
        """Where there is no file None is returned and nothing written; another value is no file."""
        node = self.node()
        client = self.connect(node)
        self.assertIsNone(client.get_file(f"dht14:{'0' * 64}", self.target))
        key = client.put_content(b"hello").key
        self.assertRaises(NotAFile, client.get_file, f"dht14:{key.hex()}", self.target)
        self.assertRaises(ValueError, client.get_file, key.hex(), self.target)
        self.assertEqual(os.listdir(self.folder), ["source"])

    def test_goes_on(self) -> None:
        """A get that failed goes on behind the pieces that are there, which are verified, not fetched."""
        node = self.node()
        stored = self.store(node)
        lost = node.values.pop(piece(40))
        failed = self.assertRaises(FileFailed, self.connect(node).get_file, stored.address, self.target)
        self.assertEqual(failed.bytes_done, 40 * PIECE_BYTES)
        self.assertFalse(self.target.exists())
        self.assertEqual(self.part.read_bytes(), CONTENT[: 40 * PIECE_BYTES])
        node.values[piece(40)] = lost
        node.requests.clear()
        fetched = self.connect(node).get_file(stored.address, self.target)
        self.assertEqual(fetched.bytes_found, 40 * PIECE_BYTES)
        self.assertEqual(self.target.read_bytes(), CONTENT)
        self.assertNotIn(piece(39), {request.key for request in node.requests})

    def test_damaged_part(self) -> None:
        """A part file that was not written completely, by a crash or by others, is right in the end."""
        node = self.node()
        stored = self.store(node)
        for damaged, found in (
            (CONTENT[: 10 * PIECE_BYTES + 5], 10),
            (CONTENT[: 3 * PIECE_BYTES] + bytes(20 * PIECE_BYTES), 3),
            (bytes(len(CONTENT) + 7 * PIECE_BYTES), 0),
            (CONTENT + b"more", PIECES + 1),
        ):
            self.part.write_bytes(damaged)
            fetched = self.connect(node).get_file(stored.address, self.target)
            self.assertEqual(fetched.bytes_found, min(found * PIECE_BYTES, len(CONTENT)))
            self.assertEqual(self.target.read_bytes(), CONTENT)

    def test_two_at_once(self) -> None:
        """Two calls do not write the same part file."""
        from dht14.client.part_file import PartFile

        node = self.node()
        stored = self.store(node)
        other = PartFile(str(self.target))
        other.write(CONTENT[:PIECE_BYTES])
        self.assertRaises(BlockingIOError, self.connect(node).get_file, stored.address, self.target)
        other.close()
        self.assertEqual(self.part.read_bytes(), CONTENT[:PIECE_BYTES])

    def test_refused(self) -> None:
        """A refusal that lasts ends a put, which says how far it came and why; a second one goes on."""
        full = {"is": True}

        def script(talk: Conversation) -> None:
            for request in talk.requests():
                talk.send(answer(talk.node, request))

        def answer(node: FakeNode, request: ApiRequest) -> bytes:
            if full["is"] and isinstance(request, Put) and request.key == piece(50):
                return encode_receipt(request.key, Receipt(PutOutcome.NOT_STORED, 0, 8, PutReason.NO_ROOM))
            return node.reply_to(request)

        node = self.node(script)
        failed = self.assertRaises(FileFailed, self.connect(node).put_file, self.source)
        self.assertEqual((failed.bytes_done, failed.bytes_total), (50 * PIECE_BYTES, len(CONTENT)))
        assert isinstance(failed.__cause__, Refused)
        self.assertEqual(failed.__cause__.reason, PutReason.NO_ROOM)
        full["is"] = False
        node.requests.clear()
        stored = self.connect(node).put_file(self.source)
        self.assertEqual(self.connect(node).get_file(stored.address, self.target).size, len(CONTENT))
        again = {request.key for request in node.requests if isinstance(request, Put)}
        self.assertNotIn(piece(5), again)
        self.assertIn(piece(50), again)

    def test_no_node(self) -> None:
        """Where no node is, a call ends at once, as other calls do."""
        client = type(self).client("127.0.0.1:1")
        self.addCleanup(client.__exit__, None, None, None)
        failed = self.assertRaises(FileFailed, client.put_file, self.source)
        self.assertIsInstance(failed.__cause__, NoNode)
        self.assertRaises(NoNode, client.get_file, f"dht14:{'0' * 64}", self.target)

    def test_wrong_key(self) -> None:
        """A key that cannot sign is refused before anything is stored."""
        node = self.node()
        self.assertRaises(ValueError, self.connect(node).put_file, self.source, owner=b"no key")
        self.assertEqual(node.requests, [])

    def test_max_bytes(self) -> None:
        """A file of more bytes is refused before any of it is fetched, and nothing is written."""
        node = self.node()
        stored = self.store(node)
        client = self.connect(node)
        for target in (self.target, io.BytesIO()):
            node.requests.clear()
            refused = self.assertRaises(
                TooLarge, client.get_file, stored.address, target, max_bytes=len(CONTENT) - 1
            )
            self.assertEqual((refused.size, refused.limit), (len(CONTENT), len(CONTENT) - 1))
            keys = {request.key for request in node.requests if isinstance(request, GetRecord)}
            self.assertEqual(keys, {stored.key})
        self.assertFalse(self.part.exists())
        self.assertEqual(client.get_file(stored.address, target, max_bytes=len(CONTENT)).size, len(CONTENT))

    def test_no_name(self) -> None:
        """A target without a name is refused, before anything is written."""
        node = self.node()
        stored = self.connect(node).put_file(io.BytesIO(CONTENT))
        folder = self.folder.resolve() / "working"
        folder.mkdir()
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(folder)
        self.assertRaises(FileNotFoundError, self.connect(node).get_file, stored.address, "")
        self.assertEqual(os.listdir(folder), [])
        self.assertNotIn(f"working{SUFFIX}", os.listdir(folder.parent))

    def test_disk_too_small(self) -> None:
        """What does not fit the disk is not begun."""
        from dht14.client.part_file import PartFile

        node = self.node()
        stored = self.store(node)
        self.patch(PartFile, "free_bytes", lambda part: len(CONTENT) - 1)
        node.requests.clear()
        self.assertRaises(OSError, self.connect(node).get_file, stored.address, self.target)
        self.assertEqual([type(request) for request in node.requests], [GetRecord, GetRecord])
        self.assertFalse(self.part.exists())


class BlockingFileTests(FileCases, SynchronousTestCase):
    """Those of the blocking client."""

    client = dht14.Client


class AsyncioFileTests(FileCases, SynchronousTestCase):
    """Those of the asyncio client."""

    client = AsyncioCalls
