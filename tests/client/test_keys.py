import hashlib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from dht14.client.address import parse_address
from dht14.client.errors import BadKey
from dht14.client.keys import content_key, key_of, owner_key, text_key
from dht14.kademlia.keyspace import id_to_bytes
from dht14.records.signing import public_key_of
from tests.owners import Owner

DIGITS = "ab" * 32


def sha256(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


class KeyOfTests(SynchronousTestCase):
    """What a key can be: 32 bytes, 64 hex digits, any other text."""

    def test_bytes(self) -> None:
        """32 bytes are the key itself; other lengths are refused."""
        forms: list[Any] = [b"k" * 32, bytearray(b"k" * 32), memoryview(b"k" * 32)]
        for raw in forms:
            self.assertEqual(key_of(raw), b"k" * 32)
        for size in (0, 31, 33, 64):
            self.assertRaises(BadKey, key_of, bytes(size))

    def test_text(self) -> None:
        """64 hex digits are the key itself, any other text stands for its SHA-256; a prefix says which is
        meant."""
        for text, key in (
            (DIGITS, bytes.fromhex(DIGITS)),
            (DIGITS.upper(), bytes.fromhex(DIGITS)),
            (f"hex:{DIGITS}", bytes.fromhex(DIGITS)),
            (f"text:{DIGITS}", sha256(DIGITS)),
            ("text:text:x", sha256("text:x")),
            ("greeting", sha256("greeting")),
            ("Grüße", sha256("Grüße")),
            ("deadbeef", sha256("deadbeef")),
            ("text:", sha256("")),
        ):
            self.assertEqual(key_of(text), key, text)

    def test_looks_like_a_key(self) -> None:
        """What looks like a key, but is none, is refused with the reason: else a value would go to another
        key."""
        for text, reason, digits in (
            (DIGITS[:-1], "63 of 64", 63),
            (DIGITS + "0", "65 of 64", 65),
            (f"0x{DIGITS}", "without 0x", None),
            (f"hex:{DIGITS[:-1]}", "64 hex digits", None),
            ("", "the key is empty", None),
        ):
            error = self.assertRaises(BadKey, key_of, text)
            self.assertIn(reason, str(error))
            self.assertEqual(error.digits, digits)

    @given(st.text())
    def test_prefixed(self, text: str) -> None:
        """With `text:` before it every text is a key, surrogates of a command line included."""
        self.assertEqual(key_of(f"text:{text}"), text_key(text))
        self.assertEqual(len(text_key("\udcff")), 32)

    def test_derived(self) -> None:
        """The keys of content and of owners."""
        self.assertEqual(content_key(b"hello"), sha256("hello"))
        owner = Owner(14, b"blog")
        public_key = public_key_of(owner.private_key)
        for form in (public_key, public_key.hex()):
            self.assertEqual(owner_key(form, b"blog"), id_to_bytes(owner.key))
        for wrong in (b"x", "x", public_key.hex()[1:]):
            self.assertRaises(BadKey, owner_key, wrong)
        self.assertRaises(ValueError, owner_key, public_key, bytes(65))
        self.assertRaises(TypeError, owner_key, public_key, "salt")
        self.assertIn("public key", str(self.assertRaises(TypeError, owner_key, 7)))


class AddressTests(SynchronousTestCase):
    def test_forms(self) -> None:
        """Host names, IPv4, IPv6 in brackets."""
        for text, address in (
            ("localhost:7400", ("localhost", 7400)),
            ("127.0.0.1:1", ("127.0.0.1", 1)),
            ("[::1]:65535", ("::1", 65535)),
        ):
            self.assertEqual(parse_address(text), address)
