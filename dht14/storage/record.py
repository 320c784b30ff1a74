"""A record: one value, its version, and the moment it expires. DESIGN 4.5."""

import hashlib
from enum import IntEnum

from attrs import field, frozen

from dht14.kademlia.keyspace import id_from_bytes


class Kind(IntEnum):
    """What makes a record right; of two kinds under one key the higher wins."""

    OPEN = 1
    """Anyone may write any value: the last writer wins."""
    CONTENT = 3
    """The key is the SHA-256 of the value: nobody can change it, and the first answer proves itself."""


@frozen
class Record:
    """A value under a key. `expires_at` is fixed by the writer; no copy, however made, lives longer."""

    key: int
    value: bytes = field(repr=False)
    version: int
    expires_at: float
    """Seconds, on the clock of this node. Between nodes the remaining time travels."""
    replication: int
    """How many holders the writer asked for."""

    @property
    def kind(self) -> Kind:
        """Seen from key and value alone."""
        return self.rank[0]

    @property
    def rank(self) -> tuple[Kind, int, bytes]:
        """The total order of the records of one key: the greatest is the one all replicas settle on.

        Content has no versions: whatever its writers claim, under one key it is the same.
        """
        digest = hashlib.sha256(self.value).digest()
        if id_from_bytes(digest) == self.key:
            return Kind.CONTENT, 0, digest
        return Kind.OPEN, self.version, digest

    def remaining_ms(self, now: float) -> int:
        """Milliseconds it still has to live; 0 or less once it has expired."""
        return int((self.expires_at - now) * 1000)


CLOCK_TOLERANCE = 300.0
"""Seconds that a writer's clock may be ahead of ours before we refuse what it writes."""


def version_at(now: float) -> int:
    """The lowest version of this moment: 48 bits of milliseconds, 16 bits to count within one."""
    return int(now * 1000) << 16


def next_version(now: float, newest_seen: int) -> int:
    """A version for a new value: of now, and in any case above all that was seen (a hybrid clock).

    A writer whose clock is slow still overwrites what it has read.
    """
    return max(version_at(now), newest_seen + 1)
