"""Group commit: while one batch of changes is being written, the next one is collected."""

from collections import Counter, deque
from collections.abc import Callable

from attrs import define, field, frozen

from dht14.database.floor_table import LeftFloor
from dht14.database.limits import Growth
from dht14.database.metrics import CommitMetrics
from dht14.database.tables import PAGE, Changes, growth_of
from dht14.database.writer_thread import WriterThread, Written
from dht14.records.record import Record
from dht14.records.store import Outcome, Refusal, Verdict

MAX_BATCH_PUTS = 512
MAX_BATCH_BYTES = 4 << 20

WAITING_PUTS_LIMIT = 4096
WAITING_BYTES_LIMIT = 32 << 20
"""Puts and their bytes that may wait for the disk; more are refused."""

WAITING_VERDICTS_LIMIT = 2 * WAITING_PUTS_LIMIT
SLOT_VERDICTS_LIMIT = 1024
"""Callbacks that may wait, for all slots and for one. A client that repeats one request while the disk
hangs can neither fill the memory nor use up the limit of others. Each API connection has at most one
request for a key; all of them may write the same key."""

MAX_EARLY_OFFERS = 1_000

KEPT = b"kept"
"""Tells the callbacks of kept values from those of records in the same slot."""

OnVerdict = Callable[[Verdict], None]


@define(eq=False)
class Batch:
    """One transaction, and the callbacks that wait for it."""

    changes: Changes = field(factory=Changes)
    verdicts: list[tuple[bytes, OnVerdict, Verdict]] = field(factory=list)
    """Slot, callback, and the verdict if the slot is written."""
    size: int = 0
    """Bytes that its puts write, in whole pages."""
    growth: int = 0
    """Bytes by which it makes the database grow, about."""
    party_growth: Counter[bytes] = field(factory=Counter)
    """Bytes that its puts add to each party, by tag."""


@frozen
class Pending:
    """A record that is not yet on disk, its entry, and its batch."""

    record: Record
    entry: bytes
    batch: Batch


