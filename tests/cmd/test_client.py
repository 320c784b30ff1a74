import base64
import hashlib
import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from dht14.cmd import node_api
from dht14.cmd.ending import NO_NODE, Ended
from dht14.wire.api_messages import (
    MAX_VALUE,
    Get,
    GetRecord,
    Put,
    PutWithReceipt,
    encode_failure,
    encode_get,
    encode_success,
)
from tests.cmd.api_server import TOLD, ApiServer
from tests.cmd.shell import Outcome, run

KEY = bytes(32)
VALUE = bytes(range(256))


def sha256(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def always(answer: bytes) -> Callable[[Put | Get], bytes]:
    return lambda request: answer


class ClientTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir(parents=True)

    def file(self, content: bytes) -> str:
        path = self.directory / "value"
        path.write_bytes(content)
        return str(path)


class PutTests(ClientTestCase):
    def test_stored(self) -> None:
        """A text and its hints go to the node under the SHA-256 of the key's text. How many nodes
        have it is said on stderr: stdout is for keys and values. Exit code 0."""
        with ApiServer() as node:
            outcome = run(
                "put", "grüße", "--ttl", "60", "hallo", "--replication=3", "--api-address", node.address
            )
        self.assertEqual(outcome, (0, b"", TOLD))
        self.assertEqual(node.requests, [PutWithReceipt(60, 3, sha256("grüße"), b"hallo")])

    def test_file(self) -> None:
        """A file goes as its bytes, up to the largest value; hints that are not given are left to the node."""
        largest = VALUE * 255 + bytes(MAX_VALUE - 255 * 256)
        with ApiServer() as node:
            outcome = run("put", "k", "--file", self.file(largest), "--api-address", node.address)
        self.assertEqual(outcome.code, 0)
        self.assertEqual(node.requests, [PutWithReceipt(0, 0, sha256("k"), largest)])

    def test_hex_key(self) -> None:
        """64 hex digits of either case are the key itself."""
        with ApiServer() as node:
            for digits in ("aB" * 32, "AB" * 32, "ab" * 20):
                run("put", digits, "v", "--api-address", node.address)
        self.assertEqual([request.key for request in node.requests], [b"\xab" * 32] * 2 + [sha256("ab" * 20)])

    def test_no_utf8(self) -> None:
        """Arguments that are no UTF-8 stand for the bytes that were typed."""
        with ApiServer() as node:
            run("put", "k", os.fsdecode(b"\xff\xfe"), "--api-address", node.address)
        self.assertEqual(node.requests, [PutWithReceipt(0, 0, sha256("k"), b"\xff\xfe")])

    def test_refused(self) -> None:
        """A node that says no: exit code 1 and a line."""
        with ApiServer(lambda request: encode_failure(request.key)) as node:
            outcome = run("put", "k", "v", "--api-address", node.address)
        self.assertEqual((outcome.code, outcome.error.count("\n")), (1, 1))

    def test_json(self) -> None:
        """With --json one object says what was stored."""
        with ApiServer() as node:
            outcome = run("put", "k", "v", "--json", "--api-address", node.address)
        answer = json.loads(outcome.out)
        self.assertTrue(0 <= answer.pop("seconds") < node_api.ANSWER_SECONDS)
        receipt = {"outcome": "stored", "copies": 8, "wanted": 8, "version": 7}
        self.assertEqual(
            answer, {"key": sha256("k").hex(), "stored": True, **receipt, "value": "dg==", "bytes": 1}
        )

    def test_wrong_usage(self) -> None:
        """What cannot be asked is wrong usage: exit code 2, and no node is asked."""
        too_long = self.file(bytes(MAX_VALUE + 1))
        for words in [
            ("k",),
            (),
            ("k", ""),
            ("k", "v", "--file", too_long),
            ("k", "--file", too_long),
            ("k", "--file", str(self.directory / "missing")),
            ("k", "--file", str(self.directory)),
            ("k", "v", "--ttl", "65536"),
            ("k", "v", "--ttl", "-1"),
            ("k", "v", "--replication", "256"),
            ("k", "v", "--api-address", "127.0.0.1"),
            ("k", "v", "--api-address", "::1:7400"),
            ("k", "v", "--api-address", "127.0.0.1:0"),
        ]:
            outcome = run("put", *words)
            self.assertEqual((outcome.code, outcome.out), (2, b""), words)
            self.assertNotIn("Traceback", outcome.error)


class ContentTests(ClientTestCase):
    def test_content(self) -> None:
        """--content puts a value under its SHA-256, and prints that key."""
        with ApiServer() as node:
            for words in (("hallo",), ("--ttl", "0", "hallo"), ("--file", self.file(b"hallo"))):
                outcome = run("put", "--content", *words, "--api-address", node.address)
                self.assertEqual(outcome, (0, sha256("hallo").hex().encode() + b"\n", TOLD))
        self.assertEqual(set(node.requests), {PutWithReceipt(0, 0, sha256("hallo"), b"hallo")})

    def test_json(self) -> None:
        """With --json the key is in the object, and only there."""
        with ApiServer() as node:
            outcome = run("put", "--content", "v", "--json", "--api-address", node.address)
        self.assertEqual(json.loads(outcome.out)["key"], sha256("v").hex())

    def test_wrong_usage(self) -> None:
        """A KEY beside it, or an owner's options, are wrong usage."""
        for words in (("k", "v"), ("k", "--file", "f"), (), ("v", "--salt", "s"), ("v", "--sign", "f")):
            outcome = run("put", "--content", *words)
            self.assertEqual((outcome.code, outcome.out), (2, b""), words)


class GetTests(ClientTestCase):
    def get(self, *words: str) -> Outcome:
        with ApiServer(lambda request: encode_success(request.key, VALUE)) as node:
            return run("get", "k", *words, "--api-address", node.address)

    def miss(self, *words: str) -> Outcome:
        with ApiServer() as node:
            return run("get", "k", *words, "--api-address", node.address)

    def test_found(self) -> None:
        """The bytes of the value are written, and nothing else."""
        self.assertEqual(self.get(), (0, VALUE, ""))

    def test_not_found(self) -> None:
        """Not found is exit code 1 and a line."""
        self.assertEqual(self.miss(), (1, b"", "dht14: not found\n"))

    def test_asked_for(self) -> None:
        """The node is asked for the SHA-256 of the key's text."""
        with ApiServer() as node:
            run("get", "k", "--api-address", node.address)
        self.assertEqual(node.requests, [GetRecord(sha256("k"))])

    def test_output(self) -> None:
        """--output makes or replaces a file as a whole, with the rights of any new file."""
        path = self.directory / "out"
        path.write_bytes(b"before")
        self.addCleanup(os.umask, os.umask(0o027))
        self.assertEqual(self.get("--output", str(path)), (0, b"", ""))
        self.assertEqual(path.read_bytes(), VALUE)
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o640)
        self.assertEqual(os.listdir(self.directory), ["out"])

    def test_output_not_found(self) -> None:
        """When there is no value, the file stays as it was."""
        path = self.file(b"before")
        self.assertEqual(self.miss("--output", path).code, 1)
        self.assertEqual(Path(path).read_bytes(), b"before")

    def test_output_through_link(self) -> None:
        """A link stays a link: what it points to is replaced."""
        target, link = self.directory / "target", self.directory / "link"
        link.symlink_to("target")
        self.get("--output", str(link))
        self.assertEqual((link.is_symlink(), target.read_bytes()), (True, VALUE))

    def test_output_to_device(self) -> None:
        """What is no regular file is written to and not replaced."""
        pipe = self.directory / "pipe"
        os.mkfifo(pipe)
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        self.assertEqual(self.get("--output", str(pipe)).code, 0)
        self.assertEqual(os.read(reader, 1000), VALUE)

    def test_output_impossible(self) -> None:
        """A file that cannot be written is wrong usage, and leaves nothing behind."""
        outcome = self.get("--output", str(self.directory))
        self.assertEqual((outcome.code, outcome.error.count("\n")), (2, 1))
        self.assertEqual(self.get("--output", str(self.directory / "no" / "such")).code, 2)
        self.assertEqual(os.listdir(self.directory), [])

    def test_json(self) -> None:
        """With --json one object says what was found; --output still writes the file."""
        path = self.directory / "out"
        outcome = self.get("--json", "--output", str(path))
        answer = json.loads(outcome.out)
        del answer["seconds"]
        value = base64.b64encode(VALUE).decode()
        self.assertEqual(answer, {"key": sha256("k").hex(), "found": True, "value": value, "bytes": 256})
        self.assertEqual((outcome.code, path.read_bytes()), (0, VALUE))

    def test_json_not_found(self) -> None:
        """Nothing found is an object as well."""
        outcome = self.miss("--json")
        answer = json.loads(outcome.out)
        del answer["seconds"]
        self.assertEqual(
            answer,
            {"key": sha256("k").hex(), "found": False, "error": "not_found", "value": None, "bytes": 0},
        )
        self.assertEqual((outcome.code, outcome.error), (1, ""))


