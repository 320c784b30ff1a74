"""Changes that wait for the disk together: while one batch is written, the next one gathers."""

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from attrs import define, field

from dht14.storage.record import Record
from dht14.storage.store import Outcome, Verdict
from dht14.storage.tables import Changes
from dht14.storage.writer import Writer, Written

PUTS_A_BATCH = 512
BATCH_BYTES = 4 << 20
BATCHES_WAITING = 8
"""So many full batches may wait for the disk; what comes then is refused."""

_PAGE = 4096
_MOST_OF_A_PAGE = 2000
"""Bytes; an entry above this gets pages of its own."""
_OVERHEAD = 120
"""Bytes that an entry takes in its table and the time index beside its own, pages being partly empty."""

Tell = Callable[[Verdict], None]


def room(entry_size: int) -> int:
    """Bytes by which the database grows with an entry, about; commits tell what it really was."""
    if entry_size <= _MOST_OF_A_PAGE:
        return entry_size + _OVERHEAD
    return -(-entry_size // _PAGE) * _PAGE + _OVERHEAD


class Pending(NamedTuple):
    """A record that is on its way to the disk, and the size of its entry."""

    record: Record
    size: int


@define(eq=False)
class Batch:
    """One transaction on its way, and who waits for it."""

    changes: Changes = field(factory=Changes)
    pending: dict[bytes, Pending] = field(factory=dict)
    """By place."""
    tells: list[tuple[bytes, Tell, Verdict]] = field(factory=list)
    """Place, whom to tell, and what if the place is written."""
    size: int = 0
    """Bytes that its puts have written, whole pages."""
    growth: int = 0
    """Bytes by which the database grows with it, about."""


@define(eq=False)
class GroupCommit:
    """Batches in order: one with the writer, the others gathering. Nobody is told before the disk has it."""

    _writer: Writer
    _batch_bytes: int
    _settled: Callable[[Written], None]
    """Told of each batch first, before those who wait for it."""
    _written: Batch | None = field(default=None, init=False)
    _waiting: "deque[Batch]" = field(factory=deque, init=False)
    paused: bool = field(default=True, init=False)
    """While the database is opened."""

    @property
    def growth(self) -> int:
        """Bytes by which the database grows with what is on its way, about."""
        return sum(batch.growth for batch in self._batches())

    @property
    def has_room(self) -> bool:
        """Whether another put may wait."""
        return len(self._waiting) < BATCHES_WAITING or not self._is_full(self._waiting[-1])

    def newest(self, place: bytes) -> Pending | None:
        """What is on its way to a place, if anything."""
        batch = self._batch_of(place)
        return batch.pending[place] if batch else None

    def is_moving(self, place: bytes) -> bool:
        """Whether what is held at a place is being replaced or dropped."""
        return any(place in batch.pending or place in batch.changes.drops for batch in self._batches())

    def _batches(self) -> list[Batch]:
        return [*([self._written] if self._written else ()), *self._waiting]

    def _batch_of(self, place: bytes) -> Batch | None:
        return next((batch for batch in reversed(self._batches()) if place in batch.pending), None)

    def _is_full(self, batch: Batch) -> bool:
        return len(batch.pending) >= PUTS_A_BATCH or batch.size >= self._batch_bytes

    def _gathering(self) -> Batch:
        if not self._waiting or self._is_full(self._waiting[-1]):
            self._waiting.append(Batch())
        return self._waiting[-1]

    def put(self, place: bytes, record: Record, entry: bytes, growth: int, tell: Tell) -> None:
        """Have an entry written; `tell` hears that the record is held, or refused."""
        batch = self._gathering()
        batch.changes.puts[place] = entry
        batch.pending[place] = Pending(record, len(entry))
        batch.tells.append((place, tell, Verdict(Outcome.HELD, record.version)))
        batch.size += max(len(entry), _PAGE)
        batch.growth += growth
        self.send()

    def drop(self, place: bytes, floor: bytes | None, entry_size: int, now: float) -> None:
        """Have what is held at a place dropped, and a floor left there; with the next batch."""
        batch = self._gathering()
        batch.changes.now = now
        batch.changes.drops[place] = floor
        batch.growth -= room(entry_size)

    def forget(self, due: bytes) -> None:
        """Have an entry of the time index removed, with the next batch."""
        self._gathering().changes.stale.append(due)

    def tell(self, place: bytes, tell: Tell, verdict: Verdict) -> None:
        """Tell a verdict: at once, unless it rests on what is only on its way."""
        batch = self._batch_of(place)
        if batch is None:
            tell(verdict)
        else:
            batch.tells.append((place, tell, verdict))

    def send(self) -> None:
        """Hand the next batch to the writer, if there is one and nothing else is with it."""
        if self._written is None and self._waiting and not self.paused:
            self._written = self._waiting.popleft()
            self._writer.write(self._written.changes, self._was_written)

    def flush(self) -> None:
        """Hand over everything; nobody is told any more."""
        while self._waiting:
            self._writer.write(self._waiting.popleft().changes, lambda written: None)

    def _was_written(self, written: Written) -> None:
        batch, self._written = self._written, None
        assert batch is not None
        self._settled(written)
        for place, tell, verdict in batch.tells:
            failed = written.failure or place in written.refused
            tell(Verdict(Outcome.REFUSED, 0) if failed else verdict)
        self.send()
