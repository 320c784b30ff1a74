"""What clients asked of a network, what they were told, and which answers break a promise. DESIGN 2.4.

Each key is a regular register, whatever the replication of its copies: a get brings the newest value that was
acknowledged before the get began, or one that was being written meanwhile, until that expires. What an
operation that failed, or is still at work, has written may be seen or not. Each get is judged by itself: while
a put is at work, or after it has failed, one get may bring it and a later get what was before (`returned` counts
those). What is newer than what depends on the kind of the key.

- Content cannot be replaced, and replaces all else under its key until it expires: then nothing is left of it.
- An owner's records follow each other by the numbers that the owner has signed, and replace open ones.
- Open values follow each other in time: one that was put after another was answered replaces it. Of two puts
  at the same time either may win.

Nothing is promised where more nodes were lost than a value had copies, and of open keys where nodes lie. While the
network is parted, and for a minute after that, a get may miss what the other side has; later it may bring any
of the puts of that time, as if they had all been at work until then. Times are the true ones, in seconds, on one clock for all clients.
"""

from collections import Counter
from enum import Enum
from itertools import islice
from math import inf

from attrs import define, field, frozen

from dht14.errors import Malformed
from dht14.records.receipt import PutOutcome, Receipt
from dht14.records.record import Kind, Record, proven
from dht14.sim.availability import Availability

EXPIRY_TOLERANCE = 2.0
"""Seconds after its expiry for which a value may still be served: promised, whatever the clocks say."""

AGREEMENT_SECONDS = 60.0
"""Seconds after a partition until both sides have the same again."""

VIOLATIONS_KEPT = 1_000


class GetVerdict(Enum):
    """What a get was."""

    RIGHT = "right"
    LOST = "lost"
    """Nothing was found, though a value was acknowledged and has not expired."""
    STALE = "stale"
    """Older than what was acknowledged before the get began."""
    EXPIRED = "expired"
    """Its time was over before the get began."""
    FORGED = "forged"
    """Nobody who may write there ever wrote it."""
    EXCUSED = "excused"
    """One of these, but more nodes were lost, or lied, than the promise covers."""


GOOD = (GetVerdict.RIGHT, GetVerdict.EXCUSED)


class PutResponse(Enum):
    """What the client of a put was told."""

    UNKNOWN = "unfinished"
    STORED = "stored"
    SUPERSEDED = "superseded"
    """Stored, and a later write has won: that one must be in the history too."""
    FAILED = "failed"

    @classmethod
    def of(cls, describe: bool | Receipt) -> "PutResponse":
        """The ending that a node tells, in either form."""
        if isinstance(describe, Receipt) and describe.outcome is PutOutcome.SUPERSEDED:
            return cls.SUPERSEDED
        acknowledged = describe if isinstance(describe, bool) else describe.acknowledged
        return cls.STORED if acknowledged else cls.FAILED


@define(eq=False)
class Write:
    """One put. Its kind and its number are seen from key and value."""

    number: int
    """In the order in which puts began."""
    record: Record = field(repr=False)
    """What was put, with the owner's number as its version; its expiry is the earliest that is possible."""
    kind: Kind | None
    """None: it may not stand under its key, and no node may take it."""
    began: float
    client: str = ""
    """Who asked, and where."""
    ended: float = inf
    response: PutResponse = PutResponse.UNKNOWN
    settled: float = inf
    """From when on it replaces what was there before: when it ended, or when the network agreed again."""
    first_seen: float = inf
    """When the first get ended that brought it."""

    @property
    def key(self) -> int:
        """Under which it was put."""
        return self.record.key

    @property
    def value(self) -> bytes:
        """What was put."""
        return self.record.value

    @property
    def expires_at(self) -> float:
        """When its time is over."""
        return self.record.expires_at

    @property
    def acknowledged(self) -> bool:
        """Whether the client was told that it is stored."""
        return self.response in (PutResponse.STORED, PutResponse.SUPERSEDED)

    @property
    def leaves_value(self) -> bool:
        """Whether it leaves something to be found: an owner's deletion does not."""
        return not (self.kind is Kind.OWNER and self.record.is_tombstone)

    def replaces(self, other: "Write") -> bool:
        """Whether a network that has taken both must not bring the other one."""
        kind, others = self.kind or 0, other.kind or 0
        if kind != others:
            return kind > others
        if kind == Kind.OPEN:
            return self.began >= other.settled
        return kind == Kind.OWNER and self.record.version > other.record.version

    def outlasts(self, other: "Write") -> bool:
        """Whether the other write leaves in place what this one has put."""
        return other is self or self.kind is Kind.CONTENT or self.replaces(other)

    def describe(self, since: float) -> str:
        """It in one line, with times counted from then."""
        what = f"seq {self.record.version}, " if self.kind is Kind.OWNER else ""
        gone = "" if self.leaves_value else "deletion, "
        until = "..." if self.ended == inf else f"{self.ended - since:.3f}"
        return (
            f"put {self.number} ({what}{gone}r {self.record.replication}, {self.began - since:.3f}-{until} s "
            f"{self.response.value}{_at(self.client)})"
        )


