import gc
import random
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from twisted.internet.defer import Deferred

from dht14 import __version__
from dht14.kademlia.contact import Contact
from dht14.kademlia.keyspace import random_id
from dht14.node import walk as module
from dht14.node.walk import NetworkWalk, VisitedNode
from dht14.sim.world import World
from dht14.wire.messages import Describe, FindNode, Nodes, Pong, Reply, Request
from tests.fakes import BEGINNING, LATENCY, FakeRpc, Peer, contact_at
from tests.node.node_case import NodeTestCase


def naming(contacts: Sequence[Contact]) -> Callable[[Request, Contact], Reply]:
    """Make a node that names these contacts."""
    return lambda request, sender: Nodes(tuple(contacts)) if isinstance(request, FindNode) else Pong()


async def collected(walk: NetworkWalk) -> list[VisitedNode]:
    """Walk to the end."""
    return [node async for node in walk.nodes()]


class WalkTests(NodeTestCase):
    """A walk over nodes that know each other."""

    def begin(self, peer: Peer, limit: int = 100) -> NetworkWalk:
        rpc: Any = FakeRpc(self.network, peer.contact, peer.table, peer.time)
        return NetworkWalk(
            table=peer.table, rpc=rpc, clock=self.network.clock, rng=random.Random(1), limit=limit
        )

    def walk(self, walk: NetworkWalk) -> list[VisitedNode]:
        found: list[VisitedNode] = self.network.result(Deferred.fromCoroutine(collected(walk)))
        return found

    def chain(self, length: int) -> list[Peer]:
        """Make nodes, each of which knows only the next one."""
        peers = [self.network.peer(random_id(self.rng)) for _ in range(length)]
        for one, other in pairwise(peers):
            one.table.confirmed(other.contact, self.now, LATENCY)
        return peers

    def test_all(self) -> None:
        """Every node is found, by way of those that know it, and is asked once; the walker is not listed."""
        peers = self.chain(6)
        found = self.walk(self.begin(peers[0]))
        self.assertEqual([node.contact for node in found], [peer.contact for peer in peers[1:]])
        for peer in peers[1:]:
            self.assertEqual([type(request) for request in peer.asked], [FindNode, Describe])
        self.assertEqual(peers[0].asked, [])

    def test_facts(self) -> None:
        """The round trip is that of the second request; a bootstrap node holds no values."""
        peers = self.cluster(2)
        bootstrap = self.network.peer(random_id(self.rng), holds_values=False)
        peers[0].table.confirmed(bootstrap.contact, self.now, LATENCY)
        found = {node.contact: node for node in self.walk(self.begin(peers[0]))}
        for contact, holds_values in ((peers[1].contact, True), (bootstrap.contact, False)):
            seconds = found[contact].seconds
            assert seconds is not None
            self.assertAlmostEqual(seconds, LATENCY)
            self.assertIs(found[contact].holds_values, holds_values)
            self.assertEqual(found[contact].software, f"dht14/{__version__}")

    def test_dead(self) -> None:
        """A node that does not answer is listed as unreachable, and holds nobody up."""
        peers = self.cluster(5)
        peers[1].fall_silent()
        found = self.walk(self.begin(peers[0]))
        self.assertEqual(len(found), 4)
        self.assertEqual([node.contact for node in found if node.seconds is None], [peers[1].contact])
        self.assertEqual(found[-1].contact, peers[1].contact)

    def test_rate(self) -> None:
        """A walk asks no more nodes in a second than it may."""
        peers = self.cluster(60)
        found = self.walk(self.begin(peers[0]))
        self.assertEqual(len(found), 59)
        self.assertGreaterEqual(self.now - BEGINNING, 58 / module.WALK_RATE)

    def test_limit(self) -> None:
        """At its limit a walk ends, and says how many nodes it left."""
        walk = self.begin(self.cluster(30)[0], limit=10)
        self.assertEqual(len(self.walk(walk)), 10)
        self.assertEqual(walk.unasked, 19)

    def test_time(self) -> None:
        """A walk ends in time, however many nodes there seem to be."""
        self.patch(module, "WALK_TIMEOUT", 1.0)
        walk = self.begin(self.cluster(60)[0])
        self.assertLess(len(self.walk(walk)), 40)
        self.assertLess(self.now - BEGINNING, 5)

    def test_liars(self) -> None:
        """A node that names many others in the subnet of a victim makes the walk ask only some of them."""
        (peer, liar) = self.cluster(2)
        named = [contact_at(random_id(self.rng), (f"192.0.2.{n % 250}", 1000 + n)) for n in range(200)]
        answers = iter([tuple(named)])
        liar.answer = lambda request, sender: (
            Nodes(next(answers, ())) if isinstance(request, FindNode) else Pong()
        )
        walk = self.begin(peer, limit=1_000)
        found = self.walk(walk)
        self.assertEqual(len(found), 1 + module.MAX_NAMED)
        self.assertEqual(walk.left_out, 200 - module.MAX_NAMED)

    def peer_at(self, host: str) -> Peer:
        return self.network.peer(random_id(self.rng), address=(host, 4000))

    def test_hidden(self) -> None:
        """Liars of three subnets cannot hide the nodes of a subnet by naming what does not exist there."""
        (peer,) = self.cluster(1)
        for subnet in (1, 2, 3):
            liar = self.peer_at(f"203.0.{subnet}.1")
            named = [contact_at(random_id(self.rng), (f"192.0.2.{n}", subnet)) for n in range(100)]
            liar.answer = naming(named)
            peer.table.confirmed(liar.contact, self.now, LATENCY)
        hidden = [self.peer_at(f"192.0.2.{n}").contact for n in range(100, 100 + module.MAX_NAMED)]
        former = peer
        for subnet in (4, 5, 6):
            honest = self.peer_at(f"203.0.{subnet}.1")
            former.table.confirmed(honest.contact, self.now, LATENCY)
            former = honest
        honest.answer = naming(hidden)
        found = self.walk(self.begin(peer, limit=1_000))
        self.assertLessEqual(set(hidden), {node.contact for node in found if node.seconds is not None})

    def test_named_again(self) -> None:
        """A node that had no place gets it when somebody else names it."""
        peer, _, other = self.chain(3)
        crowd = [contact_at(random_id(self.rng), (f"192.0.2.{n}", 9)) for n in range(module.MAX_NAMED)]
        late = self.peer_at("192.0.2.200")
        liar = self.peer_at("203.0.1.1")
        liar.answer = naming([*crowd, late.contact])
        peer.table.confirmed(liar.contact, self.now, LATENCY)
        walk = self.begin(peer)
        self.assertNotIn(late.contact, {node.contact for node in self.walk(walk)})
        self.assertEqual(walk.left_out, 1)
        other.answer = naming([late.contact])
        walk = self.begin(peer)
        self.assertIn(late.contact, {node.contact for node in self.walk(walk)})
        self.assertEqual(walk.left_out, 0)

    def test_many_ids(self) -> None:
        """A host with any number of ids that all answer does not fill a walk."""

        def answer(request: Request, sender: Contact) -> Reply:
            others = [contact_at(random_id(self.rng), ("192.0.2.1", n)) for n in range(1, 21)]
            return naming(others)(request, sender)

        (peer,) = self.cluster(1)
        self.network.unknown_peers = answer
        peer.table.confirmed(contact_at(random_id(self.rng), ("192.0.2.1", 99)), self.now, LATENCY)
        self.assertLess(len(self.walk(self.begin(peer, limit=1_000))), 2 * module.MAX_OF_PARTY)

    def test_cancelled(self) -> None:
        """When nobody listens any more, nothing is left on the clock, and nothing is logged."""
        walk = self.begin(self.cluster(30)[0])
        walking = Deferred.fromCoroutine(collected(walk))
        self.network.clock.run_until(self.now + 0.1)
        walking.cancel()
        self.failureResultOf(walking)
        asked = walk._asked
        self.network.clock.run_until(self.now + 100)
        self.assertEqual(walk._asked, asked)
        del walk, walking
        gc.collect()
        self.assertEqual(self.flushLoggedErrors(), [])


class WholeNetworkTests(NodeTestCase):
    """A walk over a network in which nobody knows all."""

    def test_complete(self) -> None:
        """It finds every node."""
        world = World(nodes=120, seed=3)
        world.join()
        stack = world.nodes[5].stack
        walk = NetworkWalk(
            table=stack.table, rpc=stack.rpc, clock=world.clock, rng=random.Random(1), limit=1_000
        )
        walking = Deferred.fromCoroutine(collected(walk))
        found: list[VisitedNode] = []
        walking.addCallback(found.extend)
        world.wait(60)
        self.assertEqual(len({node.contact.node_id for node in found}), len(world.nodes) - 1)
        self.assertTrue(all(node.seconds is not None for node in found))
