"""What the tests of record maintenance share: a cluster of holders, each with its replicator."""

from collections.abc import Coroutine
from typing import Any, TypeVar

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from dht14.maintenance.replicator import Replicator
from dht14.node.network_clock import NetworkClock
from dht14.records.record import Kind, Record, version_at
from dht14.records.store import Verdict
from dht14.wire.messages import Request
from tests.fakes import FakeBulk, FakeNetwork, FakeRpc, Peer

T = TypeVar("T")

TTL = 7200.0


class HoldersTestCase(SynchronousTestCase):
    """Nodes 1 to 9, who know each other. The key is 0: the nearest node to it is 1, then 2, and so on."""

    def setUp(self) -> None:
        self.network = FakeNetwork()
        self.cluster = self.network.cluster(*range(1, 10))
        self.one = self.cluster[0]

    def copies(self, peer: Peer) -> Replicator:
        rpc = FakeRpc(self.network, peer.contact, peer.table, peer.time)
        assert peer.store is not None
        bulk = FakeBulk(self.network, peer.contact)
        clock = self.network.clock
        replicator = Replicator(
            peer.table,
            peer.store,
            rpc,
            peer.record_sender.send_copy,
            bulk,
            clock,
            NetworkClock(clock.seconds, clock.seconds),
        )
        replicator.compare = peer.node.compare
        return replicator

    def record(self, key: int = 0, value: bytes = b"value", later: int = 0, copies: int = 3) -> Record:
        now = self.network.clock.seconds()
        record = Record(
            key=key, value=value, version=version_at(now) + later, expires_at=now + TTL, replication=copies
        )
        return evolve(record, version=0) if record.kind is Kind.CONTENT else record

    def give(self, record: Record, *peers: Peer) -> None:
        """Let these hold the record."""
        for peer in peers:
            verdicts: list[Verdict] = []
            assert peer.store is not None
            peer.store.offer(record, self.network.clock.seconds(), verdicts.append)

    def holders(self, record: Record) -> list[int]:
        """The ids of those who hold its value."""
        now = self.network.clock.seconds()
        held = [(peer, peer.store.get(record.key, now)) for peer in self.cluster if peer.store is not None]
        return [p.contact.node_id for p, held in held if held is not None and held.value == record.value]

    def asked(self, kind: type[Request]) -> int:
        """How many such requests have reached all nodes since the last look at them."""
        count = 0
        for peer in self.cluster:
            count += sum(isinstance(request, kind) for request in peer.asked)
            peer.asked = [request for request in peer.asked if not isinstance(request, kind)]
        return count

    def finish(self, job: Coroutine[Any, Any, T]) -> T:
        """Run a job to its end; its result."""
        done = Deferred.fromCoroutine(job)
        self.network.seconds_until(done)
        result: T = self.successResultOf(done)
        return result
