"""Faults of a node that lose data in a power cut: the check must find each of them."""

from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import lmdb

from dht14.app import data_dir, database_dir
from dht14.database import fsync, tables, writer_thread
from dht14.database.eviction import Eviction
from dht14.database.group_commit import GroupCommit


def _replace(name: str, by: Any, *modules: ModuleType) -> None:
    for module in modules:
        setattr(module, name, by)


class _Lmdb:
    """The module with another `open`."""

    def __init__(self, open: Callable[..., Any]) -> None:
        self.open = open

    def __getattr__(self, name: str) -> Any:
        return getattr(lmdb, name)


def _without(**options: Any) -> Callable[[], None]:
    """Open every database with these options of LMDB."""

    def mutate() -> None:
        _replace("lmdb", _Lmdb(partial(lmdb.open, **options)), tables)

    return mutate


def _unflushed_start() -> None:
    """Do not flush what an earlier process has left in memory."""
    real = lmdb.open

    class Environment:
        """An open database that is not flushed on request."""

        def __init__(self, environment: Any) -> None:
            self._environment = environment

        def __getattr__(self, name: str) -> Any:
            return getattr(self._environment, name)

        def sync(self, force: bool) -> None:
            """Do nothing."""

    _replace("lmdb", _Lmdb(lambda *words, **given: Environment(real(*words, **given))), tables)


def _early() -> None:
    """Acknowledge a record before its transaction."""
    put = GroupCommit.put

    def early_put(self, slot, record, entry, growth, on_verdict, verdict):
        on_verdict(verdict)
        put(self, slot, record, entry, growth, lambda verdict: None, verdict)

    GroupCommit.put = early_put  # type: ignore[method-assign]


def _unflushed_files() -> None:
    """Rename a new file before its content is flushed."""
    replace = data_dir.replace_file

    def unflushed(path: str, content: bytes, *, durable: bool) -> None:
        replace(path, content, durable=False)

    _replace("replace_file", unflushed, data_dir, database_dir)


def _unflushed_names() -> None:
    """Flush no folder."""
    _replace("fsync_folder", lambda path: None, data_dir, database_dir, fsync, writer_thread)


def _forgotten_floors() -> None:
    """Leave no floor when a record expires: an older copy comes back."""
    Eviction._floor_left_by = lambda self, slot, record, now: None  # type: ignore[method-assign]


_PUTS = ("put_some", "put_owned", "renew", "wait")
_TIDY = (*_PUTS, "keep", "tidy")
MUTANTS: dict[str, tuple[Callable[[], None], tuple[str, ...]]] = {
    "none": (lambda: None, ()),
    "no-flush": (_without(sync=False), _TIDY),
    "no-flush-of-meta-pages": (_without(metasync=False), _TIDY),
    "no-flush-at-start": (_unflushed_start, ("put_some",)),
    "early-receipts": (_early, _PUTS),
    "files-not-flushed": (_unflushed_files, _TIDY),
    "names-not-flushed": (_unflushed_names, _TIDY),
    "forgotten-floors": (_forgotten_floors, ("put_some", "put_owned", "pass_time")),
}
"""By name: what changes the code of this process, and what a life does in which it shows. The first has no
fault, and does everything."""
