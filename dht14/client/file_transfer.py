"""The calls for files: between a file of this host and a node."""

import contextlib
import errno
import io
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import BinaryIO, cast

from dht14.client.arguments import check_salt, checked_hints
from dht14.client.errors import DhtError, FileFailed, NotAFile, TooLarge
from dht14.client.file_loop import FileLoop
from dht14.client.file_store import ClientStore, ValueClient
from dht14.client.file_values import (
    FetchedFile,
    FileProgress,
    FileSource,
    FileTarget,
    ReportProgress,
    StoredFile,
)
from dht14.client.part_file import PartFile
from dht14.client.plans import Owner, load_owner
from dht14.files.address import encode_link, format_address, parse_address
from dht14.files.content_store import Missing, NoManifest, StoreTrouble, TransferFailed
from dht14.files.download import FileTree, fetch, find_tree, list_keys, list_pieces
from dht14.files.manifest import PIECE_BYTES
from dht14.files.upload import FileUpload, UploadProgress


def _ignore(progress: FileProgress) -> None:
    """Report to nobody."""


async def put_file(
    client: ValueClient,
    source: FileSource,
    loop: FileLoop,
    *,
    owner: Owner | None = None,
    salt: bytes = b"",
    seq: int | None = None,
    cas: int | None = None,
    ttl: int = 0,
    replication: int = 0,
    progress: ReportProgress | None = None,
) -> StoredFile:
    """As `dht14.aio.Client.put_file`."""
    report = progress or _ignore
    checked_hints(ttl, replication)
    if owner is not None:
        # A wrong key is known before anything is stored.
        owner = load_owner(owner)
        check_salt(salt)
    with _opened(source, "rb") as file:
        total = _size_of(file)
        store = ClientStore(client, loop, ttl, replication)
        upload = FileUpload(store, lambda now: report(_upload_progress(now, total)), replication)
        try:
            key = await upload.run(_read_pieces(file, loop))
        except TransferFailed as failed:
            raise FileFailed(str(failed), upload.progress.bytes_done, total) from _origin(failed)
    done = upload.progress
    if owner is not None:
        link = encode_link(key)
        try:
            receipt = await client.put_signed(link, owner, salt, seq, cas, ttl=ttl, replication=replication)
        except DhtError as error:
            problem = f"the file is stored as {format_address(key)}, but its owner's value is not: {error}"
            raise FileFailed(problem, done.bytes_done, total) from error
        key = receipt.key
    return StoredFile(
        address=format_address(key),
        key=key,
        size=done.bytes_done,
        pieces=done.pieces_done,
        bytes_found=done.bytes_found,
        copies=done.copies,
        wanted=done.wanted,
        expires_in=done.lifetime,
    )


async def get_file(
    client: ValueClient,
    address: str,
    target: FileTarget,
    loop: FileLoop,
    *,
    max_bytes: int | None = None,
    progress: ReportProgress | None = None,
) -> FetchedFile | None:
    """As `dht14.aio.Client.get_file`."""
    store = ClientStore(client, loop)
    tree = await _find(store, parse_address(address))
    if tree is None:
        return None
    if max_bytes is not None and tree.root.size > max_bytes:
        raise TooLarge(tree.root.size, max_bytes, is_file=True)
    download = _Download(store, tree, progress or _ignore)
    try:
        if isinstance(target, str | os.PathLike) and _is_replaceable(target):
            await download.to_part_file(os.fspath(target))
        else:
            with _opened(target, "wb") as file:
                await download.to_file(file)
    except TransferFailed as failed:
        raise FileFailed(str(failed), download.bytes_done, tree.root.size) from _origin(failed)
    return FetchedFile(
        address=address, size=tree.root.size, pieces=tree.root.pieces, bytes_found=download.bytes_found
    )


async def file_keys(client: ValueClient, address: str, loop: FileLoop) -> list[bytes] | None:
    """As `dht14.aio.Client.file_keys`."""
    key = parse_address(address)
    store = ClientStore(client, loop)
    tree = await _find(store, key)
    if tree is None:
        return None
    keys = {} if tree.key == key else {key: None}
    try:
        async with aclosing(list_keys(store, tree.key, tree.root)) as found:
            keys |= {below: None async for below in found}
    except StoreTrouble as trouble:
        raise FileFailed(str(trouble), 0, tree.root.size) from trouble.__cause__
    return list(keys)


