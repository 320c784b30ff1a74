"""The files on the list of kept values: a part stays there while a kept file has it.

A client keeps the address of a file (`KeptBy.FILE`), then all records below it (`KeptBy.PART`). When an
address is let go, or its owner's value names another file, some parts belong to no kept file any more. A
search from all addresses that are kept, along the manifests on the list, finds which stay; the others leave.

A record comes on the list after one that names it. So a search that begins while no client is keeping finds
all parts of each file, and what comes after its beginning stays.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from attrs import define, evolve, field, frozen
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from dht14.errors import Dht14Error, Malformed
from dht14.files.sharing import keys_named, may_be_manifest
from dht14.kademlia.keyspace import id_from_bytes
from dht14.maintenance.kept_changes import KeptChanges
from dht14.records.envelope import decode
from dht14.records.kept import KeepRefusal, KeptBy, KeptEntry, KeptList, KeptState
from dht14.records.record import Kind

PAGE = 100
"""Entries that are opened, or changed, before the reactor does other work: about a millisecond."""

WAIT, LOOK = 5.0, 0.1
"""Seconds that a client who lets a file go waits for others that are keeping, and between two looks."""

PAUSE = 60.0
"""Seconds until a search that could not read all of the list is made again."""

_OF_FILES = KeptBy.FILE | KeptBy.PART


class _Unknown(Dht14Error):
    """The list cannot be read completely now, or has changed meanwhile."""


@frozen
class UnkeptFile:
    """What became of the records of a file that was let go."""

    ended: int = 0
    """Those that left the list."""
    shared: int = 0
    """Those that other kept files have, too."""
    by_key: int = 0
    """Those that are kept by their own keys."""
    is_known: bool = True
    """Whether this is all. Otherwise the rest leaves when the whole list can be read."""


@frozen
class _Records:
    """The records of files on a list, by their keys."""

    files: set[int]
    """Addresses that are kept."""
    parts: set[int]
    """All others."""
    naming: set[int]
    """Of both, those that may name others."""


@define(eq=False)
class KeptFiles:
    """The files on the list of one node."""

    _kept: KeptList
    _changes: KeptChanges
    _clock: IReactorTime
    _keeping: int = field(default=0, init=False)
    """Records of files that clients are keeping now."""
    _kept_since: set[int] = field(factory=set, init=False)
    """The keys of those that clients have begun to keep since the last search began."""
    _paused_until: float = field(default=0.0, init=False)
    _turns: DeferredLock = field(factory=DeferredLock, init=False)

    @contextmanager
    def keeping(self, key: int, by: KeptBy) -> Iterator[None]:
        """Begin no search while a client keeps this record: it may be on the list before the one that names
        it."""
        if not by & _OF_FILES:
            yield
            return
        self._keeping += 1
        self._kept_since.add(key)
        try:
            yield
        finally:
            self._keeping -= 1

    async def tidy(self) -> None:
        """Let go of the parts that no kept file has, if there may be any."""
        is_due = self._changes.touched_files and self._clock.seconds() >= self._paused_until
        if is_due and not self._keeping:
            await self._search(None)

    async def unkeep(self, key: int) -> UnkeptFile | KeepRefusal | None:
        """Let go of the address of a file. None: no file is kept under this key."""
        held = self._changes.held(key)
        if held is None or KeptBy.FILE not in held.by:
            return None
        # From now on it is a part as others are, perhaps that of another kept file.
        if not await self._changes.put(evolve(held, by=held.by & ~KeptBy.FILE | KeptBy.PART), None):
            return KeepRefusal.NOT_READY
        deadline = self._clock.seconds() + WAIT
        while self._keeping and self._clock.seconds() < deadline:
            await deferLater(self._clock, LOOK)
        return await self._search(key)

    async def _search(self, let_go: int | None) -> UnkeptFile:
        """Let go of the parts that no kept file has, and say what became of those of the file `let_go`."""
        await self._turns.acquire()
        try:
            if self._keeping:
                raise _Unknown
            self._kept_since.clear()
            self._changes.touched_files = False
            records = await self._scan()
            stay = await self._reached(records.files, records.naming)
            below = await self._reached({let_go}, records.naming) if let_go is not None else set()
            ended, by_key = await self._leave(records.parts - stay)
            return UnkeptFile(ended, len(below & stay), by_key)
        except _Unknown:
            self._changes.touched_files = True
            self._paused_until = self._clock.seconds() + PAUSE
            return UnkeptFile(is_known=False)
        finally:
            self._turns.release()

    async def _scan(self) -> _Records:
        """Return the records of files on the list. Raises `_Unknown`."""
        records = _Records(set(), set(), set())
        mark, count, before = b"", 0, self._kept.usage().entries
        while summaries := self._kept.summaries(mark, PAGE):
            for summary in summaries:
                entry = self._kept.entry_at(summary.mark)
                if entry is None:
                    raise _Unknown
                if entry.by & _OF_FILES:
                    is_address = KeptBy.FILE in entry.by and may_name(entry)
                    (records.files if is_address else records.parts).add(entry.key)
                    if entry.state is KeptState.RENEWED and may_name(entry):
                        records.naming.add(entry.key)
            mark, count = summaries[-1].mark, count + len(summaries)
            await deferLater(self._clock, 0)
        # A database that cannot be read for a moment looks like the end of the list.
        fewest, most = sorted((before, self._kept.usage().entries))
        if not (self._kept.is_open and fewest <= count <= most):
            raise _Unknown
        return records

    async def _reached(self, keys: set[int], naming: set[int]) -> set[int]:
        """Return these keys and all that are below them. Raises `_Unknown`."""
        reached, waiting = set(keys), deque(keys & naming)
        while waiting:
            new = {id_from_bytes(named) for named in self._named_by(waiting.popleft())} - reached
            reached |= new
            waiting.extend(new & naming)
            await deferLater(self._clock, 0)
        return reached

    def _named_by(self, key: int) -> list[bytes]:
        entry = self._kept.get(key)
        value = self._kept.value(entry) if entry is not None else None
        if entry is None or value is None:
            raise _Unknown
        if entry.kind is not Kind.OWNER:
            return keys_named(value, is_link=False)
        try:
            return keys_named(decode(value).payload, is_link=True)
        except Malformed:
            return []

    async def _leave(self, keys: set[int]) -> tuple[int, int]:
        """Let go of these parts. Return how many left the list, and how many are kept by their own keys."""
        left: list[tuple[bool, Deferred[bool]]] = []
        for key in keys:
            held = self._changes.held(key)
            if held is None or not held.by & _OF_FILES or key in self._kept_since:
                continue
            by = held.by & ~_OF_FILES
            change = self._changes.put(evolve(held, by=by), None) if by else self._changes.remove(key)
            left.append((bool(by), change))
            if len(left) % PAGE == 0:
                await change
        done = [by_key for by_key, change in left if await change]
        return done.count(False), done.count(True)


def may_name(entry: KeptEntry) -> bool:
    """Whether the value of an entry may name the parts of a file."""
    return entry.kind is Kind.OWNER or (entry.kind is Kind.CONTENT and may_be_manifest(entry.size))
