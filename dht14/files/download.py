"""Fetches a file: its root, its pieces in order with many of them asked for ahead, and all its keys."""

from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from typing import Any

from attrs import frozen

from dht14.errors import Malformed
from dht14.files.address import decode_link
from dht14.files.content_store import (
    ContentStore,
    FoundValue,
    Hope,
    Missing,
    NoManifest,
    StoreTrouble,
    TransferFailed,
    ValueKind,
    in_order,
    try_often,
)
from dht14.files.manifest import Manifest, capacity, decode_root


@frozen
class Piece:
    """One piece of a file, by what the manifests say of it."""

    number: int
    key: bytes
    size: int


@frozen
class FileTree:
    """A file that was found."""

    key: bytes
    """Of its root; not that of the owner's value which named it."""
    root: Manifest
    expires_in: int | None
    """Seconds that the root has left; None where the node does not say so."""


async def find_tree(store: ContentStore, key: bytes) -> FileTree:
    """Find the file under a key, or the one that the owner's value there names.

    Raises `Missing`, `NoManifest`, `TransferFailed`.
    """
    try:
        found = await try_often(store, lambda: store.find(key, False))
        if found is not None and found.kind is ValueKind.OWNER:
            key = decode_link(found.value)
            found = await try_often(store, lambda: _find_content(store, key))
        elif found is None or found.kind is ValueKind.OPEN:
            # An open value may stand in front of content where few of its holders answer. But the address is
            # rather wrong than its holders late: a second look is enough, without pauses.
            found = await try_often(store, lambda: store.find(key, True))
            if found is None:
                raise Missing
        return FileTree(key, decode_root(found.value), found.expires_in)
    except Malformed as flaw:
        raise NoManifest(str(flaw)) from None
    except Missing:
        raise
    except StoreTrouble as trouble:
        raise TransferFailed(str(trouble)) from trouble


async def fetch(store: ContentStore, root: Manifest, first: int = 0) -> AsyncGenerator[bytes, None]:
    """Yield the pieces of a file in order, from number `first` on, each verified. Close the generator if it
    is left early. Raises `TransferFailed`."""

    async def jobs() -> AsyncGenerator[Coroutine[Any, Any, bytes], None]:
        async for piece in list_pieces(store, root, first):
            yield _fetch_piece(store, piece)

    try:
        async with aclosing(in_order(store, jobs())) as values:
            async for value in values:
                yield value
    except StoreTrouble as trouble:
        raise TransferFailed(str(trouble)) from trouble


async def list_pieces(
    store: ContentStore, manifest: Manifest, first: int = 0, before: int = 0
) -> AsyncGenerator[Piece, None]:
    """Yield what a manifest and those below it say of their pieces, from number `first` on. `before` other
    pieces of the file precede them. Raises `StoreTrouble`."""
    full = capacity(manifest.level - 1, manifest.piece_bytes) // manifest.piece_bytes
    for number in range(first // full, len(manifest)):
        if not manifest.level:
            yield Piece(before + number, manifest.key(number), manifest.size_of(number))
            continue
        child = await _child(store, manifest, number)
        skipped = max(first - number * full, 0)
        async for piece in list_pieces(store, child, skipped, before + number * full):
            yield piece


async def list_keys(
    store: ContentStore, key: bytes, manifest: Manifest, walked: set[tuple[bytes, int]] | None = None
) -> AsyncGenerator[bytes, None]:
    """Yield the keys of all records below a manifest, its own first. A piece that a file has twice can be
    named twice. Raises `StoreTrouble`.

    A manifest that stands in several places is walked once: equal parts of a file have one. Otherwise four
    manifests that each name one child 2,040 times, an exabyte, would never end. `walked` has those so far.
    """
    # With the size: in a place where another one is due, a manifest does not fit.
    walked = {(key, manifest.size)} if walked is None else walked
    yield key
    for number in range(len(manifest)):
        if not manifest.level:
            yield manifest.key(number)
            continue
        place = (manifest.key(number), manifest.size_of(number))
        if place not in walked:
            walked.add(place)
            child = await _child(store, manifest, number)
            async for below in list_keys(store, manifest.key(number), child, walked):
                yield below


async def _child(store: ContentStore, manifest: Manifest, number: int) -> Manifest:
    found = await try_often(store, lambda: _find_content(store, manifest.key(number)))
    try:
        return manifest.decode_child(number, found.value)
    except Malformed as flaw:
        raise StoreTrouble(str(flaw), Hope.NONE) from flaw


async def _fetch_piece(store: ContentStore, piece: Piece) -> bytes:
    found = await try_often(store, lambda: _find_content(store, piece.key))
    if len(found.value) != piece.size:
        raise StoreTrouble("a piece has another length than its manifest says", Hope.NONE)
    return found.value


async def _find_content(store: ContentStore, key: bytes) -> FoundValue:
    found = await store.find(key, True)
    if found is None:
        raise Missing
    return found
