"""Values that only their owner may write, in whole networks."""

import random

from twisted.trial.unittest import SynchronousTestCase

from dht14.sim.conditions import Conditions
from dht14.sim.host import VirtualNode
from dht14.sim.run import SETTLE
from tests.outcomes import acknowledged, value_of
from tests.owners import Owner
from tests.scenarios.cluster import Cluster

OWNER = Owner(1)


class OwnersTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.begin(Cluster(20))

    def begin(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.cluster.join_all()
        self.nodes = self.cluster.nodes()

    def write(self, node: VirtualNode, payload: bytes, seq: int, cas: int | None = None) -> bool:
        put = node.stack.node.put(OWNER.key, OWNER.says(payload, seq, cas), 0, 0).addCallback(acknowledged)
        self.cluster.world.wait(SETTLE)
        return self.successResultOf(put)

    def read_everywhere(self) -> set[bytes | None]:
        gets = [node.stack.node.get(OWNER.key).addCallback(value_of) for node in self.cluster.world.callers()]
        self.cluster.world.wait(SETTLE)
        return {self.successResultOf(get) for get in gets}

    def holders(self) -> list[VirtualNode]:
        """Return the holders of the owner's record, the nearest first."""
        now = self.cluster.world.clock.seconds()
        found = [node for node in self.nodes if node.stack.store and node.stack.store.get(OWNER.key, now)]
        return sorted(found, key=lambda node: node.contact.node_id ^ OWNER.key)

    def test_partitioned(self) -> None:
        """The last write of an owner is found everywhere; a deleted value stays deleted, though holders that
        were cut off meanwhile return with the old value."""
        world = self.cluster.world
        for seq in (1, 2):
            self.assertTrue(self.write(self.nodes[seq], b"payload", seq))
            self.assertEqual(self.read_everywhere(), {OWNER.says(b"payload", seq)})
        lost = self.holders()[:2]
        for node in lost:
            world.network.cut(node.port)
        world.wait(120)
        writer = next(node for node in self.nodes if node not in lost)
        self.assertTrue(self.write(writer, b"", 3, cas=2))
        for node in lost:
            world.network.mend(node.port)
        world.wait(60)
        self.assertEqual(self.read_everywhere(), {None})
        self.assertFalse(self.write(lost[0], b"payload", 2))
        self.assertEqual(self.read_everywhere(), {None})
        self.assertTrue(self.write(lost[0], b"again", 4, cas=3))
        self.assertEqual(self.read_everywhere(), {OWNER.says(b"again", 4, 3)})

    def test_two_devices(self) -> None:
        """Of two concurrent writes that replace the same version all replicas keep one, and its writer has
        the acknowledgement."""
        self.begin(Cluster(20, Conditions(duplicate=0.02, reorder=0.1)))
        rng = random.Random(14)
        self.assertTrue(self.write(self.nodes[0], b"first", 1))
        for seq in range(2, 22):
            values = [OWNER.says(b"device %d" % device, seq, cas=seq - 1) for device in range(2)]
            puts = []
            for value, node in zip(values, rng.sample(self.nodes, 2), strict=True):
                puts.append(node.stack.node.put(OWNER.key, value, 0, 0).addCallback(acknowledged))
                self.cluster.world.wait(rng.choice((0.0, 0.02, 0.1)))
            self.cluster.world.wait(SETTLE)
            acknowledgements = [self.successResultOf(put) for put in puts]
            (found,) = self.read_everywhere()
            self.assertIn(
                found, {value for value, kept in zip(values, acknowledgements, strict=True) if kept}
            )
