"""Shared pools with a share for each party.

A pool that serves the first to come serves those who come most often. So no party (`subnets.Party`: an id, a
host, a subnet) gets more than its share of a pool, and known peers come before unknown ones. There are three
kinds of pools: bytes, and whatever else stays taken for long (`bytes_needed`); slots, which can be taken back
(`SharedSlots`); and rates (`SharedRateLimiter`).
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
"""The free part of a pool below which parties may hold less."""


def bytes_needed(held: float, size: int, alpha: float) -> float:
    """Return how many of the `size` bytes of a pool must be free while one party holds `held` bytes.

    It is the inverse of the threshold: how many bytes a party may hold while `free` are free::

        alpha * free                           where free >= SCARCE * size
        alpha * free * free / (SCARCE * size)  below

    The first line is the dynamic threshold by which switches share a buffer (Choudhury and Hahne, 1998). But
    in a switch the queues above a sinking threshold run dry at once, while here bytes stay for a day: greedy
    parties that come one after the other would each take half of the rest, and ten would leave a thousandth.
    With the square, each takes about 2 * free^2 / size where alpha is 1, so that n leave somewhat more than
    one part in 2 n: the first four get 50, 19, 9 and 5 % of the pool, and 16 % is left.
    """
    if held > alpha * SCARCE * size:
        return held / alpha
    return sqrt(held * SCARCE * size / alpha)


# Slots


def _no_discount(member: object) -> float:
    return 0.0


@define(eq=False)
class SharedSlots(Generic[M]):
    """A number of slots, and the members that have one. Whoever owns the members ends them."""

    slots: int
    shares: Mapping[Scope, int]
    """How many slots a party of each scope may have."""
    _parties: dict[M, tuple[Party, ...]] = field(factory=dict, init=False)
    """The parties of each member; the oldest member is first."""
    _held: Counter[Party] = field(factory=Counter, init=False)

    def __len__(self) -> int:
        return len(self._parties)

    def __contains__(self, member: M) -> bool:
        return member in self._parties

    def __iter__(self) -> Iterator[M]:
        """Iterate over the members, the oldest first."""
        return iter(self._parties)

    @property
    def is_full(self) -> bool:
        """Whether no slot is free."""
        return len(self._parties) >= self.slots

    def has_share_left(self, parties: Sequence[Party]) -> bool:
        """Return whether each of these parties may have another slot."""
        return all(self._held[party] < self.shares[party[0]] for party in parties)

    def add(self, member: M, parties: tuple[Party, ...]) -> None:
        """Give the member a slot."""
        self._parties[member] = parties
        self._held.update(parties)

    def remove(self, member: M) -> None:
        """Take the slot of the member, if it has one."""
        for party in self._parties.pop(member, ()):
            self._held[party] -= 1
            if not self._held[party]:
                del self._held[party]

    def weight(self, parties: Iterable[Party]) -> float:
        """Return how much of its share the heaviest of these parties has; 1.0: all of it. A host with 1 slot
        of its 2, in a subnet with 3 of 4, weighs 3/4."""
        return max((self._held[party] / self.shares[party[0]] for party in parties), default=0.0)

    def to_evict(
        self,
        parties: Iterable[Party],
        candidates: Iterable[M],
        discount: Callable[[M], float] = _no_discount,
    ) -> M | None:
        """Return the candidate that must make room for a newcomer of these parties: the first of those with
        the greatest `weight`, less their `discount`. None: all are lighter than the newcomer, which gets no
        slot."""

        def weight_of(member: M) -> float:
            return self.weight(self._parties[member]) - discount(member)

        heaviest = max(candidates, key=weight_of, default=None)
        if heaviest is None or weight_of(heaviest) < self.weight(parties):
            return None
        return heaviest


# Rates


class Priority(IntEnum):
    """What is known of a sender before it has proven anything."""

    UNKNOWN = 0
    PROVEN = 1
    """A node of this network has been at its address."""
    CONTACT = 2
    """Its address is in the routing table."""


TIERS = (0.5, 0.25, 0.25)
"""The parts of a rate for everybody, for `PROVEN` and `CONTACT`, and for `CONTACT` alone."""


MAX_PARTIES = 16_384
"""Parties of each scope whose share of a rate is remembered."""


class SharedRateLimiter:
    """Limits a rate, with parts for known senders and a share for each party. A burst is one second of it. Of
    100/s the first 50 are for everybody, 25 for proven senders and contacts, and 25 for contacts alone."""

    def __init__(
        self,
        rate: float,
        shares: Mapping[Scope, float],
        parties_of: Callable[[str], Iterable[Party]],
        now: float,
    ) -> None:
        """`shares`: the rate of one party of each scope, bursts twice as much; other scopes are free."""
        self._parties_of = parties_of
        self._tiers = [TokenBucket(rate * part, rate * part, now) for part in TIERS]
        self._limiters = {
            scope: RateLimiter(share, 2 * share, MAX_PARTIES) for scope, share in shares.items()
        }

    def take(self, host: str, priority: Priority, now: float) -> bool:
        """Return whether the limits allow one more from this host, and count it.

        Known senders first take from the parts that are for them. Others get of these parts only what would
        overflow. When nothing is left the sender is not remembered: otherwise a flood from ever new addresses
        would make the shares of all parties forgotten.
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