@frozen
class Read:
    """One get, and what it was."""

    key: int
    kind: Kind
    """The highest that was written under the key."""
    verdict: GetVerdict
    found: bytes | None = field(repr=False)
    began: float
    ended: float
    client: str
    expected: Write | None
    """What should have been brought, or something later; None where nothing had to be found."""
    seen: Write | None
    """What was brought."""

    def describe(self, since: float) -> str:
        """It in one line, with times counted from then."""
        if self.seen is not None:
            brought = self.seen.describe(since)
        else:
            brought = "nothing" if self.found is None else f"bytes of nobody: {self.found[:16].hex()}..."
        wanted = f" rather than {self.expected.describe(since)}" if self.expected is not None else ""
        if self.verdict is GetVerdict.EXPIRED and self.seen is not None:
            wanted = f", which expired at {self.seen.expires_at - since:.3f} s"
        return (
            f"{self.verdict.value}: {self.kind.name.lower()} key {self.key >> 224:08x}, get "
            f"{self.began - since:.3f}-{self.ended - since:.3f} s{_at(self.client)} brought {brought}{wanted}"
        )


def _at(client: str) -> str:
    return f" at {client}" if client else ""


@define(eq=False)
class History:
    """Remembers every put, and judges every get when it has ended."""

    expiry_tolerance: float = EXPIRY_TOLERANCE
    availability: Availability = field(factory=Availability)
    """Of the nodes. While nothing is known of them nothing is excused."""
    counts: Counter[tuple[Kind, GetVerdict]] = field(factory=Counter, init=False)
    """Of all gets, by the kind of the key."""
    violations: list[Read] = field(factory=list, init=False)
    """The first of the gets that break a promise."""
    returned: int = field(default=0, init=False)
    """Gets that were right, but brought something older than an earlier get had brought."""
    _writes: dict[int, list[Write]] = field(factory=dict, init=False)
    """By key, in the order in which they began."""
    _puts: int = field(default=0, init=False)
    _agreed_at: float = field(default=0.0, init=False)
    """When both sides of the last partition have the same; `inf` while it lasts."""

    def put_invoked(
        self, key: int, value: bytes, ttl: float, now: float, copies: int = 0, client: str = ""
    ) -> Write:
        """A client has asked for a put of a value that shall live for `ttl` seconds, in so many copies."""
        record = Record(key, value, 0, now + ttl, copies)
        kind: Kind | None = record.kind
        if record.is_owned:
            try:
                record = proven(record)
            except Malformed:
                kind = None
        self._puts += 1
        write = Write(self._puts, record, kind, now, client)
        self._writes.setdefault(key, []).append(write)
        return write

    def put_responded(self, write: Write, response: PutResponse, now: float) -> None:
        """The client has been answered."""
        write.ended, write.response = now, response
        write.settled = max(now, self._agreed_at)

    def partitioned(self) -> None:
        """From now on nodes are kept apart."""
        self._agreed_at = inf

    def healed(self, now: float) -> None:
        """They are so no more."""
        self._agreed_at = now + AGREEMENT_SECONDS
        for writes in self._writes.values():
            for write in writes:
                if write.ended <= now < write.settled:
                    write.settled = self._agreed_at

    def get_responded(
        self, key: int, found: bytes | None, began: float, ended: float, client: str = ""
    ) -> Read:
        """A get has ended: what it was. Puts that began before that must have been told of."""
        writes = [write for write in self._writes.get(key, ()) if write.began <= ended and write.kind]
        before = [write for write in writes if write.acknowledged and write.settled <= began]
        kind = max((write.kind for write in writes if write.kind), default=Kind.OPEN)
        seen = [write for write in writes if write.value == found]
        if found is None:
            verdict, expected = self._judge_nothing(writes, before, ended)
        elif not seen:
            verdict, expected = self._judge_junk(before, ended)
        else:
            verdict, expected = self._judge_found(seen, before, began, ended)
        is_open = all(write.kind is Kind.OPEN for write in before if self._stands(write, ended))
        is_older = bool(seen) and verdict is not GetVerdict.EXPIRED
        if (verdict is GetVerdict.LOST or is_older) and verdict not in GOOD and began < self._agreed_at:
            verdict = GetVerdict.EXCUSED
        if verdict not in GOOD and is_open and not self.availability.all_honest:
            verdict = GetVerdict.EXCUSED
        brought = max(seen, key=lambda write: write.began, default=None)
        read = Read(key, kind, verdict, found, began, ended, client, expected, brought)
        self._note(read, writes, seen)
        return read

    def _note(self, read: Read, writes: list[Write], seen: list[Write]) -> None:
        self.counts[read.kind, read.verdict] += 1
        if read.verdict not in GOOD and len(self.violations) < VIOLATIONS_KEPT:
            self.violations.append(read)
        if read.verdict is GetVerdict.RIGHT and seen:
            known = [write for write in writes if write.first_seen <= read.began]
            self.returned += all(any(newer.replaces(write) for newer in known) for write in seen)
        if len(seen) == 1:
            seen[0].first_seen = min(seen[0].first_seen, read.ended)

    def _judge_nothing(
        self, writes: list[Write], before: list[Write], now: float
    ) -> tuple[GetVerdict, Write | None]:
        """Nothing is right where nothing was acknowledged, or the last of it may be over or deleted."""
        lives_on = {
            write: write.leaves_value and write.expires_at > now + self.expiry_tolerance for write in writes
        }
        kept = [
            write
            for write in before
            if lives_on[write] and all(lives_on[other] for other in writes if not write.outlasts(other))
        ]
        return self._weighed(GetVerdict.LOST, kept, now) if kept else (GetVerdict.RIGHT, None)

    def _judge_junk(self, before: list[Write], now: float) -> tuple[GetVerdict, Write | None]:
        """Bytes of nobody: to be had only from liars, who may be all that is near the key."""
        if self.availability.all_honest:
            return GetVerdict.FORGED, before[-1] if before else None
        return self._weighed(GetVerdict.FORGED, [write for write in before if self._stands(write, now)], now)

    def _stands(self, write: Write, now: float) -> bool:
        """Whether it still keeps others out: of content that has expired nothing is remembered."""
        return write.kind is not Kind.CONTENT or write.expires_at > now + self.expiry_tolerance

    def _judge_found(
        self, seen: list[Write], before: list[Write], began: float, now: float
    ) -> tuple[GetVerdict, Write | None]:
        if max(write.expires_at for write in seen) + self.expiry_tolerance < began:
            return GetVerdict.EXPIRED, None
        # The same bytes may have been put more than once, and any of these puts may be what was seen.
        verdicts = [self._judge_seen(write, before, now) for write in seen]
        return next((verdict for verdict in verdicts if verdict[0] in GOOD), verdicts[-1])

    def _judge_seen(self, seen: Write, before: list[Write], now: float) -> tuple[GetVerdict, Write | None]:
        better = [write for write in before if write.replaces(seen) and self._stands(write, now)]
        if not better:
            return GetVerdict.RIGHT, None
        is_junk = better[-1].kind != seen.kind
        return self._weighed(GetVerdict.FORGED if is_junk else GetVerdict.STALE, better, now)

    def _weighed(
        self, verdict: GetVerdict, expected: list[Write], now: float
    ) -> tuple[GetVerdict, Write | None]:
        """The judgement, with the last of the writes that can still be expected."""
        for write in reversed(expected):
            if self._must_keep(write, now):
                return verdict, write
        return GetVerdict.EXCUSED, expected[-1] if expected else None

    def _must_keep(self, write: Write, now: float) -> bool:
        copies = max(write.record.replication, 1)
        return self.availability.must_keep(write.key, copies, write.began, write.ended, now)

    # What is known

    def keys(self, limit: int) -> list[int]:
        """So many of the keys that were ever written, the first ones."""
        return list(islice(self._writes, limit))

    def writes(self, key: int) -> list[Write]:
        """The puts of a key so far, in the order in which they began."""
        return list(self._writes.get(key, ()))

    def acknowledged(self, now: float) -> list[Write]:
        """Of each key whose newest write was acknowledged and has not expired, that write."""
        newest = (writes[-1] for writes in self._writes.values())
        return [
            write for write in newest if write.acknowledged and write.expires_at > now and write.leaves_value
        ]

    def count(self, verdict: GetVerdict, kind: Kind | None = None) -> int:
        """How many gets were that, of keys of all kinds or one."""
        return sum(n for (k, j), n in self.counts.items() if j is verdict and kind in (None, k))
