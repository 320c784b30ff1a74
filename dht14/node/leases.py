"""The leases of a holder: which nodes it tells when the record of a key changes. No I/O.

A lease costs a holder memory and, at each change, a datagram to an address that a session has proven. All of
it is bounded: by node, by host and subnet, by key and in sum. A lease that is not renewed ends by itself, and
nothing of it is on disk.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

from attrs import define, field

from dht14.kademlia.contact import Contact
from dht14.records.store import Refusal
from dht14.security.shares import SharedSlots
from dht14.security.subnets import Party, Scope

LEASE_SECONDS = 60.0
"""How long a lease lasts. A watcher renews it three times in this time."""

MAX_LEASES = 8_192
"""Of all watchers together: about 8 MB."""

LEASES_PER_PARTY = {
    Scope.HOST: 2_048,
    Scope.SUBNET: 4_096,
    Scope.PROVIDER: 6_144,
    Scope.PRIVATE_HOST: MAX_LEASES,
}

LEASES_PER_NODE = 1_024
"""Of one node id: as many keys as a node watches for its clients."""

LEASES_PER_KEY = 2_048
"""Watchers of one key. Each change of it costs this node as many datagrams."""

EVICTION_TRIES = 64
"""The oldest leases that are compared with a newcomer where no slot is free, or none of its key."""


@define(eq=False)
class Lease:
    """One node's wish to hear of the changes of one key."""

    key: int
    watcher: Contact
    """With the address from which it asked."""
    ends_at: float
    told: bytes
    """The mark that the watcher knows: it was in the reply to its WATCH, or in the last NOTIFY."""
    is_telling: bool = False
    """Whether a NOTIFY to it is under way, or waits for its turn."""


@define(eq=False)
class LeaseTable:
    """All leases of one holder."""

    _parties_of: Callable[[str], tuple[Party, ...]]
    _slots: SharedSlots[Lease] = field(factory=lambda: SharedSlots(MAX_LEASES, LEASES_PER_PARTY), init=False)
    """In the order in which they end."""
    _by_key: dict[int, dict[int, Lease]] = field(factory=dict, init=False)
    """The leases of each key, by the id of the watcher, in the order in which they end."""
    _by_node: Counter[int] = field(factory=Counter, init=False)

    def __len__(self) -> int:
        return len(self._slots)

    def __contains__(self, lease: Lease) -> bool:
        return lease in self._slots

    def of_key(self, key: int, now: float) -> Sequence[Lease]:
        """Return the leases of a key that have not ended."""
        found = self._by_key.get(key)
        return [lease for lease in found.values() if lease.ends_at > now] if found else ()

    def grant(self, key: int, watcher: Contact, mark: bytes, now: float) -> Lease | Refusal:
        """Give the node a lease of the key, or renew the one that it has; or return why not.

        A renewed lease is the same object, unless the node asks from another address now.
        """
        self._expire(now)
        lease = self._by_key.get(key, {}).get(watcher.node_id)
        if lease is not None and lease.watcher.address == watcher.address:
            self._slots.remove(lease)
            lease.ends_at, lease.told = now + LEASE_SECONDS, mark
            self._slots.add(lease, self._parties_of(watcher.address[0]))
            of_key = self._by_key[key]
            of_key[watcher.node_id] = of_key.pop(watcher.node_id)
            return lease
        if lease is not None:
            self.end(lease)
        refusal = self._make_room(key, watcher)
        if refusal is not None:
            return refusal
        lease = Lease(key, watcher, now + LEASE_SECONDS, mark)
        self._slots.add(lease, self._parties_of(watcher.address[0]))
        self._by_key.setdefault(key, {})[watcher.node_id] = lease
        self._by_node[watcher.node_id] += 1
        return lease

    def _make_room(self, key: int, watcher: Contact) -> Refusal | None:
        """End another lease for that of this node, where all are given. Return why it gets none, if so."""
        parties = self._parties_of(watcher.address[0])
        if self._by_node[watcher.node_id] >= LEASES_PER_NODE or not self._slots.has_share_left(parties):
            return Refusal.SHARE
        of_key = self._by_key.get(key, {})
        oldest: Iterable[Lease]
        if len(of_key) >= LEASES_PER_KEY:
            oldest = of_key.values()
        elif self._slots.is_full:
            oldest = self._slots
        else:
            return None
        evicted = self._slots.to_evict(parties, list(islice(oldest, EVICTION_TRIES)))
        if evicted is None:
            return Refusal.NO_ROOM
        self.end(evicted)
        return None

    def find(self, key: int, node_id: int) -> Lease | None:
        """Return the lease of a node, if it has one."""
        return self._by_key.get(key, {}).get(node_id)

    def end(self, lease: Lease) -> None:
        """Forget a lease."""
        if lease not in self._slots:
            return
        self._slots.remove(lease)
        node_id = lease.watcher.node_id
        of_key = self._by_key[lease.key]
        del of_key[node_id]
        if not of_key:
            del self._by_key[lease.key]
        self._by_node[node_id] -= 1
        if not self._by_node[node_id]:
            del self._by_node[node_id]

    def _expire(self, now: float) -> None:
        while (oldest := next(iter(self._slots), None)) is not None and oldest.ends_at <= now:
            self.end(oldest)
