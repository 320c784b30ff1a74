"""Watches in a network with deaths, loss and liars."""

from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.parameters import GROUP
from dht14.node.watch_state import MAX_POLL_INTERVAL, RENEW_INTERVAL, Found
from dht14.records.record import Record
from dht14.sim.conditions import Conditions
from dht14.sim.host import VirtualNode
from tests.outcomes import acknowledged
from tests.scenarios.cluster import Cluster


class WatchingTests(SynchronousTestCase):
    def begin(self, cluster: Cluster, count: int) -> None:
        """Let one node watch so many keys, far from each of them."""
        cluster.join_all()
        self.cluster = cluster
        self.told: dict[int, list[bytes]] = {}
        self.keys = list(cluster.random_keys(count))
        self.watchers: dict[int, VirtualNode] = {}
        for key in self.keys:
            self.watchers[key] = max(cluster.nodes(), key=lambda node: node.contact.node_id ^ key)
            self.told[key] = []
            watch = self.watchers[key].stack.node.watches.watch(key, self.teller(key))
            assert watch is not None
            watch.present()
        cluster.world.wait(5)

    def teller(self, key: int):
        def tell(found: Found) -> None:
            self.told[key].append(found.value if isinstance(found, Record) else b"")

        return tell

    def living(self, key: int) -> list[VirtualNode]:
        """The nodes that run, nearest to a key first."""
        running = [node for node in self.cluster.nodes() if node.running]
        return sorted(running, key=lambda node: node.contact.node_id ^ key)

    def put(self, key: int, value: bytes) -> float:
        """Put a value at a node that is neither near the key nor its watcher; return the seconds until the
        watcher was told."""
        writer = self.living(key)[-2]
        began = self.cluster.world.clock.seconds()
        put = writer.stack.node.put(key, value, 600, 0)
        clock = self.cluster.world.clock
        self.told[key].clear()
        over = clock.run_until_true(lambda: value in self.told[key], began + 2 * MAX_POLL_INTERVAL)
        self.assertTrue(over, "it was never told")
        told_after = clock.seconds() - began
        clock.run_until_true(lambda: put.called, began + 10)
        self.assertTrue(acknowledged(self.successResultOf(put)))
        return told_after

    def test_deaths_of_holders(self) -> None:
        """A change is told within a second although three of the five members of the group have just been
        killed; so it is for each of some keys, one after the other."""
        self.begin(Cluster(60), 4)
        watchers = {node.number for node in self.watchers.values()}
        for key in self.keys:
            self.put(key, b"before")
            victims = [node for node in self.living(key)[:GROUP] if node.number not in watchers][:3]
            self.assertEqual(len(victims), 3)
            for node in victims:
                self.cluster.world.kill(node)
            self.assertLess(self.put(key, b"after"), 1.0)
            self.cluster.world.wait(60)

    def test_loss(self) -> None:
        """While every tenth datagram is lost each change is told, at the latest by the next renewal of the
        leases, and most within a second."""
        self.begin(Cluster(20, Conditions(loss=0.1)), 10)
        seconds = [self.put(key, b"%d" % turn) for turn in range(5) for key in self.keys]
        self.assertLess(max(seconds), 1.1 * RENEW_INTERVAL + 5)
        self.assertLess(sorted(seconds)[len(seconds) * 9 // 10], 1.0)
