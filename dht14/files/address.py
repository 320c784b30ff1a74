"""The address of a file, `dht14:` and 64 hex digits, and the link by which an owner's value names a file.

The key in an address is that of the root manifest; or that of an owner's value, whose payload is then a link:
the CBOR array `["dht14/link", 1, key of the root manifest]` in its shortest form.
"""

import re

from dht14.errors import Malformed
from dht14.kademlia.keyspace import ID_BYTES

SCHEME = "dht14:"

_HEADER = b"\x83\x6adht14/link\x01\x58\x20"
"""What a link begins with. There are no others, so nothing is decoded; clients load no decoder for it."""

_MANIFEST = b"\x86\x6adht14/file\x01"
"""What a manifest begins with."""


def format_address(key: bytes) -> str:
    """Return the address of the file under this key."""
    return SCHEME + key.hex()


def parse_address(text: str) -> bytes:
    """Return the key in an address. Raises ValueError, TypeError."""
    if not isinstance(text, str):
        raise TypeError(
            f"the address of a file is {SCHEME} and {2 * ID_BYTES} hex digits, as str, "
            f"not {type(text).__name__}"
        )
    if not re.fullmatch(f"{SCHEME}[0-9A-Fa-f]{{{2 * ID_BYTES}}}", text):
        raise ValueError(f"the address of a file is {SCHEME} and {2 * ID_BYTES} hex digits, not {text!r}")
    return bytes.fromhex(text.removeprefix(SCHEME))


def encode_link(key: bytes) -> bytes:
    """Return the payload that names the file under this key."""
    return _HEADER + key


def is_link(payload: bytes) -> bool:
    """Whether an owner's payload names a file."""
    return payload.startswith(_HEADER) and len(payload) == len(_HEADER) + ID_BYTES


def looks_like_manifest(value: bytes) -> bool:
    """Whether a content value rather is the list of a file's pieces than what a user put."""
    return value.startswith(_MANIFEST)


def decode_link(payload: bytes) -> bytes:
    """Return the key of the root manifest. Raises `Malformed`."""
    if not is_link(payload):
        raise Malformed("not the link to a file")
    return payload[len(_HEADER) :]
