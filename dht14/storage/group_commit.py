"""Changes that wait for the disk together: while one batch is written, the next one gathers."""

from collections import Counter, deque
from collections.abc import Callable

from attrs import define, field, frozen

from dht14.storage.record import Record
from dht14.storage.room import Growth
from dht14.storage.store import Outcome, Verdict
from dht14.storage.tables import PAGE, Changes, growth_of
from dht14.storage.writer import Writer, Written

PUTS_A_BATCH = 512
BATCH_BYTES = 4 << 20
PUTS_WAITING = 4096
BYTES_WAITING = 32 << 20
"""What may wait for the disk; what comes then is refused."""

Tell = Callable[[Verdict], None]


@define(eq=False)
class Batch:
    """One transaction on its way, and who waits for it."""

    changes: Changes = field(factory=Changes)
    tells: list[tuple[bytes, Tell, Verdict]] = field(factory=list)
    """Place, whom to tell, and what if the place is written."""
    size: int = 0
    """Bytes that its puts have written, whole pages."""
    growth: int = 0
    """Bytes by which the database grows with it, about."""
    claims: Counter[bytes] = field(factory=Counter)
    """Bytes that its puts bring each party, by tag."""


@frozen
class Pending:
    """A record that is on its way to the disk, its entry, and what it travels with."""

    record: Record
    entry: bytes
    batch: Batch


@define(eq=False)
class GroupCommit:
    """Batches in order: one with the writer, the others gathering. Nobody is told before the disk has it."""

    _writer: Writer
    _batch_bytes: int
    _settled: Callable[[Written], None]
    """Told of each batch first, before those who wait for it."""
    paused: bool = field(default=True, init=False)
    """While the database is opened."""
    growth: int = field(default=0, init=False)
    """Bytes by which the database grows with all that is on its way, about."""
    claims: Counter[bytes] = field(factory=Counter, init=False)
    """Bytes that it brings each party, by tag. What it takes from one is not given back before it is done."""
    _with_writer: Batch | None = field(default=None, init=False)
    _waiting: "deque[Batch]" = field(factory=deque, init=False)
    _bytes_waiting: int = field(default=0, init=False)
    _pending: dict[bytes, Pending] = field(factory=dict, init=False)
    """By place; the newest where there are several."""
    _drops: dict[bytes, Batch] = field(factory=dict, init=False)

    @property
    def has_room(self) -> bool:
        """Whether another put may wait."""
        return self._bytes_waiting < BYTES_WAITING and len(self._pending) <= PUTS_WAITING

    def newest(self, place: bytes) -> Pending | None:
        """What is on its way to a place, if anything."""
        return self._pending.get(place)

    def is_moving(self, place: bytes) -> bool:
        """Whether what is held at a place is being replaced or dropped."""
        return place in self._pending or place in self._drops

    def put(self, place: bytes, record: Record, entry: bytes, growth: Growth, tell: Tell) -> None:
        """Have an entry written, by which so much grows; `tell` hears that the record is held, or refused."""
        batch = self._gathering()
        self._bytes_waiting += len(entry) - len(batch.changes.puts.get(place, b""))
        batch.changes.puts[place] = entry
        batch.tells.append((place, tell, Verdict(Outcome.HELD, record.version)))
        batch.size += max(len(entry), PAGE)
        self._pending[place] = Pending(record, entry, batch)
        self._grow(batch, growth)
        self.send()

    def drop(self, place: bytes, floor: bytes | None, entry: bytes, now: float) -> None:
        """Have the entry at a place dropped, and a floor left there; with the next batch."""
        batch = self._gathering()
        batch.changes.now = now
        batch.changes.drops[place] = floor
        self._drops[place] = batch
        self._grow(batch, growth_of(None, entry))

    def forget(self, due: bytes) -> None:
        """Have an entry of the time index removed, with the next batch."""
        self._gathering().changes.stale.append(due)

    def tell(self, place: bytes, tell: Tell, verdict: Verdict) -> None:
        """Tell a verdict: at once, unless it rests on what is only on its way."""
        pending = self._pending.get(place)
        if pending is None:
            tell(verdict)
        else:
            pending.batch.tells.append((place, tell, verdict))

    def send(self) -> None:
        """Hand the next batch to the writer, if there is one and nothing else is with it."""
        if self._with_writer is None and self._waiting and not self.paused:
            self._with_writer = self._waiting.popleft()
            self._writer.write(self._with_writer.changes, self._written)

    def flush(self) -> None:
        """Hand over everything; who waits for it is told no more."""
        while self._waiting:
            self._writer.write(self._waiting.popleft().changes, lambda written: None)

    def _gathering(self) -> Batch:
        if not self._waiting or self._is_full(self._waiting[-1]):
            self._waiting.append(Batch())
        return self._waiting[-1]

    def _is_full(self, batch: Batch) -> bool:
        return len(batch.changes.puts) >= PUTS_A_BATCH or batch.size >= self._batch_bytes

    def _grow(self, batch: Batch, growth: Growth) -> None:
        batch.growth += growth.total
        self.growth += growth.total
        for tag, grown in growth.of_parties.items():
            if grown > 0:
                batch.claims[tag] += grown
                self.claims[tag] += grown

    def _written(self, written: Written) -> None:
        batch, self._with_writer = self._with_writer, None
        assert batch is not None
        self._forget_batch(batch)
        self._settled(written)
        for place, tell, verdict in batch.tells:
            failed = written.failure or place in written.refused
            tell(Verdict(Outcome.REFUSED, 0) if failed else verdict)
        self.send()

    def _forget_batch(self, batch: Batch) -> None:
        self.growth -= batch.growth
        self.claims -= batch.claims
        for place, entry in batch.changes.puts.items():
            self._bytes_waiting -= len(entry)
            if self._pending[place].batch is batch:
                del self._pending[place]
        for place in batch.changes.drops:
            if self._drops[place] is batch:
                del self._drops[place]
