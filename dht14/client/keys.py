"""What a key can be: 32 bytes, 64 hex digits, or any text, whose SHA-256 is the key."""

import hashlib
import re
from typing import TypeVar

from dht14.client.arguments import check_salt
from dht14.client.errors import BadKey
from dht14.files.address import SCHEME, parse_address
from dht14.kademlia.keyspace import ID_BYTES, id_to_bytes
from dht14.records.envelope import OWNER_KEY_BYTES, key_of_owner

Key = bytes | str
"""A key as users write it."""

KeyT = TypeVar("KeyT", bytes, str, bytes | str)
"""The same where keys are those of a mapping: a mapping of texts is no mapping of texts and bytes."""

KEY_DIGITS = 2 * ID_BYTES

KEY_LIKE_DIGITS = 50
"""This many hex digits and nothing else are hardly meant as a text."""


def key_of(key: Key) -> bytes:
    """Return the 32 bytes of a key: given as 32 bytes, as 64 hex digits, or as the address of a file; of any
    other text, its SHA-256.

    `hex:` or `text:` before a text says which is meant. Raises `BadKey` for an empty text, for what looks
    like a key in hex and is none (the value would go to another key), and for bytes of another length.
    """
    if isinstance(key, str):
        return _key_of_text(key)
    if not isinstance(key, bytes | bytearray | memoryview):
        raise TypeError(f"a key is bytes or str, not {type(key).__name__}")
    raw = bytes(key)
    if len(raw) != ID_BYTES:
        raise BadKey(f"a key of bytes has {ID_BYTES}, and this has {len(raw)}; a text of any length is a str")
    return raw


def _key_of_text(text: str) -> bytes:
    if not text:
        # More likely a variable of a script that was never set than a key.
        raise BadKey("the key is empty; if the empty text is meant, write text:")
    if text.startswith("text:"):
        return text_key(text.removeprefix("text:"))
    if text.startswith("hex:"):
        return from_hex(text.removeprefix("hex:"), "a key")
    if text.startswith(SCHEME):
        try:
            return parse_address(text)
        except ValueError as error:
            raise BadKey(f"{error}; if the text is meant, write text:{text}") from None
    if re.fullmatch(f"[0-9A-Fa-f]{{{KEY_DIGITS}}}", text):
        return bytes.fromhex(text)
    if re.fullmatch("0[xX][0-9A-Fa-f]+", text):
        raise BadKey(f"write a key without 0x; if the text is meant, write text:{text}")
    if re.fullmatch(f"[0-9A-Fa-f]{{{KEY_LIKE_DIGITS},}}", text):
        raise BadKey(
            f"this looks like a key, but has {len(text)} of {KEY_DIGITS} hex digits; if the text is meant, "
            f"write text:{text}",
            len(text),
        )
    return text_key(text)


def text_key(text: str) -> bytes:
    """Return the SHA-256 of a text. Bytes of a command line that are not UTF-8 count as they were typed."""
    return content_key(text.encode("utf-8", "surrogateescape"))


def content_key(value: bytes) -> bytes:
    """Return the key of a value that is stored by content: its SHA-256."""
    return hashlib.sha256(value).digest()


def owner_key(public_key: bytes | str, salt: bytes = b"") -> bytes:
    """Return the key of an owner's value. `public_key` has 32 bytes or 64 hex digits, `salt` up to 64 bytes.

    Raises `BadKey` for another public key, ValueError for a longer salt.
    """
    if isinstance(public_key, str):
        public_key = from_hex(public_key, "an owner", OWNER_KEY_BYTES)
    if not isinstance(public_key, bytes | bytearray | memoryview):
        raise TypeError(
            f"a public key is {OWNER_KEY_BYTES} bytes, as of public_bytes_raw(), or hex digits, "
            f"not {type(public_key).__name__}"
        )
    if len(public_key) != OWNER_KEY_BYTES:
        raise BadKey(f"a public key has {OWNER_KEY_BYTES} bytes; this has {len(public_key)}")
    return id_to_bytes(key_of_owner(public_key, check_salt(salt)))


def from_hex(digits: str, what: str, size: int = ID_BYTES) -> bytes:
    """Return `size` bytes that are written as hex digits. Raises `BadKey`, which names `what`."""
    if not re.fullmatch(f"[0-9A-Fa-f]{{{2 * size}}}", digits):
        raise BadKey(f"{what} has {2 * size} hex digits, and this has not: {digits!r}")
    return bytes.fromhex(digits)
