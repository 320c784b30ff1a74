"""A disk, as the log of the shim describes it, and what a power cut leaves of it.

The model is as weak as POSIX allows. A write stays in memory until the file is flushed: each sector of it
may be on the disk or not, in any order, with any of the contents that it had since the last flush. A name
stays in memory until its folder is flushed. A flush of a file does not make its name durable. The size of a
file may be on the disk before its content: then there are zeros, or what the disk had there before.
"""

import os
import random
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from struct import Struct

from attrs import define, evolve, field, frozen

_HEAD = Struct("<BBHHQqI")
SECTOR = 512
PAGE = 4096


class Op(IntEnum):
    """What a record of the log describes."""

    CREATE = 1
    MAKE_FOLDER = 2
    WRITE = 3
    TRUNCATE = 4
    FLUSH = 5
    RENAME = 6
    UNLINK = 7
    REMOVE_FOLDER = 8
    MAP = 9
    UNKNOWN = 10
    MARK = 11
    """A process says something: see `expected`."""


@frozen
class Change:
    """One record."""

    op: Op
    is_flushed: bool = False
    """Whether a write is on the disk when it returns (O_DSYNC)."""
    path: str = ""
    other: str = ""
    inode: int = 0
    offset: int = 0
    data: bytes = b""

    def pack(self) -> bytes:
        """Return the record as the shim writes it."""
        path, other = self.path.encode(), self.other.encode()
        head = (self.op, self.is_flushed, len(path), len(other), self.inode, self.offset, len(self.data))
        return _HEAD.pack(*head) + path + other + self.data


def changes(log: bytes) -> Iterator[Change]:
    """Yield the records of a log."""
    at = 0
    while at < len(log):
        op, flags, path_size, other_size, inode, offset, size = _HEAD.unpack_from(log, at)
        path_at = at + _HEAD.size
        other_at = path_at + path_size
        data_at = other_at + other_size
        at = data_at + size
        path, other = log[path_at:other_at].decode(), log[other_at:data_at].decode()
        yield Change(Op(op), bool(flags), path, other, inode, offset, log[data_at:at])


@frozen
class Cut:
    """What a power cut leaves of that which was not flushed."""

    kept: float
    """The part of the sectors that are on the disk."""
    names: float
    """The part of the changes of names that are."""
    in_order: bool = False
    """Whether changes of names reach the disk in their order, as in a journal."""
    sector: int = SECTOR
    """Bytes that are written as a whole."""
    stale: bool = False
    """Whether blocks that were not written have what the disk had there before, not zeros."""


CUTS = (
    Cut(0.0, 0.0),
    Cut(0.0, 1.0),
    Cut(1.0, 0.0),
    Cut(1.0, 1.0),
    Cut(0.0, 1.0, stale=True),
    Cut(0.5, 0.5),
    Cut(0.5, 1.0, sector=PAGE),
    Cut(0.9, 0.5, in_order=True, stale=True),
    Cut(0.1, 0.5, in_order=True),
    Cut(0.5, 0.0, stale=True),
)


