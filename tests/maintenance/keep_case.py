"""The list of kept values of one node among ten, whose disk can hang."""

from twisted.internet.defer import Deferred

from dht14.maintenance.keep import Keeper
from dht14.node.policy import Policy
from dht14.records.kept import KeepRefusal, KeptBy, KeptEntry, OnKept
from dht14.records.record import version_at
from dht14.sim.memory_kept import MemoryKept
from tests.node.node_case import KEY, NodeTestCase
from tests.owners import Owner

TTL = 600
OWNER = Owner(1)


class HangingKept(MemoryKept):
    """A list whose disk answers when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[tuple[KeptEntry, bytes | None, OnKept]] = []
        self.hangs = False

    def put(self, entry: KeptEntry, value: bytes | None, done: OnKept) -> None:
        if self.hangs:
            self.waiting.append((entry, value, done))
        else:
            super().put(entry, value, done)

    def flush(self) -> None:
        self.hangs = False
        for entry, value, done in self.waiting:
            super().put(entry, value, done)


class KeepTestCase(NodeTestCase):
    limit = 1 << 20

    def setUp(self) -> None:
        super().setUp()
        self.peers = self.cluster(10)
        self.kept = HangingKept()
        self.joined = True
        self.keeper = Keeper(
            self.peers[-1].node,
            self.kept,
            Policy(min_ttl=60, max_ttl=TTL, default_ttl=TTL),
            self.limit,
            self.network.clock,
            lambda: self.joined,
        )

    def keep(
        self,
        value: bytes = b"value",
        key: int = KEY,
        ttl: int = TTL,
        version: int | None = -1,
        by: KeptBy = KeptBy.KEY,
    ) -> KeptEntry | KeepRefusal:
        """Keep a value; its version is one of now unless another is given."""
        version = version_at(self.now) if version == -1 else version
        kept: KeptEntry | KeepRefusal = self.network.result(
            Deferred.fromCoroutine(self.keeper.keep(key, value, version, ttl, 0, by))
        )
        return kept

    def unkeep(self, by: KeptBy = KeptBy.KEY) -> KeptBy | KeepRefusal | None:
        return self.successResultOf(Deferred.fromCoroutine(self.keeper.unkeep(KEY, by)))

    def run_pass(self) -> None:
        self.network.result(Deferred.fromCoroutine(self.keeper.renewals.one_pass()))

    def put_and_keep(self, value: bytes = b"value", key: int = KEY, ttl: int = TTL) -> None:
        put = self.network.result(self.peers[-1].node.put(key, value, ttl, 0))
        self.assertTrue(put.acknowledged)
        self.assertIsInstance(self.keep(value, key, ttl, put.version), KeptEntry)

    def entry(self, key: int = KEY) -> KeptEntry:
        entry = self.kept.get(key)
        assert entry is not None
        return entry
