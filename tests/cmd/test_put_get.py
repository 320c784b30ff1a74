import base64
import hashlib
import io
import json
import os
import pty
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from dht14.client import channel
from dht14.cmd import api_client
from dht14.cmd.command_error import NO_NODE, CommandError
from dht14.kademlia.parameters import MAX_VALUE
from dht14.records.receipt import NoRecord, PutOutcome, PutReason, Receipt
from dht14.wire.api_messages import (
    Get,
    GetRecord,
    Put,
    PutWithReceipt,
    encode_failure,
    encode_no_record,
    encode_receipt,
    encode_record,
    encode_success,
)
from tests.cmd.api_server import STORED_LINE, ApiServer
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
        """The value goes to the node with its options, under the SHA-256 of the key. Stderr says on how many
        nodes it is: stdout is for keys and values. Exit code 0."""
        with ApiServer() as node:
            outcome = run(
                "put", "grüße", "--ttl", "60", "hallo", "--replication=3", "--api-address", node.address
            )
        self.assertEqual(outcome, (0, b"", STORED_LINE))
        self.assertEqual(node.requests, [PutWithReceipt(60, 3, sha256("grüße"), b"hallo")])

    def test_file(self) -> None:
        """The bytes of a file are sent, up to the largest value; missing options are left to the node."""
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
        """Arguments that are not UTF-8 stand for the bytes that were typed."""
        with ApiServer() as node:
            run("put", "k", os.fsdecode(b"\xff\xfe"), "--api-address", node.address)
        self.assertEqual(node.requests, [PutWithReceipt(0, 0, sha256("k"), b"\xff\xfe")])

    def test_refused(self) -> None:
        """If the node refuses: exit code 1 and a line."""
        with ApiServer(lambda request: encode_failure(request.key)) as node:
            outcome = run("put", "k", "v", "--api-address", node.address)
        self.assertEqual((outcome.code, outcome.error.count("\n")), (1, 1))

    def test_json(self) -> None:
        """--json prints one object about the stored value."""
        with ApiServer() as node:
            outcome = run("put", "k", "v", "--json", "--api-address", node.address)
        answer = json.loads(outcome.out)
        self.assertTrue(0 <= answer.pop("seconds") < channel.ANSWER_TIMEOUT)
        receipt = {"outcome": "stored", "copies": 8, "wanted": 8, "version": 7}
        self.assertEqual(
            answer, {"key": sha256("k").hex(), "stored": True, **receipt, "value": "dg==", "bytes": 1}
        )

    def test_receipts(self) -> None:
        """Stderr says how many nodes have the value, whether only this one, or whether a later write won."""
        for receipt, line in (
            (Receipt(PutOutcome.STORED, 3, 3), "stored on 3 of 3 nodes"),
            (Receipt(PutOutcome.STORED, 1, 1), "stored on 1 of 1 node"),
            (Receipt(PutOutcome.STORED, 10, 8), "stored on 10 nodes; wanted: 8"),
            (Receipt(PutOutcome.STORED_BY_ALL, 5, 8), "stored on 5 of 8 nodes: no other node that holds"),
            (
                Receipt(PutOutcome.STORED_BY_ALL, 1, 8),
                "stored on this node only: no other node can be reached",
            ),
            (Receipt(PutOutcome.SUPERSEDED, 4, 8), "superseded"),
        ):
            outcome = self.put(receipt)
            self.assertEqual((outcome.code, outcome.out), (0, b""))
            self.assertIn(line, outcome.error)
            printed = json.loads(self.put(receipt, "--json").out)
            self.assertEqual(
                (printed["stored"], printed["outcome"], printed["copies"], printed["wanted"]),
                (True, receipt.outcome.name.lower(), receipt.stored, receipt.wanted),
            )
            self.assertNotIn("error", printed)

    def test_reasons(self) -> None:
        """If the value is not stored: exit code 1, a line with the reason, and the same word for programs."""
        lines = set()
        for reason in set(PutReason) - {PutReason.NOT_READY}:
            receipt = Receipt(PutOutcome.NOT_STORED, 2, 8, reason)
            outcome = self.put(receipt)
            self.assertEqual((outcome.code, outcome.error.count("\n")), (1, 1))
            lines.add(outcome.error)
            outcome = self.put(receipt, "--json")
            printed = json.loads(outcome.out)
            self.assertEqual(
                (outcome.code, printed["stored"], printed["error"]), (1, False, reason.name.lower())
            )
        self.assertEqual(len(lines), len(PutReason) - 1)

    def test_not_ready(self) -> None:
        """A node that is not ready counts as none: exit code 3, and a line that names the cure."""
        outcome = self.put(Receipt(PutOutcome.NOT_STORED, 0, 8, PutReason.NOT_READY), "--json")
        self.assertEqual((outcome.code, json.loads(outcome.out)["error"]), (3, "not_ready"))
        self.assertIn("dht14 wait", outcome.error)

    def put(self, receipt: Receipt, *words: str) -> Outcome:
        with ApiServer(lambda request: encode_receipt(request.key, receipt)) as node:
            return run("put", "k", "v", *words, "--api-address", node.address)

    def test_other_node(self) -> None:
        """A node that closes the connection at our extension gets the VoidPhone message."""
        with ApiServer(extended=False) as node:
            outcome = run("put", "k", "v", "--ttl", "60", "--api-address", node.address)
        self.assertEqual(outcome, (0, b"", "stored\n"))
        self.assertEqual(node.requests[1:], [Put(60, 0, sha256("k"), b"v")])

    def test_silent_node(self) -> None:
        """So does a node that does not answer the extension."""
        self.patch(channel, "SILENCE_TIMEOUT", 0.05)
        with ApiServer(extended=False, hangs_up=False) as node:
            outcome = run("put", "k", "v", "--api-address", node.address)
        self.assertEqual(outcome.code, 0)

    def test_stdin(self) -> None:
        """--file - reads the standard input."""
        self.patch(sys, "stdin", io.TextIOWrapper(io.BytesIO(VALUE)))
        with ApiServer() as node:
            self.assertEqual(run("put", "k", "--file", "-", "--api-address", node.address).code, 0)
        self.assertEqual(node.requests, [PutWithReceipt(0, 0, sha256("k"), VALUE)])

    def test_stdin_that_does_not_wait(self) -> None:
        """A standard input in non-blocking mode that has nothing yet is not at its end: nothing is stored."""
        reading, writing = os.pipe2(os.O_NONBLOCK)
        os.write(writing, b"the beginning")
        with open(reading, "rb", buffering=0) as raw, open(writing, "wb"), ApiServer() as node:
            self.patch(sys, "stdin", io.TextIOWrapper(raw))
            outcome = run("put", "k", "--file", "-", "--api-address", node.address)
        self.assertEqual((outcome.code, node.requests), (2, []))

    def test_too_large(self) -> None:
        """For a value that is too large the error has its size, the limit and what to do, also as JSON."""
        outcome = run("put", "k", "--file", self.file(bytes(MAX_VALUE + 7)), "--json")
        printed = json.loads(outcome.out)
        self.assertEqual(
            (outcome.code, printed["error"], printed["bytes"], printed["limit"]),
            (2, "too_large", 65_502, 65_495),
        )
        self.assertIn("files of any size", outcome.error)
        self.patch(sys, "stdin", io.TextIOWrapper(io.BytesIO(bytes(MAX_VALUE + 7))))
        printed = json.loads(run("put", "k", "--file", "-", "--json").out)
        self.assertIsNone(printed["bytes"])

    def test_dashed_value(self) -> None:
        """A value that begins with - is stored after --, and never answered with the help and exit code 0."""
        outcome = run("put", "k", "-hello")
        self.assertEqual((outcome.code, outcome.out), (2, b""))
        self.assertIn("after --", outcome.error)
        with ApiServer() as node:
            self.assertEqual(run("put", "k", "--api-address", node.address, "--", "-hello").code, 0)
        self.assertEqual(node.requests, [PutWithReceipt(0, 0, sha256("k"), b"-hello")])

    def test_wrong_usage(self) -> None:
        """Wrong usage: exit code 2, and no request."""
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
            ("k", "v", "--repl", "3"),
            ("0x" + "ab" * 32, "v"),
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
                self.assertEqual(outcome, (0, sha256("hallo").hex().encode() + b"\n", STORED_LINE))
        self.assertEqual(set(node.requests), {PutWithReceipt(0, 0, sha256("hallo"), b"hallo")})

    def test_json(self) -> None:
        """--json has the key in the object and nowhere else."""
        with ApiServer() as node:
            outcome = run("put", "--content", "v", "--json", "--api-address", node.address)
        self.assertEqual(json.loads(outcome.out)["key"], sha256("v").hex())

    def test_wrong_usage(self) -> None:
        """A KEY or an owner's options with --content are wrong usage."""
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
        """Exactly the bytes of the value are written."""
        self.assertEqual(self.get(), (0, VALUE, ""))

    def test_not_found(self) -> None:
        """Not found: exit code 1 and a line."""
        self.assertEqual(self.miss(), (1, b"", "dht14: not found\n"))

    def test_asked_for(self) -> None:
        """The request has the SHA-256 of the text of the key."""
        with ApiServer() as node:
            run("get", "k", "--api-address", node.address)
        self.assertEqual(node.requests, [GetRecord(sha256("k"))])

    def test_content(self) -> None:
        """With --content only the value whose SHA-256 is the key counts: the node gets that flag, and the
        client verifies the answer of a node that does not know it."""
        key = hashlib.sha256(VALUE).hexdigest()
        for extended in (True, False):
            for value, code in ((VALUE, 0), (b"junk", 1)):
                with ApiServer(extended=extended) as node:
                    node._values[bytes.fromhex(key)] = value
                    outcome = run("get", key, "--content", "--api-address", node.address)
                self.assertEqual((outcome.code, outcome.out), (code, b"" if code else VALUE))
                first = node.requests[0]
                self.assertTrue(not extended or (isinstance(first, GetRecord) and first.content))

    def test_output(self) -> None:
        """--output creates or replaces a whole file, with the permissions of any new file."""
        path = self.directory / "out"
        path.write_bytes(b"before")
        self.addCleanup(os.umask, os.umask(0o027))
        self.assertEqual(self.get("--output", str(path)), (0, b"", ""))
        self.assertEqual(path.read_bytes(), VALUE)
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o640)
        self.assertEqual(os.listdir(self.directory), ["out"])

    def test_output_not_found(self) -> None:
        """If there is no value, the file stays as it was."""
        path = self.file(b"before")
        self.assertEqual(self.miss("--output", path).code, 1)
        self.assertEqual(Path(path).read_bytes(), b"before")

    def test_output_through_link(self) -> None:
        """A link stays a link: its target is replaced."""
        target, link = self.directory / "target", self.directory / "link"
        link.symlink_to("target")
        self.get("--output", str(link))
        self.assertEqual((link.is_symlink(), target.read_bytes()), (True, VALUE))

    def test_output_to_device(self) -> None:
        """A device or a pipe is written to and not replaced."""
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
        """--json prints one object about the value; --output still writes the file."""
        path = self.directory / "out"
        outcome = self.get("--json", "--output", str(path))
        answer = json.loads(outcome.out)
        del answer["seconds"]
        value = base64.b64encode(VALUE).decode()
        self.assertEqual(answer, {"key": sha256("k").hex(), "found": True, "value": value, "bytes": 256})
        self.assertEqual((outcome.code, path.read_bytes()), (0, VALUE))

    def test_json_not_found(self) -> None:
        """Not found is an object as well."""
        outcome = self.miss("--json")
        answer = json.loads(outcome.out)
        del answer["seconds"]
        self.assertEqual(
            answer,
            {"key": sha256("k").hex(), "found": False, "error": "not_found", "value": None, "bytes": 0},
        )
        self.assertEqual((outcome.code, outcome.error), (1, ""))

    def test_record(self) -> None:
        """The object has what the node reports about the record besides its value."""
        with ApiServer(lambda request: encode_record(request.key, 3, 0, 59, VALUE)) as node:
            printed = json.loads(run("get", "k", "--json", "--api-address", node.address).out)
        self.assertEqual((printed["kind"], printed["version"], printed["expires_in"]), ("content", 0, 59))

    def test_reasons(self) -> None:
        """The reason why nothing is found is printed; a node that is not ready is exit code 3."""
        for reason, code, line in (
            (NoRecord.UNANSWERED, 1, "did not answer"),
            (NoRecord.DELETED, 1, "deleted"),
            (NoRecord.NOT_READY, 3, "not ready"),
        ):
            with ApiServer(always(encode_no_record(sha256("k"), reason))) as node:
                outcome = run("get", "k", "--json", "--api-address", node.address)
                printed = json.loads(outcome.out)
                self.assertEqual((outcome.code, printed["error"]), (code, reason.name.lower()))
                self.assertIn(line, run("get", "k", "--api-address", node.address).error)

    def test_other_node(self) -> None:
        """A node that closes the connection at our extension gets the VoidPhone message."""
        with ApiServer(extended=False) as node:
            run("put", "k", "v", "--api-address", node.address)
            self.assertEqual(run("get", "k", "--api-address", node.address), (0, b"v", ""))
        self.assertEqual(node.requests[2:], [GetRecord(sha256("k")), Get(sha256("k"))])

    def test_configured(self) -> None:
        """The node's address comes from option, environment or file. The encryption key is not read."""
        with ApiServer() as node:
            config = self.directory / "config.ini"
            config.write_text(
                f"[node]\napi_address = 0.0.0.0:{node.port}\n[security]\nencryption_key = file:/nowhere\n"
            )
            self.assertEqual(run("get", "k", "--config", str(config)).code, 1)
            self.patch(os, "environ", {**os.environ, "DHT14_NODE_API_ADDRESS": node.address})
            self.assertEqual(run("get", "k").code, 1)
            os.environ["DHT14_NODE_API_ADDRESS"] = "127.0.0.1:1"
            self.assertEqual(run("get", "k").code, 3)
            self.assertEqual(run("get", "k", "--api-address", node.address).code, 1)
            os.environ["DHT14_NODE_API_ADDRES"] = "127.0.0.1:1"
            outcome = run("get", "k", "--json")
        self.assertEqual((outcome.code, json.loads(outcome.out)["error"]), (78, "wrong_configuration"))


