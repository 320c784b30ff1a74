"""Builds the manifests of a file while its pieces come, one after the other."""

import hashlib
from collections.abc import Iterator

from attrs import define, field

from dht14.files.manifest import FANOUT, PIECE_BYTES, Manifest
from dht14.kademlia.keyspace import ID_BYTES


@define
class _Level:
    """The children of the manifest that is being filled on one level."""

    keys: bytearray = field(factory=bytearray)
    size: int = 0


@define(eq=False)
class TreeBuilder:
    """The manifests of one file, of which only one of each level is in memory."""

    piece_bytes: int = PIECE_BYTES
    size: int = field(default=0, init=False)
    """Bytes of the pieces so far."""
    _levels: list[_Level] = field(factory=lambda: [_Level()], init=False)

    def add(self, key: bytes, size: int) -> Iterator[bytes]:
        """Append a piece, by its key and its length; yield the manifests that are complete now. All pieces
        but the last have `piece_bytes`."""
        self.size += size
        yield from self._append(0, key, size)

    def finish(self) -> Iterator[bytes]:
        """Yield the manifests that are left; the last one is the root."""
        level = 0
        while level + 1 < len(self._levels):
            yield from self._pass_up(level)
            level += 1
        yield self._take(level)

    def _append(self, level: int, key: bytes, size: int) -> Iterator[bytes]:
        if level == len(self._levels):
            self._levels.append(_Level())
        # Not as soon as it is full: if nothing comes behind it, it is the root.
        if len(self._levels[level].keys) == FANOUT * ID_BYTES:
            yield from self._pass_up(level)
        self._levels[level].keys += key
        self._levels[level].size += size

    def _pass_up(self, level: int) -> Iterator[bytes]:
        """Yield the manifest of this level, and enter it in the next one."""
        size = self._levels[level].size
        value = self._take(level)
        yield value
        yield from self._append(level + 1, hashlib.sha256(value).digest(), size)

    def _take(self, level: int) -> bytes:
        children = self._levels[level]
        self._levels[level] = _Level()
        return Manifest(level, self.piece_bytes, children.size, bytes(children.keys)).encode()
