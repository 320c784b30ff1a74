"""A history checker: invocations and responses of all clients, and a verdict on each get.

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
from itertools import islice
from math import inf

from attrs import define, field

from dht14.errors import Malformed
from dht14.records.record import Kind, Record, proven
from dht14.sim.availability import Availability
from dht14.sim.operations import GOOD, GetVerdict, PutResponse, Read, Write

EXPIRY_TOLERANCE = 2.0
"""Seconds after its expiry for which a get may still return a value, however wrong clocks are."""

AGREEMENT_SECONDS = 60.0
"""Seconds after the end of a partition until both sides agree again."""

VIOLATIONS_KEPT = 1_000


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
        """The partition has ended, if there was one."""
        if self._agreed_at < inf:
            return
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
        """Whether its copies, or what they leave behind when they expire, cannot all be lost. A holder that
        returns after the expiry brings its copy to nobody any more."""
        copies, until = max(write.record.replication, 1), min(now, write.expires_at)
        return self.availability.must_keep(write.key, copies, write.invoked_at, write.responded_at, until)

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