class OutputTests(ClientTestCase):
    """What the standard output does to a command, in a process of its own."""

    def run_get(self, out: int) -> tuple[int, bytes]:
        script = "import sys; from dht14.cmd.main import main; sys.exit(main())"
        with ApiServer(lambda request: encode_success(request.key, bytes(MAX_VALUE))) as node:
            command = [sys.executable, "-c", script, "get", "k", "--api-address", node.address]
            ended = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, timeout=60, check=False)
        return ended.returncode, ended.stderr

    def test_reader_has_enough(self) -> None:
        """A reader that closes the pipe early has what it wanted: no complaint."""
        reader, writer = os.pipe()
        os.close(reader)
        self.addCleanup(os.close, writer)
        self.assertEqual(self.run_get(writer), (0, b""))

    def test_full(self) -> None:
        """A value that cannot be written is not passed off as delivered."""
        full = os.open("/dev/full", os.O_WRONLY)
        self.addCleanup(os.close, full)
        code, error = self.run_get(full)
        self.assertEqual((code, error.count(b"\n")), (2, 1))

    def test_interrupted(self) -> None:
        """Ctrl-C ends it without a traceback."""

        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        self.patch(node_api, "get", interrupt)
        self.assertEqual(run("get", "k"), (130, b"", ""))

    def test_quick_start(self) -> None:
        """The commands do not wait for Twisted to be imported, nor, unless they sign, for cryptography."""
        script = (
            "import sys, dht14.cmd.client, dht14.cmd.owner; "
            "sys.exit(bool({'twisted', 'cryptography'} & sys.modules.keys()))"
        )
        self.assertEqual(subprocess.run([sys.executable, "-c", script], check=False).returncode, 0)


