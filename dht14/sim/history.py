"""A history checker: invocations and responses of all clients, and a verdict on each get. DESIGN 2.4.

Each key is a regular register, whatever the replication of its copies: a get returns the newest value that
was acknowledged before the get was invoked, or a value of a concurrent put, until that expires. A get may or
may not return the value of a put that failed or has no response yet. Each get has its own verdict: while a
put runs, or after it has failed, one get may return its value and a later get the value before it (`returned`
counts these). Which value is newer depends on the kind of the key.

- Content cannot be replaced, and replaces all else under its key until it expires: then no trace of it is
  left.
- The numbers that an owner has signed order its records, which replace open ones.
- Time orders open values: a put that was invoked after the response to another replaces it. Of two concurrent
  puts either may win.

Nothing is promised where more nodes were lost than a value had copies, nor for open keys while a node is
hostile. During a partition and for a minute after it a get may miss values of the other side; later it may
return the value of any put of that time, as if all of these puts had been concurrent until then. All times
are true times in seconds, from one clock for all clients.
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
"""Seconds after its expiry for which a get may still return a value, however wrong clocks are."""

AGREEMENT_SECONDS = 60.0
"""Seconds after the end of a partition until both sides agree again."""

VIOLATIONS_KEPT = 1_000


class GetVerdict(Enum):
    """The verdict on one get."""

    RIGHT = "right"
    LOST = "lost"
    """It returned nothing, but a value was acknowledged and has not expired."""
    STALE = "stale"
    """It returned an older value than one that was acknowledged before the get was invoked."""
    EXPIRED = "expired"
    """The value had expired before the get was invoked."""
    FORGED = "forged"
    """No client that may write under the key put this value."""
    EXCUSED = "excused"
    """One of these, but more nodes were lost or hostile than the promise covers."""


GOOD = (GetVerdict.RIGHT, GetVerdict.EXCUSED)


class PutResponse(Enum):
    """The response to a put."""

    UNKNOWN = "unfinished"
    STORED = "stored"
    SUPERSEDED = "superseded"
    """Stored, but a later write has won: that one must be in the history too."""
    FAILED = "failed"

    @classmethod
    def of(cls, answer: bool | Receipt) -> "PutResponse":
        """Return the response for a bool (acknowledged or not) or a receipt."""
        if isinstance(answer, Receipt) and answer.outcome is PutOutcome.SUPERSEDED:
            return cls.SUPERSEDED
        acknowledged = answer if isinstance(answer, bool) else answer.acknowledged
        return cls.STORED if acknowledged else cls.FAILED


@define(eq=False)
class Write:
    """One put. Key and value determine its kind and its owner's number."""

    number: int
    """In the order of invocations."""
    record: Record = field(repr=False)
    """The record that was put, with the owner's number as its version; its expiry is the earliest
    possible."""
    kind: Kind | None
    """None: the value is not valid under its key, and no node may store it."""
    invoked_at: float
    client: str = ""
    """The client and its node."""
    responded_at: float = inf
    response: PutResponse = PutResponse.UNKNOWN
    settled: float = inf
    """When it replaces older values: at the response, or when the network agrees again."""
    first_seen: float = inf
    """When the first get that returned it ended."""

    @property
    def key(self) -> int:
        """Of the record."""
        return self.record.key

    @property
    def value(self) -> bytes:
        """Of the record."""
        return self.record.value

    @property
    def expires_at(self) -> float:
        """Of the record."""
        return self.record.expires_at

    @property
    def acknowledged(self) -> bool:
        """Whether the response says that it is stored."""
        return self.response in (PutResponse.STORED, PutResponse.SUPERSEDED)

    @property
    def leaves_value(self) -> bool:
        """Whether a get can return it: an owner's deletion leaves nothing."""
        return not (self.kind is Kind.OWNER and self.record.is_tombstone)

    def replaces(self, other: "Write") -> bool:
        """Whether no get may return the other write once both are acknowledged."""
        if other is self:  # Its response may have come at the instant of its invocation.
            return False
        kind, others = self.kind or 0, other.kind or 0
        if kind != others:
            return kind > others
        if kind == Kind.OPEN:
            return self.invoked_at >= other.settled
        return kind == Kind.OWNER and self.record.version > other.record.version

    def outlasts(self, other: "Write") -> bool:
        """Whether this write is still valid after the other one."""
        return other is self or self.kind is Kind.CONTENT or self.replaces(other)

    def describe(self, since: float) -> str:
        """Describe it in one line, with times relative to `since`."""
        what = f"seq {self.record.version}, " if self.kind is Kind.OWNER else ""
        gone = "" if self.leaves_value else "deletion, "
        until = "..." if self.responded_at == inf else f"{self.responded_at - since:.3f}"
        began = f"{self.invoked_at - since:.3f}"
        return (
            f"put {self.number} ({what}{gone}r {self.record.replication}, {began}-{until} s "
            f"{self.response.value}{_at(self.client)})"
        )


