from collections.abc import Callable

from dht14.kademlia.contact import Contact
from dht14.kademlia.keyspace import hash_id, random_id
from dht14.kademlia.parameters import REPLICATION, K
from dht14.wire.messages import FindNode, Nodes, Reply, Request, Store, Stored
from tests.fakes import Peer
from tests.node.node_case import KEY, NodeTestCase, nearest


class FindTests(NodeTestCase):
    def test_nearest(self) -> None:
        """A lookup finds the nearest nodes of all, whatever contacts it begins with."""
        peers = self.cluster(60)
        newcomer = self.network.peer(random_id(self.rng))
        found = self.network.result(newcomer.node.find_nodes(KEY, known=[peers[59].contact]))
        self.assertEqual(found.nearest(), [peer.contact for peer in peers[:K]])
        self.assertEqual(sum(newcomer.node.lookups_by_hops.values()), 1)

    def test_width(self) -> None:
        """A narrower lookup asks fewer."""
        peers = self.cluster(60)
        found = self.network.result(peers[50].node.find_nodes(KEY, width=3))
        self.assertEqual(found.nearest(), [peer.contact for peer in peers[:3]])
        self.assertLess(self.asked(peers, FindNode), 10)


class NetworksTests(NodeTestCase):
    """Networks of all sizes, from one node on."""

    def check(self, peers: list[Peer], holders: Callable[[list[int]], list[int]] = list) -> None:
        values = {random_id(self.rng): self.rng.randbytes(self.rng.randint(1, 1000)) for _ in range(5)}
        values[hash_id(b"content")] = b"content"
        for key, value in values.items():
            self.assertTrue(self.put(self.rng.choice(peers), value, key))
        for key, value in values.items():
            line = sorted(peers, key=lambda peer: peer.contact.node_id ^ key)
            expected = nearest(min(len(line), REPLICATION))
            self.assertEqual(holders(self.holders(line, key, value)), expected)
            for peer in peers:
                self.assertEqual(self.get(peer, key), value)
        for peer in peers:
            self.assertIsNone(self.get(peer, random_id(self.rng)))

    def test_known(self) -> None:
        """What is put at any node is held by the nearest ones and by no others, and found from every node."""
        for count in (1, 2, 3, 10, 30):
            self.setUp()
            self.check(self.cluster(count))

    def test_unknown(self) -> None:
        """Where each node knows only some of the others the nearest hold it all the same, and it is found.

        Farther ones may hold it too: those that the writer believed near before it was put right.
        """
        for count in (10, 60):
            self.setUp()
            peers = [self.network.peer(random_id(self.rng)) for _ in range(count)]
            for peer in peers:
                nearest = sorted(peers, key=lambda other: other.contact.node_id ^ peer.contact.node_id)[:8]
                for other in [*nearest, *self.rng.sample(peers, 4)]:
                    peer.table.confirmed(other.contact, self.now, 0.01)
            self.check(peers, holders=lambda indexes: indexes[:REPLICATION])


class CrowdedKeyTests(NodeTestCase):
    """Twenty nodes that deny everything lie beside the key, nearer than any other."""

    def setUp(self) -> None:
        super().setUp()
        honest = [random_id(self.rng) for _ in range(60)]
        self.key = random_id(self.rng)
        self.peers = self.network.cluster(*honest, *(self.key ^ self.rng.getrandbits(230) for _ in range(20)))
        for peer in self.peers[60:]:
            peer.answer = self.deny
        self.reader, self.writer = self.peers[0], self.peers[1]

    def deny(self, request: Request, sender: Contact) -> Reply | None:
        accomplices = tuple(peer.contact for peer in self.peers[60:])
        return Stored(()) if isinstance(request, Store) else Nodes(accomplices)

    def test_found(self) -> None:
        """What is put goes to the whole region, and is found there."""
        self.assertTrue(self.put(self.writer, b"value", self.key))
        self.assertTrue(self.writer.node.eclipse_detector.suspects(self.key))
        self.assertEqual(self.get(self.reader, self.key), b"value")
        self.assertGreater(self.reader.node.eclipse_detector.detections, 0)

    def test_newest(self) -> None:
        """The whole region is asked for what does not prove itself: those who hold the newest back do not
        win."""
        self.assertTrue(self.put(self.writer, b"old", self.key))
        self.assertTrue(self.put(self.writer, b"new", self.key))
        for peer in self.peers[:60]:
            self.assertEqual(self.get(peer, self.key), b"new")

    def test_met_in_passing(self) -> None:
        """A writer that hears of them only while it writes does not rely on their receipts."""
        accomplices = tuple(peer.contact for peer in self.peers[60:])
        newcomer = self.network.peer(self.key ^ 1 << 255)
        self.network.acquaint([newcomer, *self.peers[:60]])
        newcomer.table.confirmed(accomplices[0], self.now, 0.01)
        for peer in self.peers[60:]:
            peer.answer = lambda request, sender: Stored(accomplices) if isinstance(request, Store) else None
        self.assertTrue(self.put(newcomer, b"value", self.key))
        self.assertGreaterEqual(len(self.holders(self.peers[:60], self.key)), REPLICATION)

    def test_others(self) -> None:
        """Keys elsewhere are not affected."""
        other = self.key ^ (1 << 255)
        self.assertTrue(self.put(self.writer, b"value", other))
        self.assertEqual(self.get(self.reader, other), b"value")
        self.assertFalse(self.writer.node.eclipse_detector.suspects(other))