class _Download:
    """One file on its way to a file of this host."""

    def __init__(self, store: ClientStore, tree: FileTree, report: ReportProgress) -> None:
        self._store = store
        self._tree = tree
        self._report = report
        self.bytes_done = self.bytes_found = 0

    async def to_file(self, file: BinaryIO) -> None:
        """Write the pieces in order."""

        def write(piece: bytes) -> None:
            rest = memoryview(piece)
            while rest:
                # Raw files may write a part; all others write everything.
                rest = rest[file.write(rest) or 0 :]

        # What reads from a pipe may be slow for ever; nobody waits for a thread that waits for it.
        await self._fetch(0, lambda piece: self._store.loop.in_thread(write, piece))
        with contextlib.suppress(AttributeError):
            file.flush()

    async def to_part_file(self, path: str) -> None:
        """Write the pieces behind those that an earlier call has left, and give the file its name."""
        try:
            part = PartFile(path)
        except BlockingIOError:
            raise BlockingIOError(errno.EWOULDBLOCK, "another call is fetching to it", path) from None
        try:
            found = await self._check(part)
            free = part.free_bytes() - self.bytes_done
            needed = self._tree.root.size - self.bytes_done
            if free < needed:
                problem = f"{needed:,} more bytes do not fit the disk, which has {free:,} left"
                raise OSError(errno.ENOSPC, problem, path)
            await self._fetch(found, lambda piece: self._store.loop.undisturbed(part.write, piece))
            await self._store.loop.undisturbed(part.finish)
        finally:
            part.close()

    async def _check(self, part: PartFile) -> int:
        """Return how many pieces are there already, each compared with its key."""
        count = 0
        try:
            async with aclosing(list_pieces(self._store, self._tree.root)) as pieces:
                async for piece in pieces:
                    if not await self._store.loop.undisturbed(part.has_piece, piece.key, piece.size):
                        break
                    count += 1
                    self.bytes_done += piece.size
                    self.bytes_found = self.bytes_done
                    self._tell()
        except StoreTrouble as trouble:
            raise TransferFailed(str(trouble)) from trouble
        return count

    async def _fetch(self, first: int, write: Callable[[bytes], Awaitable[None]]) -> None:
        self._tell()
        async with aclosing(fetch(self._store, self._tree.root, first)) as pieces:
            async for piece in pieces:
                await write(piece)
                self.bytes_done += len(piece)
                self._tell()

    def _tell(self) -> None:
        self._report(
            FileProgress(
                bytes_done=self.bytes_done,
                bytes_total=self._tree.root.size,
                bytes_found=self.bytes_found,
                expires_in=self._tree.expires_in,
            )
        )


async def _find(store: ClientStore, key: bytes) -> FileTree | None:
    try:
        return await find_tree(store, key)
    except Missing:
        return None
    except NoManifest as flaw:
        raise NotAFile(f"what stands there is {flaw}") from None
    except TransferFailed as failed:
        raise _origin(failed) or failed from None


def _origin(failed: TransferFailed) -> BaseException | None:
    """Return the error of the client that ended a transfer; None where it was none."""
    trouble = failed.__cause__
    return trouble.__cause__ if trouble is not None else None


def _upload_progress(now: UploadProgress, total: int | None) -> FileProgress:
    return FileProgress(
        bytes_done=now.bytes_done,
        bytes_total=total,
        bytes_found=now.bytes_found,
        copies=now.copies,
        wanted=now.wanted,
        expires_in=now.lifetime,
    )


# Files of this host.


@contextmanager
def _opened(file: FileSource, mode: str) -> Iterator[BinaryIO]:
    if isinstance(file, str | os.PathLike):
        with open(file, mode, buffering=0) as opened:
            yield cast(BinaryIO, opened)
    elif not hasattr(file, "read" if mode == "rb" else "write"):
        raise TypeError(f"a file is a path or an open binary file, not {type(file).__name__}")
    elif isinstance(file, io.TextIOBase):
        raise TypeError(f"the file is open as text; open it as binary: open(…, {mode!r})")
    else:
        yield file


def _size_of(file: BinaryIO) -> int | None:
    """Return how many bytes are left to read; None if only the end shows it."""
    try:
        if not file.seekable():
            return None
        position = file.tell()
        size = file.seek(0, io.SEEK_END) - position
        file.seek(position)
    except (AttributeError, OSError):
        return None
    return max(size, 0)


def _is_replaceable(path: FileTarget) -> bool:
    """Whether a new file can take its place: not that of a device, a pipe or an empty name."""
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        return False
    return os.path.isfile(path) or not os.path.exists(path)


async def _read_pieces(file: BinaryIO, loop: FileLoop) -> AsyncIterator[bytes]:
    while piece := await loop.in_thread(_read_piece, file):
        yield piece
        if len(piece) < PIECE_BYTES:
            return


def _read_piece(file: BinaryIO) -> bytes:
    """Read a piece; less only at the end. A pipe gives what it has. Raises OSError, also where a source that
    does not wait has nothing yet: that is not its end."""
    piece = bytearray()
    while len(piece) < PIECE_BYTES and (part := file.read(PIECE_BYTES - len(piece))) != b"":
        if part is None:
            raise BlockingIOError(errno.EAGAIN, "the source is in non-blocking mode (O_NONBLOCK)")
        piece += part
    return bytes(piece)
