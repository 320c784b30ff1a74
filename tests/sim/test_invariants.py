"""The invariant checker."""

from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.contact import Contact
from dht14.kademlia.keyspace import hash_id
from dht14.records.record import Record, version_at
from dht14.sim.history import History
from dht14.sim.host import VirtualNode
from dht14.sim.invariants import CHECK_INTERVAL, NODES_PER_CHECK, InvariantChecker
from dht14.sim.memory_store import MemoryStore
from dht14.sim.world import World

KEY = 7
CONTENT = hash_id(b"content")


class InvariantTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World(nodes=5, seed=1)
        self.world.join()
        self.joined_at = self.world.clock.seconds()
        self.history = History()
        self.checker = InvariantChecker(self.world, self.history)
        self.checker.start()

    @property
    def node(self) -> VirtualNode:
        return self.world.nodes[4]

    def hold(self, version: int) -> None:
        self.hold_under(KEY, b"v", version, 3600)

    def hold_under(self, key: int, value: bytes, version: int, seconds: float) -> None:
        store = self.node.stack.store
        assert isinstance(store, MemoryStore)
        record = Record(
            key=key,
            value=value,
            version=version_at(self.joined_at) + version,
            expires_at=self.joined_at + seconds,
            replication=8,
        )
        store._hold(record)

    def round(self) -> None:
        self.world.wait(CHECK_INTERVAL)

    def test_all_is_well(self) -> None:
        """Every running node is checked once in a round."""
        self.world.kill(self.world.nodes[5])
        checks = self.checker.checks
        self.round()
        self.assertEqual(self.checker.checks - checks, 6)

    def test_in_turn(self) -> None:
        """Of many nodes some are checked each time, and every one in turn."""
        world = World(nodes=NODES_PER_CHECK * 2, seed=1)
        world.join()
        checker = InvariantChecker(world, self.history)
        checker.start()
        checks = []
        for _ in range(6):
            before = checker.checks
            world.wait(CHECK_INTERVAL)
            checks.append(checker.checks - before)
        self.assertLessEqual(max(checks), NODES_PER_CHECK)
        self.assertEqual(sum(checks), 2 * world.size)

    def test_contradiction(self) -> None:
        """An inconsistent store stops the run; the error names the node."""
        store = self.node.stack.store
        assert isinstance(store, MemoryStore)
        store.size += 1
        wrong = self.assertRaises(AssertionError, self.round)
        self.assertIn("node 4", str(wrong))

    def test_contact_that_never_was(self) -> None:
        """A contact that never existed stops the run."""
        self.node.stack.table.confirmed(Contact(99, ("192.0.2.1", 8000)), self.world.clock.seconds(), 0.1)
        wrong = self.assertRaises(AssertionError, self.round)
        self.assertIn("never was", str(wrong))

    def test_older_record(self) -> None:
        """A record that is replaced by an older one stops the run; by a newer one it may be."""
        self.history.put_invoked(KEY, b"v", 60.0, self.world.clock.seconds())
        for version in (1, 2):
            self.hold(version)
            self.round()
        self.hold(0)
        wrong = self.assertRaises(AssertionError, self.round)
        self.assertIn("older", str(wrong))

    def test_after_content(self) -> None:
        """Any record may follow content that has expired."""
        self.history.put_invoked(CONTENT, b"content", 60.0, self.world.clock.seconds())
        self.hold_under(CONTENT, b"content", 0, NODES_PER_CHECK)
        self.round()
        self.world.wait(NODES_PER_CHECK)
        self.hold_under(CONTENT, b"junk", 1, 3600)
        self.round()
