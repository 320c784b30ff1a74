import io
import json
import os
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from dht14.client.file_store import ClientStore
from dht14.files.manifest import FANOUT, PIECE_BYTES, Manifest
from dht14.kademlia.parameters import MAX_VALUE
from dht14.records.envelope import is_envelope
from dht14.records.receipt import NoRecord, PutOutcome, PutReason, Receipt
from dht14.wire.api_messages import ApiRequest, Put, encode_no_record, encode_receipt, encode_record
from tests.client.fake_node import Conversation, FakeNode
from tests.cmd.shell import Outcome, run
from tests.files.memory import sha256

CONTENT = b"".join(number.to_bytes(8, "big") * (PIECE_BYTES // 8) for number in range(1, 41)) + b"end"


async def no_sleep(store: ClientStore, seconds: float) -> None:
    """Do not wait for a node that answers at once."""


class FileCommandCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir(parents=True)
        self.source, self.target = self.folder / "source", self.folder / "target"
        self.source.write_bytes(CONTENT)
        self.values: dict[bytes, bytes] = {}
        self.refused: set[int] = set()
        """Numbers of puts that are refused, from 0 on."""
        self.puts = 0
        self.patch(ClientStore, "sleep", no_sleep)
        node = FakeNode(self.serve)
        node.__enter__()
        self.addCleanup(node.__exit__)
        self.node = node

    def serve(self, talk: Conversation) -> None:
        for request in talk.requests():
            talk.send(self.answer(request))

    def answer(self, request: ApiRequest) -> bytes:
        if isinstance(request, Put):
            self.puts += 1
            if self.puts - 1 in self.refused:
                receipt = Receipt(PutOutcome.NOT_STORED, 0, 8, PutReason.NO_ROOM)
                return encode_receipt(request.key, receipt)
            self.values[request.key] = request.value
            return encode_receipt(request.key, Receipt(PutOutcome.STORED, 8, 8))
        value = self.values.get(request.key)
        if value is None:
            return encode_no_record(request.key, NoRecord.NOT_FOUND)
        return encode_record(request.key, 2 if is_envelope(value) else 3, 0, 86_400, value)

    def run_command(self, *words: str) -> Outcome:
        return run(*words, "--api-address", self.node.address)

    def stored(self) -> str:
        outcome = self.run_command("put", "--file", str(self.source))
        self.assertEqual(outcome.code, 0, outcome.error)
        return outcome.out.decode().strip()


class PutFileTests(FileCommandCase):
    """`dht14 put --file` without a KEY."""

    def test_put(self) -> None:
        """Stdout has the address alone; stderr says before what it takes, and after what became of it."""
        outcome = self.run_command("put", "--file", str(self.source))
        self.assertRegex(outcome.out, rb"^dht14:[0-9a-f]{64}\n$")
        before, after = outcome.error.splitlines()
        self.assertEqual(
            before, "8 copies of 2.6 MB take 20.9 MB; it expires after 24.0 h, unless you put it again"
        )
        self.assertTrue(after.startswith("stored 2.6 MB in 41 pieces, each on 8 nodes or more; "), after)

    def test_json(self) -> None:
        """--json prints the same as one object."""
        answer = json.loads(self.run_command("put", "--file", str(self.source), "--json").out)
        self.assertEqual(answer["address"], f"dht14:{answer['key']}")
        self.assertEqual((answer["stored"], answer["bytes"], answer["pieces"]), (True, len(CONTENT), 41))
        self.assertEqual((answer["copies"], answer["wanted"], answer["expires_in"]), (8, 8, 86_400))

    def test_stdin(self) -> None:
        """--file - reads the standard input; the address is the same."""
        self.patch(sys, "stdin", io.TextIOWrapper(io.BytesIO(CONTENT)))
        outcome = self.run_command("put", "--file", "-")
        self.assertEqual(outcome.out.decode().strip(), self.stored())

    def test_content(self) -> None:
        """--content stores a value as before, and what is longer as a file."""
        largest = self.folder / "largest"
        largest.write_bytes(bytes(MAX_VALUE))
        outcome = self.run_command("put", "--content", "--file", str(largest))
        self.assertRegex(outcome.out, rb"^[0-9a-f]{64}\n$")
        outcome = self.run_command("put", "--content", "--file", str(self.source))
        self.assertEqual(outcome.out.decode().strip(), self.stored())
        self.patch(sys, "stdin", io.TextIOWrapper(io.BytesIO(CONTENT)))
        outcome = self.run_command("put", "--content", "--file", "-")
        self.assertEqual(outcome.out.decode().strip(), self.stored())

    def test_small(self) -> None:
        """A small and even an empty file are files, too."""
        for content in (b"hello", b""):
            self.source.write_bytes(content)
            address = self.stored()
            self.assertEqual(self.run_command("get", address, "--output", str(self.target)).code, 0)
            self.assertEqual(self.target.read_bytes(), content)

    def test_refused(self) -> None:
        """A refusal ends it with 1, how far it came, and how to go on; the next run finds what is there."""
        self.refused = set(range(30, 500))
        outcome = self.run_command("put", "--file", str(self.source), "--json")
        answer = json.loads(outcome.out)
        self.assertEqual((outcome.code, answer["error"], answer["of"]), (1, "no_room", len(CONTENT)))
        self.assertGreater(answer["bytes"], 20 * PIECE_BYTES)
        self.assertIn(
            "are full, or cannot write; the same command goes on through another node", outcome.error
        )
        self.refused = set()
        again = json.loads(self.run_command("put", "--file", str(self.source), "--json").out)
        self.assertGreater(again["bytes_found"], 20 * PIECE_BYTES)

    def test_wrong_usage(self) -> None:
        """What cannot be stored is refused before anything is: 2, and no request."""
        for words in (
            ("--file", str(self.folder / "missing")),
            ("--file", str(self.folder)),
            ("k", "--file", str(self.source)),
            ("--file", str(self.source), "--salt", "s"),
            ("--file", str(self.source), "--sign", str(self.source)),
            ("--file", str(self.source), "v", "w"),
        ):
            outcome = self.run_command("put", *words)
            self.assertEqual((outcome.code, outcome.out), (2, b""), words)
            self.assertNotIn("Traceback", outcome.error)
        self.assertEqual(self.puts, 0)

    def test_no_node(self) -> None:
        """Without a node: 3, in one line."""
        outcome = run("put", "--file", str(self.source), "--api-address", "127.0.0.1:1")
        cure = "start one there, or name another with --api-address"
        self.assertEqual(outcome, (3, b"", f"dht14: no node at 127.0.0.1:1: Connection refused; {cure}\n"))

    def test_signed(self) -> None:
        """--sign prints the address of the owner's value, which names the file."""
        key_file = str(self.folder / "me.pem")
        owner = json.loads(run("keygen", key_file, "--json").out)["owner"]
        address = self.run_command("put", "--sign", key_file, "--salt", "s", "--file", str(self.source)).out
        self.assertNotEqual(address.decode().strip(), self.stored())
        for words in ((address.decode().strip(),), ("--owner", owner, "--salt", "s")):
            self.target.unlink(missing_ok=True)
            outcome = self.run_command("get", *words, "--output", str(self.target))
            self.assertEqual(outcome.code, 0, outcome.error)
            self.assertEqual(self.target.read_bytes(), CONTENT)
        too_long = self.folder / "too_long"
        too_long.write_bytes(bytes(MAX_VALUE))
        outcome = self.run_command("put", "--sign", key_file, "--file", str(too_long))
        self.assertRegex(outcome.out, rb"^dht14:")


class GetFileTests(FileCommandCase):
    """`dht14 get dht14:HEX`."""

    def test_output(self) -> None:
        """The file is written, and stderr says so; nothing else is left."""
        address = self.stored()
        outcome = self.run_command("get", address, "--output", str(self.target))
        self.assertEqual((outcome.code, outcome.out), (0, b""))
        self.assertTrue(outcome.error.startswith("fetched 2.6 MB; "), outcome.error)
        self.assertEqual(self.target.read_bytes(), CONTENT)
        self.assertEqual(sorted(os.listdir(self.folder)), ["source", "target"])

    def test_stdout(self) -> None:
        """Without --output, or with -, the bytes go to stdout in order, and nothing else does."""
        address = self.stored()
        for words in ((), ("--output", "-")):
            self.assertEqual(self.run_command("get", address, *words).out, CONTENT)

    def test_max_bytes(self) -> None:
        """What is larger than --max-bytes, or to a pipe than a TiB, is refused. A few records describe it."""
        outcome = self.run_command("get", self.stored(), "--max-bytes", "9", "--output", str(self.target))
        self.assertEqual((outcome.code, outcome.out, self.target.exists()), (1, b"", False))
        key, size = sha256(bytes(PIECE_BYTES)), PIECE_BYTES
        for level in range(4):
            size *= FANOUT
            value = Manifest(level, PIECE_BYTES, size, key * FANOUT).encode()
            key = sha256(value)
            self.values[key] = value
        outcome = self.run_command("get", f"dht14:{key.hex()}")
        self.assertEqual((outcome.code, outcome.out, outcome.error.count("\n")), (1, b"", 1))
        self.assertIn("--max-bytes N", outcome.error)

    def test_resumed(self) -> None:
        """What an earlier run has left is not fetched again."""
        address = self.stored()
        Path(f"{self.target}.part").write_bytes(CONTENT[: 25 * PIECE_BYTES + 5])
        outcome = self.run_command("get", address, "--output", str(self.target), "--json")
        answer = json.loads(outcome.out)
        self.assertEqual((answer["found"], answer["bytes_found"]), (True, 25 * PIECE_BYTES))
        self.assertEqual(self.target.read_bytes(), CONTENT)

    def test_lost(self) -> None:
        """A piece that is lost: 1, how far it came, and what is left to go on with."""
        address = self.stored()
        (lost,) = (key for key, value in self.values.items() if value.startswith((9).to_bytes(8, "big")))
        del self.values[lost]
        outcome = self.run_command("get", address, "--output", str(self.target), "--json")
        answer = json.loads(outcome.out)
        self.assertEqual((outcome.code, answer["error"]), (1, "incomplete"))
        self.assertEqual((answer["bytes"], answer["of"]), (8 * PIECE_BYTES, len(CONTENT)))
        self.assertTrue(Path(f"{self.target}.part").exists())

    def test_without_scheme(self) -> None:
        """The bare key of a file brings its manifest, and a line that says how to get the file."""
        address = self.stored()
        outcome = self.run_command("get", address.removeprefix("dht14:"))
        self.assertEqual(outcome.code, 0)
        self.assertIn(f"dht14 get {address} fetches the file", outcome.error)
        self.assertEqual(self.run_command("get", address, "--raw").error, "")

    def test_not_found(self) -> None:
        """A file that is not there: 1. A value that is no file: 1, and how to get it."""
        outcome = self.run_command("get", f"dht14:{'0' * 64}", "--output", str(self.target))
        self.assertEqual(outcome, (1, b"", "dht14: not found\n"))
        key = self.run_command("put", "--content", "hello").out.decode().strip()
        outcome = self.run_command("get", f"dht14:{key}")
        self.assertEqual((outcome.code, outcome.out), (1, b""))
        self.assertEqual(self.run_command("get", f"dht14:{key}", "--raw").out, b"hello")

    def test_wrong_usage(self) -> None:
        """What is no address, and what cannot be written: 2."""
        address = self.stored()
        for words in (
            ("dht14:ab",),
            (address, "--json"),
            (address, "--output", str(self.folder)),
            (address, "--output", str(self.folder / "missing" / "f")),
        ):
            outcome = self.run_command("get", *words)
            self.assertEqual(outcome.code, 2, words)
            self.assertNotIn("Traceback", outcome.error)
