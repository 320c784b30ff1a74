import hashlib
import json
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from dht14.cmd.command_error import CommandError
from dht14.cmd.keys import parse_key
from dht14.kademlia.keyspace import id_to_bytes
from dht14.records.signing import public_key_of
from dht14.wire.api_messages import GetRecord
from tests.cmd.api_server import ApiServer
from tests.cmd.shell import run
from tests.owners import Owner

DIGITS = "ab" * 32


def sha256(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


class KeyOfTests(SynchronousTestCase):
    """The key that a KEY stands for."""

    def test_forms(self) -> None:
        """64 hex digits are the key itself, another text stands for its SHA-256; a prefix decides."""
        for typed, key in (
            (DIGITS, bytes.fromhex(DIGITS)),
            (DIGITS.upper(), bytes.fromhex(DIGITS)),
            (f"hex:{DIGITS}", bytes.fromhex(DIGITS)),
            (f"text:{DIGITS}", sha256(DIGITS)),
            (f"text:{DIGITS[:-1]}", sha256(DIGITS[:-1])),
            ("text:text:x", sha256("text:x")),
            ("greeting", sha256("greeting")),
            ("deadbeef", sha256("deadbeef")),
            ("text:", sha256("")),
        ):
            self.assertEqual(parse_key(typed), key, typed)

    def test_looks_like_a_key(self) -> None:
        """A text like a key is refused with the reason: otherwise its value would go to another key."""
        for typed, reason in (
            (DIGITS[:-1], "63 of 64"),
            (DIGITS + "0", "65 of 64"),
            (f"0x{DIGITS}", "without 0x"),
            ("0xCAFE", "without 0x"),
            (f"hex:{DIGITS[:-1]}", "64 hex digits"),
            ("hex:greeting", "64 hex digits"),
            ("", "the key is empty"),
        ):
            end = self.assertRaises(CommandError, parse_key, typed)
            self.assertEqual((end.code, end.error), (2, "bad_key"))
            self.assertIn(reason, str(end))


class KeyTests(SynchronousTestCase):
    """`dht14 key`"""

    def test_text(self) -> None:
        """Any text has a key, whatever it looks like."""
        for text in ("greeting", DIGITS):
            self.assertEqual(run("key", "--text", text), (0, sha256(text).hex().encode() + b"\n", ""))

    def test_content(self) -> None:
        """The key of a value, typed or in a file, is the one that put --content prints."""
        path = Path(self.mktemp())
        path.write_bytes(b"hello")
        for words in (("hello",), ("--file", str(path))):
            self.assertEqual(run("key", "--content", *words).out.strip(), sha256("hello").hex().encode())

    def test_owner(self) -> None:
        """The key of an owner, with and without a salt, is the one that put --sign prints."""
        for salt, words in ((b"", ()), (b"blog", ("--salt", "blog"))):
            owner = Owner(14, salt)
            key = id_to_bytes(owner.key).hex().encode()
            public_key = public_key_of(owner.private_key).hex()
            self.assertEqual(run("key", "--owner", public_key, *words), (0, key + b"\n", ""))

    def test_json(self) -> None:
        """--json prints an object."""
        self.assertEqual(json.loads(run("key", "--text", "k", "--json").out), {"key": sha256("k").hex()})

    def test_wrong_usage(self) -> None:
        """Options that exclude each other are wrong usage."""
        for words in (
            (),
            ("--text", "a", "--content"),
            ("--text", "a", "value"),
            ("--text", "a", "--salt", "s"),
            ("--content",),
            ("--owner", "00"),
            ("--owner", DIGITS, "--salt", "s" * 65),
        ):
            outcome = run("key", *words)
            self.assertEqual((outcome.code, outcome.out), (2, b""), words)


class GetOwnerTests(SynchronousTestCase):
    def test_owner(self) -> None:
        """Owner and salt are enough to get a value, without its key."""
        owner = Owner(14, b"blog")
        with ApiServer() as node:
            words = ("--owner", public_key_of(owner.private_key).hex(), "--salt", "blog")
            self.assertEqual(run("get", *words, "--api-address", node.address).code, 1)
        self.assertEqual(node.requests, [GetRecord(id_to_bytes(owner.key))])

    def test_wrong_usage(self) -> None:
        """KEY and --owner exclude each other, and so do KEY and --salt."""
        for words in (("k", "--owner", DIGITS), ("k", "--salt", "s"), ()):
            self.assertEqual(run("get", *words, "--api-address", "127.0.0.1:1").code, 2)
