"""Hostile nodes, each among honest ones."""

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from dht14.errors import CallFailed
from dht14.node.node import Node
from dht14.sim.adversaries import Denier, Forger, Liar, Silent
from dht14.sim.host import VirtualNode
from dht14.sim.world import World
from dht14.stack import MakeResponder
from dht14.wire.messages import FindNode, FindValue, Nodes, Ping, Pong, Reply, Store, Stored, Value
from tests.outcomes import acknowledged, value_of

KEY = 1 << 200
STORE = Store(KEY, 1_700_000_000_000 << 16, 60_000, 8, 0, b"a value")


class AdversaryTests(SynchronousTestCase):
    def join_network(self, make_responder: MakeResponder) -> tuple[VirtualNode, VirtualNode]:
        """Return an honest node and one with this responder, in a network of six nodes."""
        self.world = World(nodes=6, seed=1, bootstrap_nodes=1)
        self.world.set_host(evolve(self.world.hosts[6], make_responder=make_responder))
        self.world.join()
        return self.world.nodes[1], self.world.nodes[6]

    def ask(self, make_responder: MakeResponder, *requests: object) -> list[Reply]:
        """Return the replies of a node with this responder."""
        honest, hostile = self.join_network(make_responder)
        asked = [honest.stack.rpc.ask(hostile.contact, request) for request in requests]  # type: ignore[arg-type]
        self.world.wait(5)
        return [self.successResultOf(reply) for reply in asked]

    def test_silent(self) -> None:
        """A silent node answers no request, and no client is sent to it."""
        honest, hostile = self.join_network(Silent)
        asked = honest.stack.rpc.ask(hostile.contact, Ping())
        self.world.wait(5)
        self.failureResultOf(asked, CallFailed)
        self.assertNotIn(hostile, self.world.callers())
        self.assertIn(honest, self.world.callers())

    def test_denier(self) -> None:
        """A denier gives receipts and has nothing; otherwise it is a node like others."""
        pong, stored, found, nodes = self.ask(Denier, Ping(), STORE, FindValue(KEY), FindNode(KEY))
        self.assertIsInstance(pong, Pong)
        self.assertEqual(stored, Stored(()))
        self.assertIsInstance(nodes, Nodes)
        self.assertEqual(found, nodes)

    def test_liar(self) -> None:
        """A liar names contacts that are nowhere, and that nobody keeps."""
        pong, nodes, found = self.ask(Liar, Ping(), FindNode(KEY), FindValue(KEY))
        self.assertIsInstance(pong, Pong)
        assert isinstance(nodes, Nodes) and isinstance(found, Nodes)
        real = {host.contact.address for host in self.world.hosts}
        self.assertEqual({contact.address for contact in nodes.contacts + found.contacts} & real, set())
        self.assertEqual(len(nodes.contacts), 20)
        self.world.nodes[1].stack.node.find_nodes(KEY)
        self.world.wait(30)
        for node in self.world.nodes.values():
            self.assertEqual({contact.address for contact in node.stack.table.contacts()} - real, set())

    def test_forger(self) -> None:
        """A forger has junk for every key."""
        (found,) = self.ask(Forger, FindValue(KEY))
        assert isinstance(found, Value)
        self.assertEqual((found.value, found.current), (Forger.JUNK, True))

    def test_outvoted(self) -> None:
        """One denier among the holders of a value hides it from nobody."""
        self.join_network(Denier)

        def put(node: Node) -> "Deferred[bool]":
            return node.put(KEY, b"a value", 0, 0).addCallback(acknowledged)

        def get(node: Node) -> "Deferred[bytes | None]":
            return node.get(KEY).addCallback(value_of)

        (stored,) = self.world.run_operations([put])
        self.assertTrue(stored.result)
        found = self.world.run_operations([get] * 10)
        self.assertEqual({outcome.result for outcome in found}, {b"a value"})
