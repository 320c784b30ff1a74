import random
from collections.abc import Iterable

from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.keyspace import hash_id, random_id
from dht14.kademlia.parameters import REPLICATION
from dht14.records.record import Record, version_at
from tests.fakes import FakeNetwork, Peer
from tests.outcomes import acknowledged, value_of

KEY = 0xABCD << 240

TTL = 600

PROMISED = 5.0
"""Seconds within which a client is promised an answer, whatever the peers do."""


def nearest(count: int = REPLICATION) -> list[int]:
    """The indexes of the nearest peers."""
    return list(range(count))


def move_away(peer: Peer) -> None:
    """Let all contacts of the peer be far away, as far as it knows."""
    for entry in peer.table._entries.values():
        entry.lowest_rtt = 0.1


class NodeTestCase(SynchronousTestCase):
    """A network of nodes that the test makes."""

    def setUp(self) -> None:
        self.network = FakeNetwork()
        self.rng = random.Random(14)

    def cluster(self, count: int) -> list[Peer]:
        """Return `count` nodes that know each other, nearest to KEY first."""
        ids = sorted((random_id(self.rng) for _ in range(count)), key=KEY.__xor__)
        return self.network.cluster(*ids)

    @property
    def now(self) -> float:
        return self.network.clock.seconds()

    def put(self, peer: Peer, value: bytes, key: int = KEY, ttl: int = TTL, replication: int = 0) -> bool:
        put: bool = acknowledged(self.network.result(peer.node.put(key, value, ttl, replication)))
        return put

    def get(self, peer: Peer, key: int = KEY) -> bytes | None:
        got: bytes | None = value_of(self.network.result(peer.node.get(key)))
        return got

    def holders(self, peers: Iterable[Peer], key: int = KEY, value: bytes | None = None) -> list[int]:
        """Return the indexes of the peers that hold a record under the key, or this value."""
        held = [peer.store.get(key, self.now) if peer.store else None for peer in peers]
        return [index for index, record in enumerate(held) if record and value in (None, record.value)]

    def give(self, peer: Peer, value: bytes, key: int = KEY, age: float = 0, ttl: float = TTL) -> Record:
        """Let a peer hold a value that was written `age` seconds ago."""
        version = 0 if hash_id(value) == key else version_at(self.now - age)
        record = Record(
            key=key, value=value, version=version, expires_at=self.now + ttl, replication=REPLICATION
        )
        assert peer.store is not None
        peer.store.offer(record, self.now, lambda verdict: None)
        return record

    def asked(self, peers: Iterable[Peer], kind: type) -> int:
        """How many requests of this kind reached these peers."""
        return sum(isinstance(request, kind) for peer in peers for request in peer.asked)
