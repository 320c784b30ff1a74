"""A whole network of shipped nodes, small."""

import random

from attrs import evolve
from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from dht14.errors import CallFailed
from dht14.node.node import Node
from dht14.security.identity import Identity
from dht14.sim.host import PUZZLE, Host, NodeRole, VirtualNode
from dht14.sim.virtual_disk import VirtualDisk
from dht14.sim.world import OPERATION_GAP, START_TIME, World, address_of
from dht14.wire.messages import Ping, Pong
from tests.outcomes import acknowledged, value_of

KEY, VALUE = 1 << 200, b"a value"


def put(node: Node) -> "Deferred[bool]":
    return node.put(KEY, VALUE, ttl=0, replication=0).addCallback(acknowledged)


def get(node: Node) -> "Deferred[bytes | None]":
    return node.get(KEY).addCallback(value_of)


def _has(node: VirtualNode, key: int) -> bool:
    store = node.stack.store
    return store is not None and store.get(key, node.process.seconds()) is not None


class WorldTests(SynchronousTestCase):
    def test_join(self) -> None:
        """Every node joins; results have the time and the datagrams of each join, in the order of the
        numbers."""
        world = World(nodes=3, seed=1)
        outcomes = world.join()
        self.assertEqual([outcome.result for outcome in outcomes], [True] * 5)
        self.assertTrue(all(outcome.seconds > 0 and outcome.datagrams > 0 for outcome in outcomes))
        self.assertGreater(world.clock.seconds(), START_TIME)
        world.check_invariants()

    def test_roles(self) -> None:
        """The first numbers are bootstrap nodes: they have no store, and clients never use them."""
        world = World(nodes=3, seed=1, bootstrap_nodes=2)
        world.join()
        roles = [world.nodes[number].role for number in range(5)]
        self.assertEqual(roles, [NodeRole.BOOTSTRAP] * 2 + [NodeRole.NODE] * 3)
        self.assertIsNone(world.nodes[0].stack.store)
        self.assertEqual([node.number for node in world.callers()], [2, 3, 4])

    def test_alone(self) -> None:
        """A single node without a bootstrap node has no network: its join fails, but it keeps values
        itself."""
        world = World(nodes=1, seed=1, bootstrap_nodes=0)
        self.assertEqual([outcome.result for outcome in world.join()], [False])
        (stored,), (found,) = world.run_operations([put]), world.run_operations([get])
        self.assertEqual((stored.result, found.result), (True, VALUE))

    def test_perform(self) -> None:
        """Operations run one after another at nodes in turn; results are in the order of the operations."""
        world = World(nodes=3, seed=1)
        world.join()
        started_at: list[tuple[float, int]] = []

        def note(node: Node) -> "Deferred[int]":
            started_at.append((world.clock.seconds(), node.own_id))
            return succeed(len(started_at))

        ended: list[int] = []
        outcomes = world.run_operations([note] * 6, ended.append)
        self.assertEqual([outcome.result for outcome in outcomes], [1, 2, 3, 4, 5, 6])
        self.assertEqual(ended, [1, 2, 3, 4, 5, 6])
        self.assertEqual(len({node_id for _, node_id in started_at}), 3)
        for (earlier, first), (later, second) in zip(started_at, started_at[3:], strict=False):
            self.assertEqual(first, second)
            self.assertApproximates(later - earlier, OPERATION_GAP, 0.001)

    def test_failures_are_loud(self) -> None:
        """An operation that fails, or never ends, is an error of the run."""
        world = World(nodes=1, seed=1)
        world.join()
        self.assertRaises(ZeroDivisionError, world.run_operations, [lambda _: fail(ZeroDivisionError())])
        self.assertRaises(AssertionError, world.run_operations, [lambda _: Deferred()])

    def test_killed(self) -> None:
        """A killed node sends nothing more, and clients do not use it any more."""
        world = World(nodes=4, seed=1)
        world.join()
        victim = world.callers()[0]
        world.kill(victim)
        sent = victim.port.exchanged
        self.assertNotIn(victim, world.callers())
        before = world.network.traffic.unreachable
        world.wait(60)
        self.assertEqual(victim.port.exchanged, sent)
        self.assertGreater(world.network.traffic.unreachable, before)

    def test_begun_anew(self) -> None:
        """A restarted node has its id and address and none of its records, joins again, and receives its
        share of records."""
        world = World(nodes=4, seed=1)
        world.join()
        world.run_operations([put])
        before = world.callers()[0]
        world.kill(before)
        (outcome,) = world.join([before.number])
        after = world.nodes[before.number]
        self.assertTrue(outcome.result)
        self.assertEqual(after.contact, before.contact)
        assert before.stack.store is not None and after.stack.store is not None
        self.assertIsNot(before.stack.store, after.stack.store)
        world.wait(5)
        self.assertEqual((len(before.stack.store), len(after.stack.store)), (1, 1))

    def test_frozen(self) -> None:
        """A frozen node does nothing, not even when its timers fire; after `thaw` it works again."""
        world = World(nodes=4, seed=1)
        world.join()
        node = world.callers()[0]
        world.freeze(node)
        self.assertNotIn(node, world.callers())
        sent = world.network.traffic.sent
        for other in world.callers():
            world.kill(other)
        for number in (0, 1):
            world.kill(world.nodes[number])
        world.wait(60)
        self.assertEqual(world.network.traffic.sent, sent)
        world.thaw(node)
        world.wait(5)
        self.assertGreater(world.network.traffic.sent, sent)
        self.assertEqual(world.callers(), [node])

    def test_stopped(self) -> None:
        """A stopped node ends in order, and restarts with the records of its disk."""
        world = World(nodes=4, seed=1)
        host = world.hosts[5]
        world.set_host(evolve(host, disk=VirtualDisk(self.mktemp(), random.Random(1))))
        world.join()
        world.run_operations([put])
        world.wait(5)
        node = world.nodes[5]
        held = node.stack.node.get(KEY).addCallback(value_of)
        ended = world.stop(node)
        self.assertEqual((world.is_leaving(node.stack.node), node in world.callers()), (True, False))
        world.wait(10)
        self.assertIsNone(self.successResultOf(ended))
        self.assertFalse(node.running)
        self.assertEqual(self.successResultOf(held), VALUE)
        for other in world.callers():
            world.kill(other)
        world.start(5)
        world.wait(10)
        found = world.nodes[5].stack.node.get(KEY).addCallback(value_of)
        world.wait(10)
        self.assertEqual(self.successResultOf(found), VALUE)
        world.check_invariants()
        world.kill(world.nodes[5])

    def test_hands_over(self) -> None:
        """A stopped node hands over the records that only it has."""
        world = World(nodes=8, seed=1)  # A put may leave spare copies: one node at least has none.
        world.join()
        world.run_operations(
            [lambda node: node.put(KEY, VALUE, ttl=0, replication=5).addCallback(acknowledged)]
        )
        holders = [node for node in world.callers() if _has(node, KEY)]
        for holder in holders[1:]:
            world.kill(holder)
        world.stop(holders[0])
        world.wait(10)
        self.assertFalse(holders[0].running)
        self.assertIn(True, [_has(node, KEY) for node in world.callers()])

    def test_parted(self) -> None:
        """During a partition no request reaches the other side."""
        world = World(nodes=3, seed=1, bootstrap_nodes=1)
        world.join()
        world.partition([0, 1], [2, 3])
        asked = world.nodes[1].stack.rpc.ask(world.nodes[2].contact, Ping())
        world.wait(10)
        self.failureResultOf(asked, CallFailed)
        world.partition()
        asked = world.nodes[1].stack.rpc.ask(world.nodes[2].contact, Ping())
        world.wait(10)
        self.assertIsInstance(self.successResultOf(asked), Pong)

    def test_settled(self) -> None:
        """A host can change with the next start of its node, and hosts can be added."""
        world = World(nodes=2, seed=1)
        world.join()
        world.set_host(evolve(world.hosts[3], skew=-3600.0))
        self.assertEqual(world.nodes[3].process.seconds(), world.clock.seconds())
        world.kill(world.nodes[3])
        self.assertEqual(world.start(3).process.seconds(), world.clock.seconds() - 3600)
        world.set_host(
            Host(4, NodeRole.NODE, Identity.made_up(PUZZLE, world.rng), address_of(4), behind_nat=True)
        )
        (joined,) = world.join([4])
        self.assertTrue(joined.result)
        self.assertEqual(world.size, 5)

    def test_clock_set(self) -> None:
        """A clock that is set while its node runs stays so, and the next process starts with it."""
        world = World(nodes=2, seed=1)
        world.join()
        node = world.nodes[3]
        world.set_clock(node, 3600.0)
        now = world.clock.seconds()
        self.assertEqual((node.process.seconds(), node.process.wall()), (now, now + 3600))
        world.kill(node)
        self.assertEqual(world.start(3).process.seconds(), now + 3600)

    def test_seeds(self) -> None:
        """The same seed gives the same world, another seed another."""
        digests = []
        for seed in (7, 7, 8):
            world = World(nodes=5, seed=seed)
            world.join()
            digests.append(world.network.digest())
        self.assertEqual(digests[0], digests[1])
        self.assertNotEqual(digests[0], digests[2])

    def test_lives(self) -> None:
        """`availability` records when nodes are up: a value with one copy must be kept until its holder
        dies."""
        world = World(nodes=6, seed=1)
        world.join()
        key = world.nodes[4].contact.node_id
        started_at = world.clock.seconds()
        self.assertTrue(world.availability.must_keep(key, 1, started_at, started_at, started_at + 1))
        world.wait(1)
        world.kill(world.nodes[4])
        self.assertFalse(world.availability.must_keep(key, 1, started_at, started_at, started_at + 2))
        self.assertTrue(world.availability.must_keep(key, 2, started_at, started_at, started_at + 2))

    def test_added(self) -> None:
        """Added and replaced nodes have addresses of their own, and join."""
        world = World(nodes=4, seed=1)
        world.join()
        world.kill(world.nodes[3])
        world.replace(3)
        numbers = [3, world.add(), world.add()]
        self.assertEqual(len({host.address for host in world.hosts}), world.size)
        self.assertEqual([joined.result for joined in world.join(numbers)], [True] * 3)
