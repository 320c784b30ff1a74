"""A node that was alone with what its clients put, and meets others."""

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.keyspace import hash_id
from dht14.kademlia.parameters import GROUP
from dht14.records.receipt import Receipt
from dht14.records.record import version_at
from dht14.sim.host import VirtualNode
from dht14.sim.run import SETTLE
from tests.outcomes import value_of
from tests.scenarios.cluster import Cluster

DAY = 86_400.0
TTL = 7_200
CONTENT = b"content"
KEYS = [hash_id(b"%d" % number) for number in range(8)]


class AloneTests(SynchronousTestCase):
    """Ten nodes, and one that cannot reach them yet."""

    def start(self, nodes: int = 10, skew: float = 0.0) -> None:
        self.cluster = Cluster(nodes)
        world = self.world = self.cluster.world
        number = world.size - 1
        world.set_host(evolve(world.hosts[number], skew=skew))
        world.partition([number])
        self.cluster.join()
        world.wait(30)
        self.alone = world.nodes[number]

    def others(self) -> list[VirtualNode]:
        return [node for node in self.world.callers() if node is not self.alone]

    def put(self, node: VirtualNode, key: int, value: bytes) -> Receipt:
        put = node.stack.node.put(key, value, TTL, 0)
        self.world.wait(SETTLE)
        receipt = self.successResultOf(put)
        self.assertTrue(receipt.acknowledged)
        return receipt

    def read(self, key: int) -> set[bytes | None]:
        """Return what all nodes find."""
        gets = [node.stack.node.get(key).addCallback(value_of) for node in self.world.callers()]
        self.world.wait(SETTLE)
        return {self.successResultOf(get) for get in gets}

    def copies(self, key: int, value: bytes) -> int:
        held = (
            node.stack.store.get(key, node.process.seconds()) if node.stack.store else None
            for node in self.world.callers()
        )
        return sum(record is not None and record.value == value for record in held)

    def meet(self) -> None:
        self.world.partition()
        self.world.wait(60)

    def test_copies(self) -> None:
        """What was put at a node alone has all its copies a minute after it has met others, however many."""
        for nodes in (2, 40):
            self.start(nodes)
            self.put(self.alone, KEYS[0], b"open")
            self.put(self.alone, hash_id(CONTENT), CONTENT)
            self.meet()
            for key, value in ((KEYS[0], b"open"), (hash_id(CONTENT), CONTENT)):
                self.assertGreaterEqual(self.copies(key, value), min(nodes, GROUP))
                self.assertEqual(self.read(key), {value})

    def test_alone_again(self) -> None:
        """A node whose only neighbour has died gives all that it holds to the next one."""
        self.start(2)
        self.world.partition()
        self.world.wait(60)
        self.put(self.alone, KEYS[0], b"value")
        (other,) = self.others()
        self.world.kill(other)
        self.world.wait(600)
        self.world.replace(other.number)
        self.world.start(other.number)
        self.world.wait(60)
        self.assertEqual(self.copies(KEYS[0], b"value"), 2)

    def test_fast_clock(self) -> None:
        """A clock that is a day ahead, set right before the node meets others or not, loses nothing: all
        nodes have its values, the later one of two values, and each value that is written later."""
        for is_set_right in (False, True):
            self.start(skew=DAY)
            for key in KEYS:
                self.put(self.alone, key, b"alone")
            for key in KEYS[:2]:
                self.put(self.others()[0], key, b"later")
            for key in KEYS[2:4]:
                self.put(self.others()[0], key, b"earlier")
                self.put(self.alone, key, b"alone, later")
            if is_set_right:
                self.world.set_clock(self.alone, 0.0)
            self.meet()
            expected = dict.fromkeys(KEYS, b"alone") | dict.fromkeys(KEYS[:2], b"later")
            expected |= dict.fromkeys(KEYS[2:4], b"alone, later")
            self.assertEqual({key: self.read(key) for key in KEYS}, {k: {v} for k, v in expected.items()})
            for key in KEYS:
                self.assertGreaterEqual(self.copies(key, expected[key]), GROUP)
                self.put(self.others()[1], key, b"newest")
                self.assertEqual(self.read(key), {b"newest"})
                self.assertGreaterEqual(self.copies(key, b"newest"), GROUP)

    def test_clock_set_back(self) -> None:
        """A node alone, whose fast clock is set right, takes what its clients write then."""
        self.start(skew=DAY)
        self.put(self.alone, KEYS[0], b"fast")
        self.world.set_clock(self.alone, 0.0)
        self.world.wait(30)
        self.put(self.alone, KEYS[0], b"right")
        store = self.alone.stack.store
        assert store is not None
        held = store.get(KEYS[0], self.alone.process.seconds())
        assert held is not None
        self.assertEqual(held.value, b"right")
        self.assertLess(held.version, version_at(self.world.clock.seconds() + 1))
        self.meet()
        self.assertEqual(self.read(KEYS[0]), {b"right"})
