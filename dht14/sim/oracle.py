"""What is known of all writes from outside, and which reads are right after them.

Clients of a network are promised a register for each key: a read brings the newest value that was
acknowledged before the read began, or one that was written meanwhile, until that expires. What an
operation that failed, or is still at work, has written may be seen or not.
"""

from enum import Enum
from itertools import islice
from math import inf

from attrs import define, field

from dht14.errors import Malformed
from dht14.storage.envelope import MAGIC, decode

LATENESS = 2.0
"""Seconds after its expiry for which a value may still be served: promised, whatever the clocks say."""


class Judgement(Enum):
    """What a read was."""

    RIGHT = "right"
    LOST = "lost"
    """Nothing was found, though a value was acknowledged and has not expired."""
    STALE = "stale"
    """Older than what was acknowledged before the read began."""
    EXPIRED = "expired"
    """Its time was over before the read began."""
    FORGED = "forged"
    """Nobody ever wrote it."""


@define(eq=False)
class Write:
    """One put. Times are the true ones; it has not ended while `ended` is infinite."""

    key: int
    value: bytes = field(repr=False)
    began: float
    expires_at: float
    ended: float = inf
    acknowledged: bool = False

    @property
    def holds(self) -> bool:
        """Whether it leaves something to be found: an owner's deletion does not."""
        try:
            return not (self.value.startswith(MAGIC) and decode(self.value).deleted)
        except Malformed:
            return True


@define(eq=False)
class Oracle:
    """Remembers every put, and judges every get."""

    _writes: dict[int, list[Write]] = field(factory=dict)
    """By key, in the order in which they began."""

    def put_began(self, key: int, value: bytes, ttl: float, now: float) -> Write:
        """A client has asked for a put of a value that shall live for `ttl` seconds."""
        write = Write(key, value, now, now + ttl)
        self._writes.setdefault(key, []).append(write)
        return write

    def put_ended(self, write: Write, acknowledged: bool, now: float) -> None:
        """The client has been answered."""
        write.ended, write.acknowledged = now, acknowledged

    def keys(self, most: int) -> list[int]:
        """So many of the keys that were ever written, the first ones."""
        return list(islice(self._writes, most))

    def acknowledged(self, now: float) -> list[Write]:
        """Of each key whose newest write was acknowledged and has not expired, that write."""
        newest = (writes[-1] for writes in self._writes.values())
        return [write for write in newest if write.acknowledged and write.expires_at > now and write.holds]

    def judge(self, key: int, found: bytes | None, began: float, ended: float) -> Judgement:
        """What a get was that began and ended then."""
        writes = self._writes.get(key, [])
        before = [write for write in writes if write.acknowledged and write.ended <= began]
        if found is None:
            return self._judge_nothing(writes, before, ended)
        seen = [write for write in writes if write.value == found and write.began <= ended]
        if not seen:
            return Judgement.FORGED
        if max(write.expires_at for write in seen) + LATENESS < began:
            return Judgement.EXPIRED
        # Of writes that were at work at the same time the order of records decides.
        last = max(write.ended for write in seen)
        if any(later.began >= last for later in before):
            return Judgement.STALE
        return Judgement.RIGHT

    @staticmethod
    def _judge_nothing(writes: list[Write], before: list[Write], ended: float) -> Judgement:
        """Nothing is right where nothing was acknowledged, or the last of it may be over."""
        kept = [write for write in before if write.holds and write.expires_at > ended + LATENESS]
        for write in kept:
            followers = [other for other in writes if other.ended > write.began and other is not write]
            if all(other.holds and other.expires_at > ended + LATENESS for other in followers):
                return Judgement.LOST
        return Judgement.RIGHT
