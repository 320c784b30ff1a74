"""What a watch finds."""

from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.contact import Contact
from dht14.kademlia.keyspace import hash_id
from dht14.records.record import Record, version_at
from dht14.sim.history import History
from dht14.sim.host import VirtualNode
from dht14.sim.invariants import AT_ONCE, INTERVAL, InvariantChecker
from dht14.sim.memory_store import MemoryStore
from dht14.sim.world import World

KEY = 7
CONTENT = hash_id(b"content")


class WatchTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World(nodes=5, seed=1)
        self.world.join()
        self.joined_at = self.world.clock.seconds()
        self.history = History()
        self.watch = InvariantChecker(self.world, self.history)
        self.watch.start()

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
        self.world.wait(INTERVAL)

    def test_all_is_well(self) -> None:
        """Every node that lives is looked at once in a round."""
        self.world.kill(self.world.nodes[5])
        looks = self.watch.looks
        self.round()
        self.assertEqual(self.watch.looks - looks, 6)

    def test_in_turn(self) -> None:
        """Of many nodes some are looked at each time, and every one in turn."""
        world = World(nodes=AT_ONCE * 2, seed=1)
        world.join()
        watch = InvariantChecker(world, self.history)
        watch.start()
        looks = []
        for _ in range(6):
            before = watch.looks
            world.wait(INTERVAL)
            looks.append(watch.looks - before)
        self.assertLessEqual(max(looks), AT_ONCE)
        self.assertEqual(sum(looks), 2 * world.size)

    def test_contradiction(self) -> None:
        """A store that contradicts itself stops the run, which names the node."""
        store = self.node.stack.store
        assert isinstance(store, MemoryStore)
        store.size += 1
        wrong = self.assertRaises(AssertionError, self.round)
        self.assertIn("node 4", str(wrong))

    def test_contact_that_never_was(self) -> None:
        """A contact of a node that never was stops the run."""
        self.node.stack.table.confirmed(Contact(99, ("192.0.2.1", 8000)), self.world.clock.seconds(), 0.1)
        wrong = self.assertRaises(AssertionError, self.round)
        self.assertIn("never was", str(wrong))

    def test_older_record(self) -> None:
        """A record that gives way to an older one stops the run; to a newer one it may."""
        self.history.put_began(KEY, b"v", 60.0, self.world.clock.seconds())
        for version in (1, 2):
            self.hold(version)
            self.round()
        self.hold(0)
        wrong = self.assertRaises(AssertionError, self.round)
        self.assertIn("older", str(wrong))

    def test_after_content(self) -> None:
        """Anything may follow content that has expired."""
        self.history.put_began(CONTENT, b"content", 60.0, self.world.clock.seconds())
        self.hold_under(CONTENT, b"content", 0, AT_ONCE)
        self.round()
        self.world.wait(AT_ONCE)
        self.hold_under(CONTENT, b"junk", 1, 3600)
        self.round()