class NoNodeTests(ClientTestCase):
    def assert_no_node(self, outcome: Outcome) -> None:
        self.assertEqual((outcome.code, outcome.out, outcome.error.count("\n")), (3, b"", 1))
        self.assertIn("no node at 127.0.0.1:", outcome.error)

    def test_nobody_listens(self) -> None:
        """Where nobody listens there is no node: exit code 3 and a line."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = f"127.0.0.1:{taken.getsockname()[1]}"
        self.assert_no_node(run("get", "k", "--api-address", address))

    def test_closed_without_answer(self) -> None:
        """So it is when the connection is closed without an answer."""
        with ApiServer(always(b"")) as node:
            self.assert_no_node(run("put", "k", "v", "--api-address", node.address))

    def test_no_answer(self) -> None:
        """So it is when no answer comes in time."""
        with (
            socket.create_server(("127.0.0.1", 0)) as silent,
            self.assertRaises(Ended) as ended,
        ):
            node_api.ask(silent.getsockname(), KEY, encode_get(KEY), patience=0.05)
        self.assertEqual(ended.exception.code, NO_NODE)
        self.assertIn("no node at 127.0.0.1:", str(ended.exception))

    def test_something_else(self) -> None:
        """So it is when what answers is no node, or answers another question."""
        for answer in (b"HTTP/1.1 400 Bad Request\r\n" * 1000, b"\0\0\0\0", encode_failure(bytes(32))):
            with ApiServer(always(answer)) as other:
                self.assert_no_node(run("get", "k", "--api-address", other.address))
