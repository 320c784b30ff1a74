"""What the calls for files return and report."""

import os
from collections.abc import Callable
from typing import BinaryIO, Union

from attrs import field, frozen

FileSource = Union[str, "os.PathLike[str]", BinaryIO]
"""Where a file is read from: its path, or an open binary file, which is read to its end."""

FileTarget = Union[str, "os.PathLike[str]", BinaryIO]
"""Where a file is written to: its path, or an open binary file, which gets the bytes in order."""


@frozen(kw_only=True)
class FileProgress:
    """How far a call for a file has come."""

    bytes_done: int
    bytes_total: int | None
    """None where it is not known, as of a pipe."""
    bytes_found: int = 0
    """Those of `bytes_done` that were there before: of a put in the network, of a get on the disk."""
    copies: int | None = None
    """Of a put: copies of the piece that has fewest."""
    wanted: int | None = None
    """Of a put: copies that were asked for."""
    expires_in: int | None = None
    """Seconds after which the file expires, as far as the node says so."""


ReportProgress = Callable[[FileProgress], None]


@frozen(kw_only=True)
class StoredFile:
    """A file that is stored."""

    address: str
    """`dht14:` and 64 hex digits."""
    key: bytes = field(repr=bytes.hex)
    """The key in the address: of the root manifest, or of the owner's value that names it."""
    size: int
    """Bytes."""
    pieces: int
    bytes_found: int
    """Bytes that were in the network before."""
    copies: int | None
    """Nodes that have the piece which the fewest have; None where the node does not say so."""
    wanted: int | None
    """Nodes that were asked for."""
    expires_in: int | None
    """Seconds for which the file is kept, unless it is put again."""


@frozen(kw_only=True)
class FetchedFile:
    """A file that was fetched."""

    address: str
    size: int
    """Bytes."""
    pieces: int
    bytes_found: int
    """Bytes that an earlier call had left on the disk."""
