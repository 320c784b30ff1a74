"""The store of a node's records on disk: a `LocalStore` on LMDB.

The thread that owns the database decides, a second thread writes. An offer is judged at once, against the
records that are held and those that are pending. Together with others it waits for one transaction and one
flush of the disk; then the database calls the `on_verdict` of each. Readers see only what has been committed:
a record whose verdict was HELD is found, and nothing is served that a crash could take back.

While the database is being opened it queues offers, and readers find nothing.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import lmdb
from attrs import define, field

from dht14.database.admission import Admission
from dht14.database.entry_format import EntryFormat
from dht14.database.eviction import Eviction
from dht14.database.group_commit import MAX_BATCH_BYTES, EarlyOffers, GroupCommit, OnVerdict
from dht14.database.health import HANG_SECONDS, HANGS, DatabaseHealth
from dht14.database.invariants import check_tables
from dht14.database.kept_records import KeptRecords
from dht14.database.largest_share import LargestShare
from dht14.database.limits import SpaceLimits
from dht14.database.metrics import CommitMetrics
from dht14.database.opened_records import OpenedRecords
from dht14.database.slot_states import SlotStates
from dht14.database.tables import Tables, Usage, growth_of
from dht14.database.writer_thread import (
    FILE_GONE,
    CallSoon,
    DatabaseEvents,
    MakeWriterThread,
    Opened,
    WriterThread,
    Written,
)
from dht14.errors import Malformed
from dht14.records.record import Record
from dht14.records.store import (
    ANY_VERSION,
    Outcome,
    Page,
    Refusal,
    StoreSpace,
    Verdict,
    believed,
    judge,
    merged,
    required_copies,
)
from dht14.records.version_floors import MAX_FLOORS, NO_FLOOR, Floor

T = TypeVar("T")


@define(eq=False, kw_only=True)
class Database:
    """Records on disk, in one file that never grows beyond `limit` bytes and those of kept values.

    A record whose seal is broken counts as not held. It stays on disk until a good copy, its expiry or
    eviction removes it. If the disk fails, offers are refused, and each new offer tries the disk again.
    """

    _path: str
    _format: EntryFormat
    _own_id: int
    """The node's own id: its own records need no share."""
    limit: int
    """Bytes. An eighth is left free: a transaction writes new pages before the old ones are free."""
    _floor_ttl: float
    """Seconds for which the version of an expired record is remembered: as long as an older copy can live."""
    _answers_for: Callable[[Record], bool]
    """Whether this node is one of the nearest to the key of a record, of as many as its replication."""
    _call_soon: CallSoon
    _events: DatabaseEvents
    _seconds: Callable[[], float]
    """The clock that commits are measured by."""
    _make_writer_thread: MakeWriterThread = WriterThread
    _writer_share: float = 1.0
    """Multiple of the free bytes that a writer, or a subnet of writers, may hold."""
    _kept_limit: int = 0
    """Bytes that the list of kept values may take in the file, beside `limit`; an eighth more for
    transactions."""
    kept: KeptRecords = field(init=False)
    """The values that this node renews."""
    _space: SpaceLimits = field(init=False)
    usage: Usage = field(factory=Usage, init=False)
    """As of the last commit."""
    _writer_thread: WriterThread = field(init=False)
    _commits: GroupCommit = field(init=False)
    _tables: Tables | None = field(default=None, init=False)
    """None while the database is being opened."""
    _closed: bool = field(default=False, init=False)
    _when_open: Callable[[], None] | None = field(default=None, init=False)
    _early: EarlyOffers = field(factory=EarlyOffers, init=False)
    _opened_records: OpenedRecords = field(factory=OpenedRecords, init=False)
    _slots: SlotStates = field(init=False)
    _eviction: Eviction = field(init=False)
    _admission: Admission = field(init=False)
    _largest_share: LargestShare = field(factory=LargestShare, init=False)
    _sweep_until: float = field(default=0.0, init=False)
    """Records that expired before this time are being dropped; 0: no sweep is under way."""
    _now: float = field(default=0.0, init=False)
    """The time of the last call that had one."""
    _health: DatabaseHealth = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._space = SpaceLimits(self.limit - (self.limit >> 3), self._writer_share)
        self._writer_thread = self._make_writer_thread(
            self._path,
            self.limit + self._kept_limit + (self._kept_limit >> 3),
            min(MAX_FLOORS, self.limit >> 10),
            self._call_soon,
        )
        self._health = DatabaseHealth(self._events, self._space.size)
        self._commits = GroupCommit(
            self._writer_thread, min(MAX_BATCH_BYTES, self.limit >> 6), self._batch_written, self._seconds
        )
        self.kept = KeptRecords(self._format, self._commits, self._read, self._may_keep)
        self._slots = SlotStates(self._format, self._commits, self._read, self._read_record, self._floor_ttl)
        self._eviction = Eviction(
            self._format, self._commits, self._read, self._read_record, self._answers_for, self._floor_ttl
        )
        self._admission = Admission(
            self._own_id, self._space, self._commits, self._eviction, self._health, self._read
        )

    def __len__(self) -> int:
        return self.usage.records

    @property
    def commit_metrics(self) -> CommitMetrics:
        """What it counts of its commits."""
        return self._commits.metrics

    def space(self) -> StoreSpace:
        """As `LocalStore.space`."""
        largest = self._read(self._largest_share.look, 0)
        return StoreSpace(self.usage.size, self._space.size, largest)

    # open and close

    def open(self, when_open: Callable[[], None]) -> None:
        """Start to open the file; not before a fork. `when_open` is called once, when the file is open."""
        self._when_open = when_open
        self._writer_thread.start()
        self._writer_thread.open(self._opened, self._failed)

    def close(self) -> None:
        """Write what is pending, and close the file. Blocks until it is on disk."""
        self._commits.flush()
        self._tables, self._closed = None, True
        self._writer_thread.close()

    def _opened(self, result: Opened) -> None:
        if self._closed:
            return
        self._tables, self.usage = result.tables, result.usage
        self.kept.written(result.usage)
        if result.set_aside:
            self._events.set_aside(result.set_aside)
        self._events.opened(len(self))
        self._health.size_changed(self.usage.size)
        when_open, self._when_open = self._when_open, None
        if when_open is not None:
            when_open()
        for record, now, on_verdict in self._early.take():
            self.offer(record, now, on_verdict)
        self._commits.paused = False
        self._commits.send()

    def _check_and_reopen(self) -> None:
        """Open the file again, as it may be damaged: the check at opening finds that and sets the file
        aside."""
        if self._tables is not None:
            self._tables = None
            self._commits.paused = True
            self._writer_thread.open(self._opened, self._failed)

    # read

    def get(self, key: int, now: float) -> Record | None:
        """As `RecordStore.get`."""
        tables = self._tables
        if tables is None:
            return None
        slot = self._opened_records.slot(key) or self._format.slot(key)
        try:
            with tables.env.begin(tables.records) as txn:
                entry = txn.get(slot)
        except lmdb.Error as error:
            entry = self._read_again(error, lambda txn, tables: txn.get(slot, db=tables.records), None)
        if entry is None:
            return None
        record = self._opened_records.find(key, entry)
        if record is None:
            record = self._read_record(slot, entry)
            if record is None or record.key != key:
                return None
            self._opened_records.add(slot, entry, record)
        return record if record.expires_at > now else None

    def is_in_place(self) -> bool:
        """As `RecordStore.is_in_place`: whether the file is still at its path."""
        tables = self._tables
        if tables is None:
            return True
        if self._health.file_is_gone:
            return False
        if not tables.is_at(self._path):
            self._failed(FILE_GONE)
        return not self._health.file_is_gone

    def is_replacing(self, record: Record) -> bool:
        """As `RecordStore.is_replacing`."""
        if not self._commits.has_pending:
            return False
        pending = self._commits.newest(self._format.slot(record.key))
        return pending is not None and pending.record.rank > record.rank

    def is_open(self) -> bool:
        """As `LocalStore.is_open`."""
        return self._tables is not None

    def hangs(self) -> bool:
        """As `LocalStore.hangs`."""
        return self._commits.in_flight_for > HANG_SECONDS

    def floor(self, key: int, now: float) -> Floor:
        """As `RecordStore.floor`."""
        return NO_FLOOR if self._tables is None else self._slots.find(self._format.slot(key), now).floor

    def page(self, mark: bytes, now: float) -> Page:
        """As `LocalStore.page`. A mark is the slot of the last record."""
        nothing: tuple[list[tuple[bytes, bytes]], bool] = [], True
        entries, is_last = self._read(lambda txn, tables: tables.page(txn, mark), nothing)
        records = (self._read_record(slot, entry) for slot, entry in entries)
        return Page(
            [record for record in records if record is not None and record.expires_at > now],
            None if is_last else entries[-1][0],
        )

    def _read(self, query: Callable[[Any, Tables], T], default: T) -> T:
        """As `ReadSnapshot`."""
        if self._tables is None:
            return default
        try:
            with self._tables.env.begin() as txn:
                return query(txn, self._tables)
        except lmdb.Error as error:
            return self._read_again(error, query, default)

    def _read_again(self, error: lmdb.Error, query: Callable[[Any, Tables], T], default: T) -> T:
        """Read after an error. After a failed write LMDB may refuse reads, too, until it is opened again."""
        if isinstance(error, lmdb.PanicError):
            self._reopen(must_check_file=False)
            with suppress(lmdb.Error):
                if self._tables is not None:
                    with self._tables.env.begin() as txn:
                        return query(txn, self._tables)
        self._failed(str(error))
        self._check_and_reopen()
        return default

    def _read_record(self, slot: bytes, entry: bytes) -> Record | None:
        """Return the record of an entry; None if it is damaged."""
        try:
            return self._format.read(slot, entry)
        except Malformed:
            self._health.damaged(slot)
            return None

    # offer

    def offer(self, record: Record, now: float, on_verdict: OnVerdict) -> None:
        """As `RecordStore.offer`."""
        self.overrule(record, now, ANY_VERSION, on_verdict)

    def overrule(self, record: Record, now: float, latest: int, on_verdict: OnVerdict) -> None:
        """As `LocalStore.overrule`."""
        self._now = now
        if self._tables is None:
            self._early.add(record, now, on_verdict)
            return
        if self._health.file_is_gone:
            on_verdict(Verdict(Outcome.REFUSED, 0, Refusal.NO_ROOM))
            return
        slot = self._format.slot(record.key)
        held = self._slots.find(slot, now)
        known, floor = believed(held.record, held.floor, latest)
        verdict = judge(record, known, floor, now)
        if verdict is None:
            copies = required_copies(record, known)
            record = merged(record, known, now)
            entry = self._format.write(slot, record)
            growth = growth_of(entry, held.entry)
            refusal = self._admission.refusal(slot, record, growth, self.usage.size, now)
            if refusal is None:
                verdict = Verdict(Outcome.HELD, record.version, replication=copies)
                self._commits.put(slot, record, entry, growth, on_verdict, verdict)
                return
            verdict = Verdict(Outcome.REFUSED, known.version if known else 0, refusal)
        elif not self.is_in_place():
            # A verdict without a write: what it rests on must be on disk.
            verdict = Verdict(Outcome.REFUSED, 0, Refusal.NO_ROOM)
        self._commits.report(slot, on_verdict, verdict)

    def _may_keep(self) -> bool:
        return self._tables is not None and not self._health.file_is_gone

    # expiry

    def lapse(self, record: Record, floor: Floor, now: float) -> None:
        """As `LocalStore.lapse`."""
        self._eviction.lapse(self._format.slot(record.key), record, floor, now)

    def expire(self, now: float) -> None:
        """As `RecordStore.expire`: drops one batch now, and the next one whenever a batch was written."""
        self._now = self._sweep_until = now
        self._sweep()

    def _sweep(self) -> None:
        if self._sweep_until and not self._eviction.expire(self._sweep_until):
            self._sweep_until = 0.0
        self._commits.send()

    # the disk

    def _batch_written(self, written: Written) -> None:
        self.usage = written.usage
        self.kept.written(written.usage)
        if written.failure:
            self._failed(written.failure)
            if written.must_reopen:
                self._reopen(written.must_check_file)
            return
        self._health.wrote(written, self._now)
        self._sweep()

    def _reopen(self, must_check_file: bool) -> None:
        """Open the file again: after this error LMDB accepts no writes before that."""
        if must_check_file or self._tables is None:
            self._check_and_reopen()
            return
        try:
            self._tables = self._writer_thread.reopen().tables
        except (OSError, lmdb.Error, Malformed):
            self._check_and_reopen()

    def _failed(self, reason: str) -> None:
        """Handle a failure of the disk: offers that wait for the database to open are refused."""
        self._sweep_until = 0.0
        self._health.failed(reason, self._now)
        self._early.refuse()

    def inspect_disk(self, now: float) -> None:
        """Find out without a write whether the file is still in its place, whether the disk hangs, and
        whether a full one has space again."""
        self._now = max(self._now, now)
        tables = self._tables
        self._health.file_is_gone = tables is not None and not tables.is_at(self._path)
        if self._health.file_is_gone:
            self._failed(FILE_GONE)
        elif self.hangs():
            self._failed(HANGS)
        elif tables is not None and self._health.is_worth_a_probe(self._now):
            self._writer_thread.probe(lambda: self._health.probed(self._now))

    def check_invariants(self) -> None:
        """As `LocalStore.check_invariants`; of what has been committed."""
        if self._tables is None:
            return
        assert self.usage.size <= self.limit
        check_tables(self._tables, self._format, self._own_id, self._space)
