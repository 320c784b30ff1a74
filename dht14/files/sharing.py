"""Which values of a file other files have, too: equal pieces, and equal parts, stand under one key."""

from collections import deque
from collections.abc import Callable, Collection, Iterable

from dht14.errors import Malformed
from dht14.files.manifest import decode_any
from dht14.kademlia.keyspace import ID_BYTES

_OVERHEAD = range(19, 30)
"""Bytes of a manifest without its keys."""


def may_be_manifest(size: int) -> bool:
    """Return whether a value of this many bytes can be a manifest. A whole piece cannot."""
    return size % ID_BYTES in _OVERHEAD


def shared_keys(
    leaving: Collection[bytes], manifests: Collection[bytes], value_of: Callable[[bytes], bytes]
) -> set[bytes]:
    """Return those of the keys `leaving` that a manifest names which does not leave, or that are below such
    a one.

    `manifests` are the keys of all values that may be manifests; `value_of` returns one of these, and is
    called once for each, at most.
    """
    shared: set[bytes] = set()
    waiting = deque(key for key in manifests if key not in leaving)
    while waiting:
        new = {key for key in _children(value_of(waiting.popleft())) if key in leaving} - shared
        shared |= new
        waiting.extend(key for key in new if key in manifests)
    return shared


def _children(value: bytes) -> Iterable[bytes]:
    try:
        manifest = decode_any(value)
    except Malformed:
        return []
    return [manifest.key(number) for number in range(len(manifest))]