@define(eq=False)
class GroupCommit:
    """Batches in order: one is being written, the others wait. No callback is called before its batch is
    on disk."""

    _writer_thread: WriterThread
    _batch_bytes: int
    _batch_written: Callable[[Written], None]
    """Called for each batch, before the callbacks of its offers."""
    _seconds: Callable[[], float]
    """The clock that commits are measured by."""
    metrics: CommitMetrics = field(factory=CommitMetrics, init=False)
    paused: bool = field(default=True, init=False)
    """While the database is being opened."""
    growth: int = field(default=0, init=False)
    """Bytes by which all pending changes make the database grow, about."""
    party_growth: Counter[bytes] = field(factory=Counter, init=False)
    """Bytes that they add to each party, by tag. Bytes that they free count only after the commit."""
    _in_flight: Batch | None = field(default=None, init=False)
    _sent_at: float = field(default=0.0, init=False)
    _waiting: "deque[Batch]" = field(factory=deque, init=False)
    _bytes_waiting: int = field(default=0, init=False)
    _verdicts_of_slots: Counter[bytes] = field(factory=Counter, init=False)
    """Callbacks that wait, by slot."""
    _waiting_verdicts: int = field(default=0, init=False)
    """Callbacks that wait, in all."""
    _pending: dict[bytes, Pending] = field(factory=dict, init=False)
    """By slot; the newest if there are several."""
    _drops: dict[bytes, Batch] = field(factory=dict, init=False)

    def may_put(self, slot: bytes) -> bool:
        """Whether another put, of this slot, may wait."""
        may_put = self._bytes_waiting < WAITING_BYTES_LIMIT and len(self._pending) <= WAITING_PUTS_LIMIT
        return may_put and self._may_wait(slot)

    def _may_wait(self, slot: bytes) -> bool:
        """Whether another callback, of this slot, may wait."""
        return (
            self._waiting_verdicts < WAITING_VERDICTS_LIMIT
            and self._verdicts_of_slots[slot] < SLOT_VERDICTS_LIMIT
        )

    @property
    def has_pending(self) -> bool:
        """Whether any record is not yet on disk."""
        return bool(self._pending)

    def newest(self, slot: bytes) -> Pending | None:
        """Return the newest pending record of a slot; None if there is none."""
        return self._pending.get(slot)

    @property
    def in_flight_for(self) -> float:
        """Seconds for which the batch that is being written has been waiting for the disk; 0 if none is."""
        return 0.0 if self._in_flight is None else self._seconds() - self._sent_at

    def is_changing(self, slot: bytes) -> bool:
        """Whether a pending change replaces or drops the entry of a slot."""
        return slot in self._pending or slot in self._drops

    def put(
        self,
        slot: bytes,
        record: Record,
        entry: bytes,
        growth: Growth,
        on_verdict: OnVerdict,
        verdict: Verdict,
    ) -> None:
        """Write an entry with the next batch. `on_verdict` gets `verdict` after that, or that it was
        refused."""
        batch = self._current_batch()
        self._bytes_waiting += len(entry) - len(batch.changes.puts.get(slot, b""))
        batch.changes.puts[slot] = entry
        self._wait(batch, slot, on_verdict, verdict)
        batch.size += max(len(entry), PAGE)
        self._pending[slot] = Pending(record, entry, batch)
        self._grow(batch, growth)
        self.send()

    def drop(self, slot: bytes, floor: LeftFloor | None, entry: bytes, now: float) -> None:
        """Drop the entry of a slot with the next batch, and leave a floor there."""
        batch = self._current_batch()
        batch.changes.now = now
        batch.changes.drops[slot] = floor
        self._drops[slot] = batch
        self._grow(batch, growth_of(None, entry))

    def forget(self, expiry_entry: bytes) -> None:
        """Remove an entry of the time index with the next batch."""
        self._current_batch().changes.stale.append(expiry_entry)

    def may_change_kept(self, slot: bytes) -> bool:
        """Whether another change of a kept value, of this slot, may wait."""
        return self._bytes_waiting < WAITING_BYTES_LIMIT and self._may_wait(KEPT + slot)

    def change_kept(
        self, slot: bytes, entry: bytes | None, value: bytes | None, *, keeps_value: bool, done: OnVerdict
    ) -> None:
        """Change an entry of the list of kept values, and its value unless `keeps_value`. `done` hears HELD
        after the commit."""
        batch = self._current_batch(of_kept=True)
        batch.changes.kept[slot] = entry
        if not keeps_value:
            batch.changes.kept_values[slot] = value
            batch.size += max(len(value or b""), PAGE)
        self._wait(batch, KEPT + slot, done, Verdict(Outcome.HELD, 0))
        self.send()

    def report(self, slot: bytes, on_verdict: OnVerdict, verdict: Verdict) -> None:
        """Report a verdict: at once, or after the commit of the pending record on which it rests. If too
        many wait, report a refusal."""
        pending = self._pending.get(slot)
        if pending is None:
            on_verdict(verdict)
        elif self._may_wait(slot):
            self._wait(pending.batch, slot, on_verdict, verdict)
        else:
            on_verdict(Verdict(Outcome.REFUSED, 0, Refusal.NO_ROOM))

    def _wait(self, batch: Batch, slot: bytes, on_verdict: OnVerdict, verdict: Verdict) -> None:
        batch.verdicts.append((slot, on_verdict, verdict))
        self._verdicts_of_slots[slot] += 1
        self._waiting_verdicts += 1

    def send(self) -> None:
        """Give the next batch to the writer thread, unless one is being written."""
        if self._in_flight is None and self._waiting and not self.paused:
            self._in_flight = self._waiting.popleft()
            self._sent_at = self._seconds()
            self._writer_thread.write(self._in_flight.changes, self._written)

    def flush(self) -> None:
        """Give all batches to the writer thread; no more callbacks are called."""
        while self._waiting:
            self._writer_thread.write(self._waiting.popleft().changes, lambda written: None)

    def _current_batch(self, of_kept: bool = False) -> Batch:
        """Return the batch for the next change. Changes of kept values have batches of their own: one that
        does not fit must fail as a whole."""
        last = self._waiting[-1] if self._waiting else None
        if last is None or bool(last.changes.kept) != of_kept or self._is_full(last):
            last = Batch()
            self._waiting.append(last)
        return last

    def _is_full(self, batch: Batch) -> bool:
        changes = batch.changes
        is_long = len(changes.puts) >= MAX_BATCH_PUTS or len(changes.kept) >= MAX_BATCH_PUTS
        return is_long or batch.size >= self._batch_bytes

    def _grow(self, batch: Batch, growth: Growth) -> None:
        batch.growth += growth.total
        self.growth += growth.total
        for tag, grown in growth.of_parties.items():
            if grown > 0:
                batch.party_growth[tag] += grown
                self.party_growth[tag] += grown

    def _written(self, written: Written) -> None:
        batch, self._in_flight = self._in_flight, None
        assert batch is not None
        if written.failure:
            self.metrics.failed += 1
        else:
            self.metrics.latency.observe(self._seconds() - self._sent_at)
        self._forget_batch(batch)
        self._batch_written(written)
        for slot, on_verdict, verdict in batch.verdicts:
            failed = written.failure or slot in written.refused
            on_verdict(Verdict(Outcome.REFUSED, 0) if failed else verdict)
        self.send()

    def _forget_batch(self, batch: Batch) -> None:
        self.growth -= batch.growth
        self.party_growth -= batch.party_growth
        for slot, entry in batch.changes.puts.items():
            self._bytes_waiting -= len(entry)
            if self._pending[slot].batch is batch:
                del self._pending[slot]
        self._waiting_verdicts -= len(batch.verdicts)
        self._verdicts_of_slots -= Counter(slot for slot, _, _ in batch.verdicts)
        for slot in batch.changes.drops:
            if self._drops[slot] is batch:
                del self._drops[slot]


@define(eq=False)
class EarlyOffers:
    """A bounded queue of the offers that arrive while the database is being opened."""

    _offers: list[tuple[Record, float, OnVerdict]] = field(factory=list, init=False)
    """Record, time and callback, in order."""

    def add(self, record: Record, now: float, on_verdict: OnVerdict) -> None:
        """Queue an offer; refuse it if the queue is full."""
        if len(self._offers) < MAX_EARLY_OFFERS:
            self._offers.append((record, now, on_verdict))
        else:
            on_verdict(Verdict(Outcome.REFUSED, 0))

    def take(self) -> list[tuple[Record, float, OnVerdict]]:
        """Empty the queue and return its offers."""
        offers, self._offers = self._offers, []
        return offers

    def refuse(self) -> None:
        """Refuse all queued offers."""
        for _, _, on_verdict in self.take():
            on_verdict(Verdict(Outcome.REFUSED, 0))
