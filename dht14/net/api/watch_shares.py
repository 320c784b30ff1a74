"""How many keys each client of the API may watch, so that no client watches all that the node can."""

from collections import Counter
from typing import TypeVar

from attrs import define, field

from dht14.net.api.metrics import ApiMetrics
from dht14.node.watches import MAX_SUBSCRIPTIONS, MAX_WATCHED
from dht14.security.shares import bytes_needed
from dht14.security.subnets import Party, parties_of

T = TypeVar("T")

CONNECTION_PART, ADDRESS_PART = 1.0, 3.0
"""Multiples of the free keys that a connection, and an address or subnet, may watch while most are free."""


@define(eq=False)
class WatchShares:
    """What all connections watch. A pool of keys, and one of watches: a key can have many.

    Watches stay for long, as bytes of a store do, and so are shared by the same rule. Alone, a connection
    gets half of the keys, and an address two thirds. The programs of one host have one address: a second
    connection gets less than the first one, but more than nothing.
    """

    _metrics: ApiMetrics
    _keys: Counter[bytes] = field(factory=Counter, init=False)
    """How many connections watch each key."""
    _watches: int = field(default=0, init=False)
    _by_party: dict[Party, Counter[bytes]] = field(factory=dict, init=False)
    """The same for each address and subnet."""
    _watches_of: Counter[Party] = field(factory=Counter, init=False)

    @property
    def keys(self) -> int:
        """How many keys are watched."""
        return len(self._keys)

    def of_connection(self, address: str) -> "ConnectionShare":
        """Return the share of a new connection from this address."""
        return ConnectionShare(self, parties_of(address))

    def take(self, key: bytes, held: int, parties: tuple[Party, ...], may_take: bool) -> bool:
        """Count one more watch, or a refusal. `held`: the keys that its connection watches already."""
        if not may_take or not self._may_take(key, held, parties):
            self._metrics.watches_refused += 1
            return False
        self._keys[key] += 1
        self._watches += 1
        for party in parties:
            self._by_party.setdefault(party, Counter())[key] += 1
            self._watches_of[party] += 1
        return True

    def _may_take(self, key: bytes, held: int, parties: tuple[Party, ...]) -> bool:
        free_keys, free_watches = MAX_WATCHED - len(self._keys), MAX_SUBSCRIPTIONS - self._watches
        if bytes_needed(held, MAX_WATCHED, CONNECTION_PART) > free_keys:
            return False
        for party in parties:
            keys = self._by_party.get(party, ())
            if key not in keys and bytes_needed(len(keys), MAX_WATCHED, ADDRESS_PART) > free_keys:
                return False
            if bytes_needed(self._watches_of[party], MAX_SUBSCRIPTIONS, ADDRESS_PART) > free_watches:
                return False
        return True

    def give_back(self, key: bytes, parties: tuple[Party, ...]) -> None:
        """A watch has ended."""
        self._watches -= 1
        _subtract(self._keys, key)
        for party in parties:
            _subtract(self._by_party[party], key)
            _subtract(self._watches_of, party)
            if not self._by_party[party]:
                del self._by_party[party]


@define(eq=False)
class ConnectionShare:
    """What one connection watches."""

    _shares: WatchShares
    _parties: tuple[Party, ...]
    _held: set[bytes] = field(factory=set, init=False)

    def take(self, key: bytes, limit: int) -> bool:
        """Take one key more; return whether the connection may watch it, `limit` of them at most."""
        held = len(self._held)
        if not self._shares.take(key, held, self._parties, held < limit):
            return False
        self._held.add(key)
        return True

    def give_back(self, key: bytes) -> None:
        """Watch a key no more."""
        self._held.remove(key)
        self._shares.give_back(key, self._parties)


def _subtract(counter: Counter[T], member: T) -> None:
    counter[member] -= 1
    if not counter[member]:
        del counter[member]