class OutputTests(ClientTestCase):
    """Effects of the standard output on a command, in a process of its own."""

    def run_get(self, out: int) -> tuple[int, bytes]:
        script = "import sys; from dht14.cmd.main import main; sys.exit(main())"
        with ApiServer(lambda request: encode_success(request.key, bytes(MAX_VALUE))) as node:
            command = [sys.executable, "-c", script, "get", "k", "--api-address", node.address]
            ended = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, timeout=60, check=False)
        return ended.returncode, ended.stderr

    def test_reader_has_enough(self) -> None:
        """A reader that closes the pipe early causes no error."""
        reader, writer = os.pipe()
        os.close(reader)
        self.addCleanup(os.close, writer)
        self.assertEqual(self.run_get(writer), (0, b""))

    def test_full(self) -> None:
        """A value that cannot be written is not reported as delivered."""
        full = os.open("/dev/full", os.O_WRONLY)
        self.addCleanup(os.close, full)
        code, error = self.run_get(full)
        self.assertEqual((code, error.count(b"\n")), (2, 1))

    def test_closed(self) -> None:
        """If the standard output is closed, a line says so, and not "not found"."""
        script = "import sys; from dht14.cmd.main import main; sys.exit(main())"
        with ApiServer(lambda request: encode_success(request.key, VALUE)) as node:
            command = f"exec {sys.executable} -c '{script}' get k --api-address {node.address} >&-"
            ended = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, timeout=60, check=False)
        self.assertEqual((ended.returncode, ended.stderr.count(b"\n")), (2, 1))
        self.assertIn(b"closed", ended.stderr)

    def test_terminal(self) -> None:
        """On a terminal a value ends with a newline; one that has a newline gets no second one."""
        for value, format_address in ((b"value", b"value\r\n"), (b"value\n", b"value\r\n")):
            terminal, screen = pty.openpty()
            self.addCleanup(os.close, terminal)
            script = "import sys; from dht14.cmd.main import main; sys.exit(main())"
            with ApiServer(always(encode_success(sha256("k"), value))) as node:
                command = [sys.executable, "-c", script, "get", "k", "--api-address", node.address]
                subprocess.run(command, stdout=screen, timeout=60, check=True)
            os.close(screen)
            self.assertEqual(os.read(terminal, 100), format_address)

    def test_help_to_nobody(self) -> None:
        """Help for a reader that closes the pipe causes no error either."""
        reader, writer = os.pipe()
        os.close(reader)
        self.addCleanup(os.close, writer)
        script = "import sys; from dht14.cmd.main import main; sys.exit(main())"
        for words in (["help"], ["put", "--help"], ["sim", "--list"]):
            ended = subprocess.run(
                [sys.executable, "-c", script, *words],
                stdout=writer,
                stderr=subprocess.PIPE,
                timeout=60,
                check=False,
            )
            self.assertEqual((ended.returncode, ended.stderr), (0, b""), words)

    def test_interrupted(self) -> None:
        """Ctrl-C ends a command without a traceback; with --json there is an object."""

        def interrupt(*_: object, **how: object) -> None:
            raise KeyboardInterrupt

        self.patch(api_client, "get", interrupt)
        self.assertEqual(run("get", "k"), (130, b"", ""))
        interrupted = b'{"error": "interrupted", "message": "interrupted"}\n'
        self.assertEqual(run("get", "k", "--json"), (130, interrupted, ""))

    def test_quick_start(self) -> None:
        """Commands do not import Twisted, nor, unless they sign, cryptography."""
        script = (
            "import sys, dht14.cmd.put_get, dht14.cmd.keys, dht14.cmd.owner; "
            "sys.exit(bool({'twisted', 'cryptography'} & sys.modules.keys()))"
        )
        self.assertEqual(subprocess.run([sys.executable, "-c", script], check=False).returncode, 0)