@define(eq=False)
class File:
    """The content of a file: what the processes see, and what is on the disk for certain."""

    seen: bytearray = field(factory=bytearray)
    flushed: bytes = b""
    unflushed: list[Change] = field(factory=list)
    """Writes and truncations since the last flush."""
    is_mapped: bool = False
    """Whether it is written through memory: then its content is anything."""

    def change(self, change: Change) -> None:
        """A process has changed it."""
        _apply(self.seen, change)
        self.unflushed.append(change)

    def flush(self) -> None:
        """All of it is on the disk."""
        self.flushed = bytes(self.seen)
        self.unflushed.clear()

    def flush_last(self) -> None:
        """The last write is on the disk: its sectors as they are seen. What came before it may not be."""
        last = self.unflushed.pop()
        begin = last.offset // SECTOR * SECTOR
        end = -(-(last.offset + len(last.data)) // SECTOR) * SECTOR
        sectors = bytes(self.seen[begin:end])
        image = bytearray(self.flushed)
        _apply(image, evolve(last, offset=begin, data=sectors))
        self.flushed = bytes(image)
        # An older write of the same sectors cannot come back.
        self.unflushed = [older for change in self.unflushed for older in _outside(change, begin, end)]

    def left_by(self, cut: Cut, rng: random.Random) -> bytes:
        """Return what is on the disk after a cut."""
        if self.is_mapped:
            return rng.randbytes(len(self.seen)) if rng.random() < 0.5 else bytes(len(self.seen))
        if not self.unflushed or cut.kept == 1.0:
            return bytes(self.seen if self.unflushed else self.flushed)
        seen, left = bytearray(self.flushed), bytearray(self.flushed)
        known = len(left)
        for change in self.unflushed:
            _apply(seen, change)
            if change.op is Op.TRUNCATE:
                if rng.random() < cut.kept:
                    _apply(left, change)
                continue
            first = change.offset // cut.sector
            last = (change.offset + len(change.data) - 1) // cut.sector
            for sector in range(first, last + 1):
                if cut.kept and rng.random() < cut.kept:
                    begin = sector * cut.sector
                    _write(left, begin, seen[begin : begin + cut.sector], rng if cut.stale else None)
        if len(left) < len(seen) and rng.random() < 0.5:
            _write(left, len(seen), b"", rng if cut.stale and known < len(seen) else None)
        return bytes(left)


def _apply(content: bytearray, change: Change) -> None:
    if change.op is Op.TRUNCATE:
        del content[change.offset :]
        content.extend(bytes(change.offset - len(content)))
    else:
        _write(content, change.offset, change.data, None)


def _write(content: bytearray, offset: int, data: bytes | bytearray, rng: random.Random | None) -> None:
    """Write; a gap before it has zeros, or anything."""
    gap = max(0, offset - len(content))
    content.extend(bytes(gap) if rng is None else rng.randbytes(gap))
    content[offset : offset + len(data)] = data


def _outside(change: Change, begin: int, end: int) -> Iterator[Change]:
    """Yield the parts of a write before and after a range."""
    if change.op is Op.TRUNCATE:
        yield change
        return
    first, last = change.offset, change.offset + len(change.data)
    if first < begin:
        yield evolve(change, data=change.data[: begin - first])
    if last > end:
        yield evolve(change, offset=max(first, end), data=change.data[max(0, end - first) :])


@define(eq=False)
class Folder:
    """The names in a folder."""

    seen: "dict[str, File | Folder]" = field(factory=dict)
    flushed: "dict[str, File | Folder]" = field(factory=dict)


@frozen(eq=False)
class Naming:
    """One change of names, which is on the disk as a whole or not at all."""

    names: "tuple[tuple[Folder, str, File | Folder | None], ...]"
    """Folder, name, and what it names now."""

    def apply(self, to: "dict[Folder, dict[str, File | Folder]]") -> None:
        """Make the change in the names of folders."""
        for folder, name, item in self.names:
            names = to.setdefault(folder, dict(folder.flushed))
            if item is None:
                names.pop(name, None)
            else:
                names[name] = item


class Disk:
    """What is below one folder, which is durable itself, as is all that was there at the beginning."""

    def __init__(self, top: str, begin: dict[str, tuple[int, bytes | None]]) -> None:
        self._top = top
        self._folder = Folder()
        self._inodes: dict[int, File | Folder] = {}
        self._unflushed: list[Naming] = []
        for path, (inode, content) in begin.items():
            item = (
                self._folder
                if path == "."
                else Folder()
                if content is None
                else File(bytearray(content), content)
            )
            self._inodes[inode] = item
            if path != ".":
                self._name((os.path.join(top, path), item))
        for item in self._inodes.values():
            self._flush(item)

    def play(self, change: Change) -> None:
        """A process has done this."""
        match change.op:
            case Op.CREATE | Op.MAKE_FOLDER:
                item = self._inodes[change.inode] = File() if change.op is Op.CREATE else Folder()
                self._name((change.path, item))
            case Op.RENAME:
                self._name((change.path, None), (change.other, self._at(change.path)))
            case Op.UNLINK | Op.REMOVE_FOLDER:
                if not change.path.endswith(".sock"):  # The system makes these, not a call of ours.
                    self._name((change.path, None))
            case Op.FLUSH:
                self._flush(self._inodes[change.inode])
            case Op.WRITE | Op.TRUNCATE | Op.MAP:
                file = self._inodes[change.inode]
                assert isinstance(file, File)
                self._change(file, change)
            case Op.UNKNOWN:
                raise AssertionError(f"the model knows no {change.path} {change.other}")

    def _change(self, file: File, change: Change) -> None:
        if change.op is Op.MAP:
            file.is_mapped = True
            return
        file.change(change)
        if change.is_flushed:
            self.settle(change)

    def settle(self, change: Change) -> None:
        """A write that is flushed has returned."""
        file = self._inodes[change.inode]
        assert isinstance(file, File)
        file.flush_last()

    def _flush(self, item: File | Folder) -> None:
        if isinstance(item, File):
            item.flush()
            return
        later = []
        for naming in self._unflushed:
            if any(folder is item for folder, _, _ in naming.names):
                for folder, names in self._applied([naming]).items():
                    folder.flushed = names
            else:
                later.append(naming)
        self._unflushed = later

    def _applied(self, namings: list[Naming]) -> "dict[Folder, dict[str, File | Folder]]":
        changed: dict[Folder, dict[str, File | Folder]] = {}
        for naming in namings:
            naming.apply(changed)
        return changed

    def _name(self, *changed: "tuple[str, File | Folder | None]") -> None:
        names = []
        for path, item in changed:
            folder, name = self._at(os.path.dirname(path)), os.path.basename(path)
            assert isinstance(folder, Folder)
            names.append((folder, name, item))
            if item is None:
                del folder.seen[name]
            else:
                folder.seen[name] = item
        self._unflushed.append(Naming(tuple(names)))

    def _at(self, path: str) -> File | Folder:
        item: File | Folder = self._folder
        for name in Path(path).relative_to(self._top).parts:
            assert isinstance(item, Folder)
            item = item.seen[name]
        return item

    # what is there

    def seen(self) -> dict[str, bytes | None]:
        """Return the content of each file by path, None of a folder, as the processes see them."""
        found = _tree(self._folder, "", lambda folder: folder.seen)
        return {path: bytes(item.seen) if isinstance(item, File) else None for path, item in found}

    def mapped(self) -> set[str]:
        """Return the paths of files that are written through memory."""
        found = _tree(self._folder, "", lambda folder: folder.seen)
        return {path for path, item in found if isinstance(item, File) and item.is_mapped}

    def left_by(self, cut: Cut, rng: random.Random) -> dict[str, bytes | None]:
        """Return the same as a power cut leaves it."""
        chosen = [naming for naming in self._unflushed if cut.names and rng.random() < cut.names]
        if cut.in_order:
            chosen = self._unflushed[: len(chosen)]
        names = self._applied(chosen)
        found = _tree(self._folder, "", lambda folder: names.get(folder, folder.flushed))
        return {path: item.left_by(cut, rng) if isinstance(item, File) else None for path, item in found}

    def is_certain(self) -> bool:
        """Whether a cut leaves all that is seen."""
        files = [item for _, item in _tree(self._folder, "", lambda folder: folder.seen)]
        dirty = any(isinstance(item, File) and item.unflushed for item in files)
        return not self._unflushed and not dirty


def _tree(folder: Folder, prefix: str, names_in) -> "Iterator[tuple[str, File | Folder]]":
    for name, item in names_in(folder).items():
        yield prefix + name, item
        if isinstance(item, Folder):
            yield from _tree(item, prefix + name + "/", names_in)


def make(files: dict[str, bytes | None], folder: Path) -> None:
    """Write files and folders, each folder before what is in it."""
    folder.mkdir()
    for path, content in files.items():
        if content is None:
            (folder / path).mkdir(mode=0o700)
        else:
            (folder / path).write_bytes(content)


def content_of(folder: Path) -> dict[str, bytes | None]:
    """Return what is in a folder, as `Disk.seen`."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
        if not path.is_socket()
    }


def inodes_in(folder: Path) -> dict[str, tuple[int, bytes | None]]:
    """Return inode and content of a folder and all that is in it, by path."""
    contents: dict[str, bytes | None] = {".": None, **content_of(folder)}
    return {path: ((folder / path).stat().st_ino, content) for path, content in contents.items()}
