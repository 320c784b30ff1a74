"""Stores a file: cuts nothing and reads nothing itself, but takes pieces as they come."""

import hashlib
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import aclosing
from functools import partial
from typing import Any

from attrs import define, evolve, field, frozen

from dht14.files.content_store import (
    WINDOW,
    ContentStore,
    Copies,
    StoreTrouble,
    TransferFailed,
    in_order,
    try_often,
)
from dht14.files.tree import TreeBuilder
from dht14.files.window import Window
from dht14.kademlia.parameters import GROUP

REUSE = 0.9
"""A piece that is found stays as it is if this part of its time to live is left. Otherwise it is stored
again, so that no piece of a file expires long before the others."""


@frozen
class UploadProgress:
    """How far an upload has come."""

    bytes_done: int = 0
    pieces_done: int = 0
    bytes_found: int = 0
    """Those of `bytes_done` that were there already."""
    copies: int | None = None
    """Of the piece that has fewest; None where the node does not say so, as of pieces that were found and not
    stored again."""
    wanted: int | None = None
    """Copies that were asked for."""
    lifetime: int | None = None
    """Seconds after which what was stored first expires, unless it is put again."""


@frozen
class _Stored:
    """One piece or manifest that is stored."""

    value: bytes
    is_piece: bool
    copies: Copies | None
    """None: it was found, and not stored again."""
    was_missing: bool = False
    """Whether it is a piece that an earlier upload has not stored, as far as is known."""


@define(eq=False)
class FileUpload:
    """One file on its way into the network.

    Nobody tells an upload what an earlier one of the same file has stored. So it looks for the pieces first,
    which costs a tenth of storing them, until it misses one. A piece that is found may be on fewer nodes than
    wanted if the earlier upload ended while it was under way. Those are among the last `WINDOW` before the
    first one that is missing, and what follows it: they are stored again.
    """

    _store: ContentStore
    _report: Callable[[UploadProgress], None]
    _replication: int = 0
    """Copies that are asked for; 0: as many as the node makes."""
    progress: UploadProgress = field(factory=UploadProgress, init=False)
    _window: Window = field(factory=Window, init=False)
    _tree: TreeBuilder = field(factory=TreeBuilder, init=False)
    _root: bytes = field(default=b"", init=False)
    _looks_first: bool = field(default=False, init=False)
    """Until the first piece is missing: those that are asked for by then may still be found behind it."""
    _has_missed: bool = field(default=False, init=False)
    _has_unknown: bool = field(default=False, init=False)
    """Whether there are pieces of which it is not known how many copies they have."""
    _doubtful: deque[bytes] = field(factory=lambda: deque(maxlen=WINDOW), init=False)

    async def run(self, pieces: AsyncIterator[bytes]) -> bytes:
        """Store a file, its root last: where the root is, all is. Return the key of the root.

        All pieces but the last have `PIECE_BYTES`. Raises `TransferFailed`.
        """
        try:
            async with aclosing(self._in_order(self._jobs(pieces))) as results:
                async for stored in results:
                    await self._account(stored)
            await self._settle_doubts()
            await self._copies_of(self._root)
            key = hashlib.sha256(self._root).digest()
            await self._look_at_root(key)
        except StoreTrouble as trouble:
            raise TransferFailed(str(trouble)) from trouble
        return key

    async def _jobs(self, pieces: AsyncIterator[bytes]) -> AsyncGenerator[Coroutine[Any, Any, _Stored], None]:
        async for piece in pieces:
            key = hashlib.sha256(piece).digest()
            yield self._keep_piece(key, piece) if self._tree.size else await self._put_first(key, piece)
            for manifest in self._tree.add(key, len(piece)):
                yield self._put(manifest, is_piece=False)
        *others, self._root = self._tree.finish()
        for manifest in others:
            yield self._put(manifest, is_piece=False)

    async def _put_first(self, key: bytes, piece: bytes) -> Coroutine[Any, Any, _Stored]:
        """Store the first piece before all others: it shows what the node makes of them."""
        copies = await self._copies_of(piece)
        found = await try_often(self._store, lambda: self._store.find(key, True))
        lifetime = found.expires_in if found is not None else None
        # Where more copies are asked for than all records have, nobody says how many a found piece has.
        self._looks_first = self._replication <= GROUP and lifetime is not None
        self.progress = evolve(self.progress, copies=copies.stored, wanted=copies.wanted, lifetime=lifetime)
        self._report(self.progress)
        return _done(_Stored(piece, True, copies))

    async def _look_at_root(self, key: bytes) -> None:
        """Say how long the file lives, and on how many nodes it is. Its first piece may live longer: another
        file may have it."""
        try:
            found = await self._store.find(key, True)
        except StoreTrouble:
            found = None  # It is stored all the same.
        root_lifetime = found.expires_in if found is not None else None
        self.progress = evolve(
            self.progress,
            copies=None if self._has_unknown else self.progress.copies,
            lifetime=_least(root_lifetime, self.progress.lifetime),
        )

    async def _keep_piece(self, key: bytes, piece: bytes) -> _Stored:
        if self._looks_first:
            find = partial(self._store.find, key, True)
            found = await try_often(self._store, lambda: self._window.watch(find()))
            least = REUSE * (self.progress.lifetime or 0)
            if found is not None and found.expires_in is not None and found.expires_in >= least:
                return _Stored(piece, True, None)
            self._looks_first = False
        stored = await self._put(piece, is_piece=True)
        return evolve(stored, was_missing=True)

    async def _put(self, value: bytes, is_piece: bool) -> _Stored:
        return _Stored(value, is_piece, await self._copies_of(value))

    async def _copies_of(self, value: bytes) -> Copies:
        """Store a value, in several attempts where it must be, and return how many copies there are."""
        return await try_often(self._store, lambda: self._window.watch(self._store.put(value)))

    def _in_order(
        self, jobs: AsyncGenerator[Coroutine[Any, Any, _Stored], None]
    ) -> AsyncGenerator[_Stored, None]:
        return in_order(self._store, jobs, lambda: self._window.size)

    async def _account(self, stored: _Stored) -> None:
        progress = self.progress
        if stored.is_piece:
            progress = evolve(
                progress,
                bytes_done=progress.bytes_done + len(stored.value),
                pieces_done=progress.pieces_done + 1,
                bytes_found=progress.bytes_found + len(stored.value) * (stored.copies is None),
            )
        if stored.copies is None:
            # The first of them is not stored again, and nobody says on how many nodes it is.
            self._has_unknown |= len(self._doubtful) == WINDOW
            self._doubtful.append(stored.value)
        else:
            progress = evolve(progress, copies=_least(progress.copies, stored.copies.stored))
        self.progress = progress
        if stored.was_missing and not self._has_missed:
            self._has_missed = True
            await self._settle_doubts()
        self._report(self.progress)

    async def _settle_doubts(self) -> None:
        async def jobs() -> AsyncGenerator[Coroutine[Any, Any, _Stored], None]:
            while self._doubtful:
                yield self._put(self._doubtful.popleft(), is_piece=True)

        async with aclosing(self._in_order(jobs())) as results:
            async for stored in results:
                assert stored.copies is not None
                copies = _least(self.progress.copies, stored.copies.stored)
                self.progress = evolve(self.progress, copies=copies)


async def _done(stored: _Stored) -> _Stored:
    return stored


def _least(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else min(one, other)