class NoNodeTests(ClientTestCase):
    def assert_no_node(self, outcome: Outcome) -> None:
        self.assertEqual((outcome.code, outcome.out, outcome.error.count("\n")), (3, b"", 1))
        self.assertIn("no node at 127.0.0.1:", outcome.error)

    def test_nobody_listens(self) -> None:
        """If nothing listens there is no node: exit code 3 and a line."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = f"127.0.0.1:{taken.getsockname()[1]}"
        self.assert_no_node(run("get", "k", "--api-address", address))

    def test_closed_without_answer(self) -> None:
        """The same if the connection is closed without an answer."""
        with ApiServer(always(b"")) as node:
            self.assert_no_node(run("put", "k", "v", "--api-address", node.address))

    def test_no_answer(self) -> None:
        """The same if no answer comes in time."""
        with (
            socket.create_server(("127.0.0.1", 0)) as silent,
            self.assertRaises(CommandError) as ended,
        ):
            api_client.ask(silent.getsockname(), Get(KEY), timeout=0.05)
        self.assertEqual(ended.exception.code, NO_NODE)
        self.assertIn("does not answer in time", str(ended.exception))

    def test_something_else(self) -> None:
        """The same if the program that answers is no node, or the answer is to another request."""
        for answer in (b"HTTP/1.1 400 Bad Request\r\n" * 1000, b"\0\0\0\0", encode_failure(bytes(32))):
            with ApiServer(always(answer)) as other:
                self.assert_no_node(run("get", "k", "--api-address", other.address))
