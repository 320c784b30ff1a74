"""How many keys each client of the API may watch, so that no client watches all that the node can."""

from collections import Counter

from attrs import define, field

from dht14.net.api.metrics import ApiMetrics
from dht14.node.watches import MAX_SUBSCRIPTIONS, MAX_WATCHED
from dht14.security.shares import bytes_needed
from dht14.security.subnets import Party, parties_of

CONNECTION_PART, PARTY_PART = 1.0, 3.0
"""The alpha of `bytes_needed` for a connection, and for an address or a subnet."""


@define(eq=False)
class _Watched:
    """What one party watches, or all together."""

    keys: Counter[bytes] = field(factory=Counter)
    """How many connections watch each key."""
    watches: int = 0
    """Their sum."""

    def count(self, key: bytes, more: int) -> None:
        """Count one watch more (1) or less (-1)."""
        self.watches += more
        self.keys[key] += more
        if not self.keys[key]:
            del self.keys[key]


@define(eq=False)
class WatchShares:
    """What all connections watch. A pool of keys, and one of watches: a key can have many.

    Watches stay for long, as bytes of a store do, and so are shared by the same rule, `bytes_needed`. Alone,
    a connection gets 1/2 of the keys, and an address 2/3: then 1/3 is free, and 3 * (1/3)^2 / (1/2) = 2/3.
    The programs of one host have one address: a second connection gets less than the first one, but more
    than nothing.
    """

    metrics: ApiMetrics
    _all: _Watched = field(factory=_Watched, init=False)
    _by_party: dict[Party, _Watched] = field(factory=dict, init=False)

    @property
    def keys(self) -> int:
        """How many keys are watched."""
        return len(self._all.keys)

    def of_connection(self, address: str) -> "ConnectionShare":
        """Return the share of a new connection from this address."""
        return ConnectionShare(self, parties_of(address))

    def allow(self, key: bytes, held: int, parties: tuple[Party, ...]) -> bool:
        """Return whether a connection of these parties that watches `held` keys may watch this one too."""
        free_keys, free_watches = MAX_WATCHED - self.keys, MAX_SUBSCRIPTIONS - self._all.watches
        if bytes_needed(held, MAX_WATCHED, CONNECTION_PART) > free_keys:
            return False
        for party in parties:
            of_party = self._by_party.get(party, _Watched())
            # A key that another connection of the party watches takes no further one of the pool.
            keys = 0 if key in of_party.keys else len(of_party.keys)
            if bytes_needed(keys, MAX_WATCHED, PARTY_PART) > free_keys:
                return False
            if bytes_needed(of_party.watches, MAX_SUBSCRIPTIONS, PARTY_PART) > free_watches:
                return False
        return True

    def count(self, key: bytes, parties: tuple[Party, ...], more: int) -> None:
        """A watch of these parties has begun (1) or ended (-1)."""
        self._all.count(key, more)
        for party in parties:
            of_party = self._by_party.setdefault(party, _Watched())
            of_party.count(key, more)
            if not of_party.watches:
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
        if held >= limit or not self._shares.allow(key, held, self._parties):
            self._shares.metrics.watches_refused += 1
            return False
        self._held.add(key)
        self._shares.count(key, self._parties, 1)
        return True

    def give_back(self, key: bytes) -> None:
        """Watch a key no more."""
        self._held.remove(key)
        self._shares.count(key, self._parties, -1)
