"""How the bytes of a store are shared between those who write.

What other nodes bring may take all but the last part, which is kept for this node's own clients. Of what is free
of that no writer, and no subnet of writers, may hold more than its share: the dynamic threshold of
`security.shares`.
"""

from collections.abc import Iterable
from typing import NamedTuple

from attrs import frozen

from dht14.records.store import Refusal
from dht14.security.shares import bytes_needed

RESERVE = 8
"""One part in so many is kept for this node's own clients. An eighth: where eight nodes or more are written through
alike, the values of a node's own clients are no greater part of what it holds."""

EVICTION_TRIES = 32
"""How many records are considered for eviction before a new one is refused."""


class Growth(NamedTuple):
    """What a store has more, or less, when one record takes the place of another."""

    total: int
    of_parties: dict[bytes, int]
    """Of each party that the two count for, by its name or tag."""


class Shortfall(NamedTuple):
    """Bytes that must become free before a record may be held."""

    room: float
    """So that it fits."""
    share: float
    """So that none of its parties holds more than its share then."""

    @property
    def most(self) -> float:
        """The greater of both; 0: it may be held now."""
        return max(self.room, self.share)


NO_SHORTFALL = Shortfall(0, 0)


@frozen
class SpaceLimits:
    """The bytes of one store."""

    size: int
    """How many there are in all."""
    writer_share: float
    """What a party may hold, as a multiple of what is free (`shares.bytes_needed`)."""

    @property
    def of_others(self) -> int:
        """How many of them other nodes may fill."""
        return self.size - self.size // RESERVE

    def is_ample(self, used: int, growth: int) -> bool:
        """Whether any party may have `growth` more, were all that is used its own: then nobody need be asked for."""
        return (
            bytes_needed(used + growth, self.of_others, self.writer_share) <= self.of_others - used - growth
        )

    def shortfall(self, used: int, growth: int, parties: Iterable[tuple[int, int]] | None) -> Shortfall:
        """What is lacking while `used` bytes are, for `growth` more.

        `parties`: what each of those that a record of another node counts for holds, and how much more it would;
        None: the record is of this node itself.
        """
        if parties is None:
            return Shortfall(max(used + growth - self.size, 0) if growth > 0 else 0, 0)
        size = self.of_others
        free = size - used - growth
        held, more = max(((held, more) for held, more in parties if more > 0), key=sum, default=(0, 0))
        lacking = max(bytes_needed(held + more, size, self.writer_share) - free, 0) if more else 0
        if not held:
            # Who holds nothing has not used up its share: others have left nothing.
            return Shortfall(max(lacking, -free if growth > 0 else 0), 0)
        return Shortfall(max(-free, 0) if growth > 0 else 0, lacking)


def refusal_for(shortfall: Shortfall) -> Refusal | None:
    """Why a record is refused for which so much is lacking; None where nothing is."""
    if shortfall.room > 0:
        return Refusal.NO_ROOM
    return Refusal.SHARE if shortfall.share > 0 else None
