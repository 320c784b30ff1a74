"""The store of a node's records on disk: a `LocalStore` over LMDB.

The thread that owns it decides, one writer thread writes. An offer is judged at once, against what is held
and what is on its way, and waits with others for one transaction and one flush of the disk; whoever offered
is told after that. Reads see what has been committed: what was told HELD is found, and nothing is served
that a crash could take back.

While it is being opened a database takes offers, to answer them later, and holds nothing for readers.
"""

from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from typing import Any, NamedTuple, TypeVar

import lmdb
from attrs import define, field

from dht14.database.disk_state import DiskState
from dht14.database.early_offers import EarlyOffers
from dht14.database.entry_format import Body, EntryFormat, Head, read_due
from dht14.database.floor_table import LeftFloor
from dht14.database.group_commit import BATCH_BYTES, GroupCommit, Tell
from dht14.database.invariants import check_tables
from dht14.database.limits import EVICTION_TRIES, NO_SHORTFALL, Growth, Shortfall, SpaceLimits
from dht14.database.tables import Tables, Usage, growth_of
from dht14.database.writer_thread import (
    GONE,
    CallSoon,
    DatabaseEvents,
    MakeWriter,
    Opened,
    WriterThread,
    Written,
)
from dht14.errors import Malformed
from dht14.records.record import Record
from dht14.records.store import Outcome, Page, Refusal, StoreSpace, Verdict, copies_of, judge, merged
from dht14.records.version_floors import MAX_FLOORS, NO_FLOOR, Floor, floor_of

T = TypeVar("T")

DROPS_A_BATCH = 100
FULL_PAUSE = 1.0
"""Seconds for which a store that found nothing to evict does not look again."""


class Held(NamedTuple):
    """What is known of a place: the live record, the entry that a new one replaces, and what has expired."""

    record: Record | None
    entry: bytes | None
    floor: Floor


