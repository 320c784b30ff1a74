"""Changes that wait for the disk together: while one batch is written, the next one gathers."""

from collections import Counter, deque
from collections.abc import Callable

from attrs import define, field, frozen

from dht14.database.floor_table import LeftFloor
from dht14.database.limits import Growth
from dht14.database.tables import PAGE, Changes, growth_of
from dht14.database.writer_thread import WriterThread, Written
from dht14.records.record import Record
from dht14.records.store import Outcome, Refusal, Verdict

PUTS_A_BATCH = 512
BATCH_BYTES = 4 << 20
PUTS_WAITING = 4096
BYTES_WAITING = 32 << 20
"""What may wait for the disk; what comes then is refused."""
TELLS_WAITING = 2 * PUTS_WAITING
TELLS_A_PLACE = 1024
"""How many may wait to be told, of all places and of one: who repeats one request while the disk hangs neither fills
the memory nor takes the room of others. The API's connections have one request each for a key: all may write the
same."""

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

    _writer: WriterThread
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
    _tells_waiting: Counter[bytes] = field(factory=Counter, init=False)
    """By place."""
    _tells: int = field(default=0, init=False)
    """All of them."""
    _pending: dict[bytes, Pending] = field(factory=dict, init=False)
    """By place; the newest where there are several."""
    _drops: dict[bytes, Batch] = field(factory=dict, init=False)

    def has_room(self, place: bytes) -> bool:
        """Whether another put, of this place, may wait."""
        has_room = self._bytes_waiting < BYTES_WAITING and len(self._pending) <= PUTS_WAITING
        return has_room and self._may_wait(place)

    def _may_wait(self, place: bytes) -> bool:
        """Whether one more may wait to be told."""
        return self._tells < TELLS_WAITING and self._tells_waiting[place] < TELLS_A_PLACE

    def newest(self, place: bytes) -> Pending | None:
        """What is on its way to a place, if anything."""
        return self._pending.get(place)

    def is_moving(self, place: bytes) -> bool:
        """Whether what is held at a place is being replaced or dropped."""
        return place in self._pending or place in self._drops

    def put(
        self,
        place: bytes,
        record: Record,
        entry: bytes,
        growth: Growth,
        tell: Tell,
        verdict: Verdict,
    ) -> None:
        """Have an entry written, by which so much grows; `tell` hears the verdict, or that it was refused."""
        batch = self._gathering()
        self._bytes_waiting += len(entry) - len(batch.changes.puts.get(place, b""))
        batch.changes.puts[place] = entry
        self._wait(batch, place, tell, verdict)
        batch.size += max(len(entry), PAGE)
        self._pending[place] = Pending(record, entry, batch)
        self._grow(batch, growth)
        self.send()

    def drop(self, place: bytes, floor: LeftFloor | None, entry: bytes, now: float) -> None:
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
        """Tell a verdict: at once, unless it rests on what is only on its way; a refusal where too many wait."""
        pending = self._pending.get(place)
        if pending is None:
            tell(verdict)
        elif self._may_wait(place):
            self._wait(pending.batch, place, tell, verdict)
        else:
            tell(Verdict(Outcome.REFUSED, 0, Refusal.NO_ROOM))

    def _wait(self, batch: Batch, place: bytes, tell: Tell, verdict: Verdict) -> None:
        batch.tells.append((place, tell, verdict))
        self._tells_waiting[place] += 1
        self._tells += 1

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
        self._tells -= len(batch.tells)
        self._tells_waiting -= Counter(place for place, _, _ in batch.tells)
        for place in batch.changes.drops:
            if self._drops[place] is batch:
                del self._drops[place]