@frozen
class Read:
    """One get with its verdict."""

    key: int
    kind: Kind
    """The highest kind that was put under the key."""
    verdict: GetVerdict
    found: bytes | None = field(repr=False)
    invoked_at: float
    responded_at: float
    client: str
    expected: Write | None
    """The write that it must return, or a later one; None where it may return nothing."""
    seen: Write | None
    """The write that it returned."""

    def describe(self, since: float) -> str:
        """Describe it in one line, with times relative to `since`."""
        if self.seen is not None:
            brought = self.seen.describe(since)
        else:
            brought = "nothing" if self.found is None else f"bytes of nobody: {self.found[:16].hex()}..."
        wanted = f" rather than {self.expected.describe(since)}" if self.expected is not None else ""
        if self.verdict is GetVerdict.EXPIRED and self.seen is not None:
            wanted = f", which expired at {self.seen.expires_at - since:.3f} s"
        times = f"{self.invoked_at - since:.3f}-{self.responded_at - since:.3f} s"
        return (
            f"{self.verdict.value}: {self.kind.name.lower()} key {self.key >> 224:08x}, get "
            f"{times}{_at(self.client)} brought {brought}{wanted}"
        )


def _at(client: str) -> str:
    return f" at {client}" if client else ""


@define(eq=False)
class History:
    """Records every put, and gives each get its verdict at its response."""

    expiry_tolerance: float = EXPIRY_TOLERANCE
    availability: Availability = field(factory=Availability)
    """Of the nodes. While it is empty no get is excused."""
    counts: Counter[tuple[Kind, GetVerdict]] = field(factory=Counter, init=False)
    """Gets, by the kind of the key and verdict."""
    violations: list[Read] = field(factory=list, init=False)
    """The first gets that break a promise."""
    returned: int = field(default=0, init=False)
    """Right gets that returned an older value than an earlier get."""
    _writes: dict[int, list[Write]] = field(factory=dict, init=False)
    """By key, in the order of invocations."""
    _puts: int = field(default=0, init=False)
    _agreed_at: float = field(default=0.0, init=False)
    """When both sides of the last partition agree again; `inf` during the partition."""

    def put_invoked(
        self, key: int, value: bytes, ttl: float, now: float, copies: int = 0, client: str = ""
    ) -> Write:
        """A client has invoked a put of a value for `ttl` seconds, in `copies` copies."""
        record = Record(key=key, value=value, version=0, expires_at=now + ttl, replication=copies)
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
        """The client has the response."""
        write.responded_at, write.response = now, response
        write.settled = max(now, self._agreed_at)

    def partitioned(self) -> None:
        """A partition has begun."""
        self._agreed_at = inf

    def healed(self, now: float) -> None:
        """The partition has ended."""
        self._agreed_at = now + AGREEMENT_SECONDS
        for writes in self._writes.values():
            for write in writes:
                if write.responded_at <= now < write.settled:
                    write.settled = self._agreed_at

    def get_responded(
        self, key: int, found: bytes | None, invoked_at: float, responded_at: float, client: str = ""
    ) -> Read:
        """A get has its response; return it with its verdict. All puts invoked before now must be
        recorded."""
        writes = [
            write for write in self._writes.get(key, ()) if write.invoked_at <= responded_at and write.kind
        ]
        before = [write for write in writes if write.acknowledged and write.settled <= invoked_at]
        kind = max((write.kind for write in writes if write.kind), default=Kind.OPEN)
        seen = [write for write in writes if write.value == found]
        if found is None:
            verdict, expected = self._judge_nothing(writes, before, responded_at)
        elif not seen:
            verdict, expected = self._judge_junk(before, responded_at)
        else:
            verdict, expected = self._judge_found(seen, before, invoked_at, responded_at)
        is_open = all(write.kind is Kind.OPEN for write in before if self._stands(write, responded_at))
        is_older = bool(seen) and verdict is not GetVerdict.EXPIRED
        if (verdict is GetVerdict.LOST or is_older) and verdict not in GOOD and invoked_at < self._agreed_at:
            verdict = GetVerdict.EXCUSED
        if verdict not in GOOD and is_open and not self.availability.all_honest:
            verdict = GetVerdict.EXCUSED
        brought = max(seen, key=lambda write: write.invoked_at, default=None)
        read = Read(key, kind, verdict, found, invoked_at, responded_at, client, expected, brought)
        self._note(read, writes, seen)
        return read

    def _note(self, read: Read, writes: list[Write], seen: list[Write]) -> None:
        self.counts[read.kind, read.verdict] += 1
        if read.verdict not in GOOD and len(self.violations) < VIOLATIONS_KEPT:
            self.violations.append(read)
        if read.verdict is GetVerdict.RIGHT and seen:
            known = [write for write in writes if write.first_seen <= read.invoked_at]
            self.returned += all(any(newer.replaces(write) for newer in known) for write in seen)
        if len(seen) == 1:
            seen[0].first_seen = min(seen[0].first_seen, read.responded_at)

    def _judge_nothing(
        self, writes: list[Write], before: list[Write], now: float
    ) -> tuple[GetVerdict, Write | None]:
        """Nothing is right when no put was acknowledged, or when the newest value may have expired or been
        deleted."""
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
        """Bytes that no client put: only hostile nodes return them, and these may be all nodes near the
        key."""
        if self.availability.all_honest:
            return GetVerdict.FORGED, before[-1] if before else None
        return self._weighed(GetVerdict.FORGED, [write for write in before if self._stands(write, now)], now)

    def _stands(self, write: Write, now: float) -> bool:
        """Whether it still replaces others: no node remembers content that has expired."""
        return write.kind is not Kind.CONTENT or write.expires_at > now + self.expiry_tolerance

    def _judge_found(
        self, seen: list[Write], before: list[Write], invoked_at: float, now: float
    ) -> tuple[GetVerdict, Write | None]:
        if max(write.expires_at for write in seen) + self.expiry_tolerance < invoked_at:
            return GetVerdict.EXPIRED, None
        # Several puts may have had the same bytes; the get may have returned any of them.
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
        """Return the verdict with the newest write that the network must still keep; else excuse the get."""
        for write in reversed(expected):
            if self._must_keep(write, now):
                return verdict, write
        return GetVerdict.EXCUSED, expected[-1] if expected else None

    def _must_keep(self, write: Write, now: float) -> bool:
        copies = max(write.record.replication, 1)
        return self.availability.must_keep(write.key, copies, write.invoked_at, write.responded_at, now)

    # Queries

    def keys(self, limit: int) -> list[int]:
        """Return the first `limit` keys that were put."""
        return list(islice(self._writes, limit))

    def writes(self, key: int) -> list[Write]:
        """Return the puts of a key, in the order of invocations."""
        return list(self._writes.get(key, ()))

    def acknowledged(self, now: float) -> list[Write]:
        """Return the newest write of each key, where it is acknowledged and has neither expired nor deleted
        the value."""
        newest = (writes[-1] for writes in self._writes.values())
        return [
            write for write in newest if write.acknowledged and write.expires_at > now and write.leaves_value
        ]

    def count(self, verdict: GetVerdict, kind: Kind | None = None) -> int:
        """Count the gets with this verdict, of keys of one kind or all."""
        return sum(n for (k, j), n in self.counts.items() if j is verdict and kind in (None, k))