@define(eq=False)
class Database:
    """Records on disk, in one file that never grows beyond `limit` bytes.

    A record whose seal is broken is not held for anybody; it stays where it is until a good copy, expiry or
    eviction takes its place. Where the disk refuses, so does the store, and each new offer tries it again.
    """

    _path: str
    _format: EntryFormat
    _own_id: int
    """What this node itself has put has no share to pass."""
    limit: int
    """Bytes. An eighth is left free: a transaction writes pages anew before those they replace are free."""
    _floor_seconds: float
    """How long the version of an expired record is remembered: as long as an older copy could live."""
    _answers_for: Callable[[Record], bool]
    """Whether this node is one of the nearest to a record's key, as many as its replication."""
    _call_soon: CallSoon
    _watcher: DatabaseEvents
    _make_writer: MakeWriter = WriterThread
    _writer_share: float = 1.0
    """How many times the bytes that are free a writer, or a subnet of writers, may hold."""
    _room: SpaceLimits = field(init=False)
    usage: Usage = field(factory=Usage, init=False)
    """As of the last commit."""
    _writer: WriterThread = field(init=False)
    _commits: GroupCommit = field(init=False)
    _tables: Tables | None = field(default=None, init=False)
    """None while it is being opened."""
    _closed: bool = field(default=False, init=False)
    _when_open: Callable[[], None] | None = field(default=None, init=False)
    _early: EarlyOffers = field(factory=EarlyOffers, init=False)
    _full_until: float = field(default=0.0, init=False)
    _sweep_until: float = field(default=0.0, init=False)
    """Expiry up to this moment is being swept; 0: none."""
    _now: float = field(default=0.0, init=False)
    """The last moment that anybody told."""
    _disk: DiskState = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._room = SpaceLimits(self.limit - (self.limit >> 3), self._writer_share)
        self._writer = self._make_writer(
            self._path, self.limit, min(MAX_FLOORS, self.limit >> 10), self._call_soon
        )
        self._disk = DiskState(self._watcher, self._room.size)
        self._commits = GroupCommit(self._writer, min(BATCH_BYTES, self.limit >> 6), self._settled)

    def __len__(self) -> int:
        return self.usage.records

    def space(self) -> StoreSpace:
        """As `LocalStore.space`."""
        largest = self._read(lambda txn, tables: tables.largest_share(txn), 0)
        return StoreSpace(self.usage.size, self._room.size, largest)

    # open and close

    def open(self, when_open: Callable[[], None]) -> None:
        """Begin to open the file; not before a fork. `when_open` is called once, when it has been opened."""
        self._when_open = when_open
        self._writer.start()
        self._writer.open(self._opened, self._failed)

    def close(self) -> None:
        """Write what waits, and close the file. Blocks until the disk has it."""
        self._commits.flush()
        self._tables, self._closed = None, True
        self._writer.close()

    def _opened(self, result: Opened) -> None:
        if self._closed:
            return
        self._tables, self.usage = result.tables, result.usage
        if result.set_aside:
            self._watcher.set_aside(result.set_aside)
        self._watcher.opened(len(self))
        self._disk.uses(self.usage.size)
        when_open, self._when_open = self._when_open, None
        if when_open is not None:
            when_open()
        for record, now, tell in self._early.take():
            self.offer(record, now, tell)
        self._commits.paused = False
        self._commits.send()

    def _open_anew(self) -> None:
        """The file may be damaged, under the running node. The check will find it, and set it aside."""
        if self._tables is not None:
            self._tables = None
            self._commits.paused = True
            self._writer.open(self._opened, self._failed)

    # read

    def get(self, key: int, now: float) -> Record | None:
        """As `RecordStore.get`."""
        tables = self._tables
        if tables is None:
            return None
        place = self._format.place(key)
        try:
            with tables.env.begin(tables.records) as txn:
                entry = txn.get(place)
        except lmdb.Error as wrong:
            entry = self._read_again(wrong, lambda txn, tables: txn.get(place, db=tables.records), None)
        record = None if entry is None else self._record(place, entry)
        return record if record is not None and record.expires_at > now and record.key == key else None

    def floor(self, key: int, now: float) -> Floor:
        """As `RecordStore.floor`."""
        return NO_FLOOR if self._tables is None else self._held(self._format.place(key), now).floor

    def page(self, mark: bytes, now: float) -> Page:
        """As `RecordStore.page`. A mark is the place of the last one."""
        nothing: tuple[list[tuple[bytes, bytes]], bool] = [], True
        entries, is_last = self._read(lambda txn, tables: tables.page(txn, mark), nothing)
        records = (self._record(place, entry) for place, entry in entries)
        return Page(
            [record for record in records if record is not None and record.expires_at > now],
            None if is_last else entries[-1][0],
        )

    def _read(self, look: Callable[[Any, Tables], T], otherwise: T) -> T:
        """What `look` makes of a snapshot of the tables; where there is none to be had, `otherwise`."""
        if self._tables is None:
            return otherwise
        try:
            with self._tables.env.begin() as txn:
                return look(txn, self._tables)
        except lmdb.Error as wrong:
            return self._read_again(wrong, look, otherwise)

    def _read_again(self, wrong: lmdb.Error, look: Callable[[Any, Tables], T], otherwise: T) -> T:
        """After a write that failed badly LMDB lets nobody read either, before it is opened anew."""
        if isinstance(wrong, lmdb.PanicError):
            self._mend(distrusted=False)
            with suppress(lmdb.Error):
                if self._tables is not None:
                    with self._tables.env.begin() as txn:
                        return look(txn, self._tables)
        self._failed(str(wrong))
        self._open_anew()
        return otherwise

    def _record(self, place: bytes, entry: bytes) -> Record | None:
        """What an entry holds; None where it is damaged."""
        try:
            return self._format.read(place, entry)
        except Malformed:
            self._disk.damaged(place)
            return None

    # offer

    def offer(self, record: Record, now: float, tell: Tell) -> None:
        """As `RecordStore.offer`."""
        self._now = now
        if self._tables is None:
            self._early.add(record, now, tell)
            return
        if self._disk.is_gone:
            tell(Verdict(Outcome.REFUSED, 0, Refusal.NO_ROOM))
            return
        place = self._format.place(record.key)
        held = self._held(place, now)
        verdict = judge(record, held.record, held.floor, now)
        if verdict is None:
            copies = copies_of(record, held.record)
            record = merged(record, held.record, now)
            entry = self._format.write(place, record)
            growth = growth_of(entry, held.entry)
            refusal = self._refusal(place, record, growth, now)
            if refusal is None:
                verdict = Verdict(Outcome.HELD, record.version, replication=copies)
                self._commits.put(place, record, entry, growth, tell, verdict)
                return
            verdict = Verdict(Outcome.REFUSED, held.record.version if held.record else 0, refusal)
        self._commits.tell(place, tell, verdict)

    def _held(self, place: bytes, now: float) -> Held:
        """What a record for this place is judged against."""
        pending = self._commits.newest(place)
        if pending is not None and pending.record.expires_at > now:
            return Held(pending.record, pending.entry, NO_FLOOR)
        entry, floor = self._read(
            lambda txn, tables: (txn.get(place, db=tables.records), txn.get(place, db=tables.floors.floors)),
            (None, None),
        )
        lowest = self._format.read_floor(place, floor, now) if floor is not None else NO_FLOOR
        # What is on its way out is held no more, though it can still be read.
        is_moving = self._commits.is_moving(place)
        replaced = pending.entry if pending is not None else None if is_moving else entry
        record = self._record(place, entry) if entry is not None else None
        if record is None or record.expires_at > now:
            return Held(None if is_moving else record, replaced, lowest)
        return Held(None, replaced, max(lowest, floor_of(record)))

    # limits

    def _refusal(self, place: bytes, record: Record, growth: Growth, now: float) -> Refusal | None:
        """Why there is no room for a record by which so much grows; None where there is."""
        if not self._commits.has_room(place):
            return Refusal.NO_ROOM
        shortfall = self._lack(record, growth)
        if shortfall.most:
            self._make_room(place, record, shortfall.most, now)
            shortfall = self._lack(record, growth)
        return self._disk.refusal_for(shortfall, self.usage.size, now)

    def _lack(self, record: Record, growth: Growth) -> Shortfall:
        """What is lacking, all that is on its way being counted."""
        used = self.usage.size + self._commits.growth
        if record.writer in (0, self._own_id):
            return self._room.shortfall(used, growth.total, None)
        if self._room.is_ample(used, max(growth.total, 0)):
            return NO_SHORTFALL
        grown = {tag: more for tag, more in growth.of_parties.items() if more > 0}
        held = self._read(lambda txn, tables: {tag: tables.share(txn, tag) for tag in grown}, grown)
        parties = ((held[tag] + self._commits.claims[tag], more) for tag, more in grown.items())
        return self._room.shortfall(used, growth.total, parties)

    def _make_room(self, place: bytes, record: Record, shortfall: float, now: float) -> None:
        """Plan drops, of what has expired and of what is for others to hold, until so many bytes more are free."""
        enough = self._commits.growth - shortfall
        self._expire_some(now, DROPS_A_BATCH)
        may_evict = not record.is_cached and now >= self._full_until and shortfall <= self.usage.size
        if self._commits.growth > enough and may_evict:
            self._evict_some(place, enough, now)
        self._commits.send()

    def _evict_some(self, newcomer: bytes, enough: float, now: float) -> None:
        """Plan to drop what this node does not answer for, first what is cached, then the farthest, until no more
        than `enough` bytes are on their way. Where some have to stay, there is nothing left to look for."""

        def look(txn: Any, tables: Tables) -> list[tuple[bytes, bytes]]:
            with txn.cursor(tables.records) as cursor:
                others = (item for item in cursor.iterprev() if item[0] != newcomer)
                staying = (item for item in others if not self._commits.is_moving(item[0]))
                return list(islice(staying, EVICTION_TRIES))

        farthest: list[tuple[bytes, bytes]] = self._read(look, [])
        opened = [(place, entry, self._record(place, entry)) for place, entry in farthest]
        spare = [item for item in opened if item[2] is None or not self._answers_for(item[2])]
        for place, entry, _ in sorted(spare, key=lambda item: item[2] is None or not item[2].is_cached):
            if self._commits.growth <= enough:
                return
            self._commits.drop(place, None, entry, now)
        if self._commits.growth > enough and len(spare) < EVICTION_TRIES:
            self._full_until = now + FULL_PAUSE

    # expiry

    def expire(self, now: float) -> None:
        """As `RecordStore.expire`: a hundred now, and as many again whenever a batch has been written."""
        self._now = self._sweep_until = now
        self._sweep()

    def _sweep(self) -> None:
        if self._sweep_until and not self._expire_some(self._sweep_until, DROPS_A_BATCH):
            self._sweep_until = 0.0
        self._commits.send()

    def _expire_some(self, now: float, most: int) -> int:
        """Plan to drop so many of the records that have expired; how many were found."""

        def look(txn: Any, tables: Tables) -> list[tuple[bytes, bytes | None]]:
            found: list[tuple[bytes, bytes | None]] = []
            with txn.cursor(tables.expiry) as cursor:
                for due in cursor.iternext(values=False):
                    until, place = read_due(due)
                    if until > now or len(found) == most:
                        break
                    if not self._commits.is_moving(place):
                        found.append((due, txn.get(place, db=tables.records)))
            return found

        found: list[tuple[bytes, bytes | None]] = self._read(look, [])
        for due, entry in found:
            self._expire_one(due, entry, now)
        return len(found)

    def _expire_one(self, due: bytes, entry: bytes | None, now: float) -> None:
        until, place = read_due(due)
        record = self._record(place, entry) if entry is not None else None
        if record is None or record.expires_at != until:
            # Damage: index and record do not know of each other. A sound record has an entry of its own.
            self._commits.forget(due)
        if entry is not None and (record is None or record.expires_at == until):
            self._commits.drop(place, self._floor_of(place, record, now), entry, now)

    def _floor_of(self, place: bytes, record: Record | None, now: float) -> LeftFloor | None:
        """What is to be remembered of a record that has expired."""
        if record is None or (floor := floor_of(record)) is NO_FLOOR:
            return None
        until = record.expires_at + self._floor_seconds
        if until <= now:
            return None
        body = Body(record.key, floor.kind, b"", record.writer, is_brief=record.is_brief)
        return LeftFloor.seal(self._format, place, Head(floor.version, until), body)

    # the disk

    def _settled(self, written: Written) -> None:
        self.usage = written.usage
        if written.failure:
            self._failed(written.failure)
            if written.broken:
                self._mend(written.distrusted)
            return
        self._disk.wrote(written, self._now)
        self._sweep()

    def _mend(self, distrusted: bool) -> None:
        """LMDB writes no more before it is opened anew."""
        if distrusted or self._tables is None:
            self._open_anew()
            return
        try:
            self._tables = self._writer.reopen().tables
        except (OSError, lmdb.Error, Malformed):
            self._open_anew()

    def _failed(self, reason: str) -> None:
        """The disk refuses. What waits only for the database to open is refused with it."""
        self._sweep_until = 0.0
        self._disk.failed(reason, self._now)
        self._early.refuse()

    def look(self, now: float) -> None:
        """Look at the disk unasked: whether the file is still where it was, and whether a full disk has room."""
        self._now = max(self._now, now)
        tables = self._tables
        self._disk.is_gone = tables is not None and not tables.is_at(self._path)
        if self._disk.is_gone:
            self._failed(GONE)
        elif tables is not None and self._disk.is_worth_a_probe(self._now):
            self._writer.probe(lambda: self._disk.probed(self._now))

    def check_invariants(self) -> None:
        """As `LocalStore.check_invariants`; of what has been committed."""
        if self._tables is None:
            return
        assert self.usage.size <= self.limit
        check_tables(self._tables, self._format, self._own_id, self._room)
