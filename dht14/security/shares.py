"""Pools that strangers share, with a share for each party.

Whatever is given to those who come first is had by who comes most often. So of each pool no party (an id, a
host, a subnet: `subnet.Party`) gets more than its share, and who is known comes before who is not. There are three
kinds of pools: bytes, which stay taken for long; places, which can be taken back; and a number of times a second.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import IntEnum
from math import sqrt
from typing import Generic, TypeVar

from attrs import define, field

from dht14.security.rate_limiter import RateLimiter, TokenBucket
from dht14.security.subnets import Party, Scope

M = TypeVar("M")


# Bytes


SCARCE = 0.5
"""The part of a pool of bytes that must be free for a party to hold as much as it may."""


def bytes_needed(held: float, size: int, alpha: float) -> float:
    """How many of the `size` bytes of a pool must be free while one party holds so many of them.

    A party may hold `alpha` times what is free: the dynamic threshold by which switches share a buffer (Choudhury and
    Hahne, 1998). Alone, one gets half of the pool where alpha is 1. But in a switch the queues that are above a
    threshold that sinks run dry at once, and here bytes stay for a day: of those who come one after the other each
    would take half of the rest, and ten leave a thousandth. So where bytes are SCARCE the threshold sinks with their
    square, and n who take all they can get leave one part in about 2 n, of which the next one may still have a part.
    """
    if held > alpha * SCARCE * size:
        return held / alpha
    return sqrt(held * SCARCE * size / alpha)


# Places


def _no_discount(member: object) -> float:
    return 0.0


@define(eq=False)
class SharedSlots(Generic[M]):
    """So many places, and who has them. The members themselves are ended by who owns them."""

    slots: int
    shares: Mapping[Scope, int]
    """Places that a party of each scope may have."""
    _parties: dict[M, tuple[Party, ...]] = field(factory=dict, init=False)
    """Of each member; who came first is first."""
    _held: Counter[Party] = field(factory=Counter, init=False)

    def __len__(self) -> int:
        return len(self._parties)

    def __contains__(self, member: M) -> bool:
        return member in self._parties

    def __iter__(self) -> Iterator[M]:
        """Who came first is first."""
        return iter(self._parties)

    @property
    def is_full(self) -> bool:
        """Whether no place is left."""
        return len(self._parties) >= self.slots

    def has_share_left(self, parties: Sequence[Party]) -> bool:
        """Whether none of these has all the places that it may have."""
        return all(self._held[party] < self.shares[party[0]] for party in parties)

    def add(self, member: M, parties: tuple[Party, ...]) -> None:
        """The member has a place."""
        self._parties[member] = parties
        self._held.update(parties)

    def remove(self, member: M) -> None:
        """It has it no more; who had none is no news."""
        for party in self._parties.pop(member, ()):
            self._held[party] -= 1
            if not self._held[party]:
                del self._held[party]

    def weight(self, parties: Iterable[Party]) -> float:
        """How much of its share the heaviest of these has, 1.0 being all of it."""
        return max((self._held[party] / self.shares[party[0]] for party in parties), default=0.0)

    def to_evict(
        self, parties: Iterable[Party], candidates: Iterable[M], discount: Callable[[M], float] = _no_discount
    ) -> M | None:
        """Which of the candidates has to go for a newcomer of these parties: one of the heaviest party, the first
        of them; None where all are lighter than the newcomer's party already. What is `discount` of a member's weight
        does not count."""

        def weight_of(member: M) -> float:
            return self.weight(self._parties[member]) - discount(member)

        heaviest = max(candidates, key=weight_of, default=None)
        if heaviest is None or weight_of(heaviest) < self.weight(parties):
            return None
        return heaviest


# Times a second


class Priority(IntEnum):
    """What is known of who comes."""

    UNKNOWN = 0
    PROVEN = 1
    """A node of this network was there before."""
    CONTACT = 2
    """It is in the routing table."""


TIERS = (0.5, 0.25, 0.25)
"""The part of the rate that is for everybody, for who is PROVEN or more, and for CONTACTs alone."""


class SharedRateLimiter:
    """So much a second, as much again at once; a part of it for who is known, and a share for each party."""

    def __init__(
        self,
        rate: float,
        shares: Mapping[Scope, float],
        parties_of: Callable[[str], Iterable[Party]],
        now: float,
        max_parties: int = 16_384,
    ) -> None:
        """`shares`: what a party of each scope may have a second, and twice as much at once; a scope that is not
        among them has no limit of its own."""
        self._parties_of = parties_of
        self._tiers = [TokenBucket(rate * part, rate * part, now) for part in TIERS]
        self._limiters = {
            scope: RateLimiter(share, 2 * share, max_parties) for scope, share in shares.items()
        }

    def take(self, host: str, priority: Priority, now: float) -> bool:
        """Whether it is the turn of one more that comes from this host; it is counted then.

        Who is known takes first what is for the known. Others have of that what nobody could save any more. Of who
        comes when nothing is left nothing is remembered: so a flood under ever new addresses makes no party's
        share forgotten.
        """
        tier = self._tier(priority, now)
        if tier is None:
            return False
        for party in self._parties_of(host):
            limiter = self._limiters.get(party[0])
            if limiter is not None and not limiter.bucket(party, now).take(now):
                return False
        return tier.take(now)

    def _tier(self, priority: Priority, now: float) -> TokenBucket | None:
        for tier in self._tiers[priority::-1]:
            if tier.has(now):
                return tier
        for tier in self._tiers[priority + 1 :]:
            if tier.is_full(now):
                return tier
        return None
