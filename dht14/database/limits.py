"""How the writers share the bytes of a store.

One part is reserved for this node's own clients; other nodes may fill the rest. Each writer, and each subnet
of writers, may hold a share of the free bytes of that rest: the dynamic threshold of `security.shares`.
"""

from collections.abc import Iterable
from typing import NamedTuple

from attrs import frozen

from dht14.records.store import Refusal
from dht14.security.shares import bytes_needed

RESERVE = 8
"""One part in `RESERVE` is kept for this node's own clients. An eighth: in a network of eight nodes or
more with clients everywhere, the values of a node's own clients are no greater part of what it holds."""

EVICTION_TRIES = 32
"""Records that are considered for eviction before a new one is refused."""


class Growth(NamedTuple):
    """Bytes by which a store grows, or shrinks, when one record replaces another."""

    total: int
    of_parties: dict[bytes, int]
    """By the name or tag of each party whose share the two records use."""


class Shortfall(NamedTuple):
    """Bytes that must become free before a record may be held."""

    total: float
    """For the record to fit."""
    share: float
    """For none of its parties to hold more than its share."""

    @property
    def needed(self) -> float:
        """The greater of both; 0: the record can be held now."""
        return max(self.total, self.share)


NO_SHORTFALL = Shortfall(0, 0)


@frozen
class SpaceLimits:
    """The bytes of one store."""

    size: int
    """All bytes of the store."""
    writer_share: float
    """The bytes that a party may hold, as a multiple of the free ones (`shares.bytes_needed`)."""

    @property
    def open_to_others(self) -> int:
        """The bytes that other nodes may fill."""
        return self.size - self.size // RESERVE

    def is_far_from_full(self, used: int, growth: int) -> bool:
        """Whether a party could have `growth` more bytes even if all used bytes were its own: then no
        share needs to be read."""
        return (
            bytes_needed(used + growth, self.open_to_others, self.writer_share)
            <= self.open_to_others - used - growth
        )

    def shortfall(self, used: int, growth: int, parties: Iterable[tuple[int, int]] | None) -> Shortfall:
        """Return the bytes that are missing for a record that makes the store grow by `growth`; `used` are in
        use.

        `parties`: for each party whose share the record uses, the bytes it holds and those that the record
        adds; None: the record is this node's own.
        """
        if parties is None:
            return Shortfall(max(used + growth - self.size, 0) if growth > 0 else 0, 0)
        size = self.open_to_others
        free = size - used - growth
        held, more = max(((held, more) for held, more in parties if more > 0), key=sum, default=(0, 0))
        missing = max(bytes_needed(held + more, size, self.writer_share) - free, 0) if more else 0
        if not held:
            # A party that holds nothing has not used up its share: others have left no space.
            return Shortfall(max(missing, -free if growth > 0 else 0), 0)
        return Shortfall(max(-free, 0) if growth > 0 else 0, missing)


def refusal_for(shortfall: Shortfall) -> Refusal | None:
    """Return why a record with this shortfall is refused; None if nothing is missing."""
    if shortfall.total > 0:
        return Refusal.NO_ROOM
    return Refusal.SHARE if shortfall.share > 0 else None
