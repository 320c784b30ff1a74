"""Which records of files name which others: what tells the parts that several files share."""

from dht14.errors import Malformed
from dht14.files.address import decode_link
from dht14.files.manifest import decode_any
from dht14.kademlia.keyspace import ID_BYTES

_OVERHEAD = range(19, 30)
"""Bytes of a manifest without its keys."""


def may_be_manifest(size: int) -> bool:
    """Return whether a value of this many bytes can be a manifest. A whole piece cannot."""
    return size % ID_BYTES in _OVERHEAD


def keys_named(value: bytes, is_link: bool) -> list[bytes]:
    """Return the keys that a manifest names, or with `is_link` the payload of an owner's value; none if it is
    neither manifest nor link."""
    try:
        if is_link:
            return [decode_link(value)]
        manifest = decode_any(value)
    except Malformed:
        return []
    return [manifest.key(number) for number in range(len(manifest))]
