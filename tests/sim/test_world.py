"""A whole network of shipped nodes, small."""

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from dht14.node.node import Node
from dht14.sim.world import BEGINNING, OPERATION_GAP, Role, World

KEY, VALUE = 1 << 200, b"a value"


def put(node: Node) -> "Deferred[bool]":
    return node.put(KEY, VALUE, ttl=0, replication=0)


def get(node: Node) -> "Deferred[bytes | None]":
    return node.get(KEY)


class WorldTests(SynchronousTestCase):
    def test_join(self) -> None:
        """Every node joins; how long that took and what it cost is told, in the order asked for."""
        world = World(nodes=3, seed=1)
        outcomes = world.join()
        self.assertEqual([outcome.result for outcome in outcomes], [True] * 5)
        self.assertTrue(all(outcome.seconds > 0 and outcome.datagrams > 0 for outcome in outcomes))
        self.assertGreater(world.clock.seconds(), BEGINNING)
        world.check_invariants()

    def test_roles(self) -> None:
        """The first numbers are bootstrap nodes: without a store, and never asked by clients."""
        world = World(nodes=3, seed=1, bootstrap_nodes=2)
        world.join()
        roles = [world.nodes[number].role for number in range(5)]
        self.assertEqual(roles, [Role.BOOTSTRAP] * 2 + [Role.NODE] * 3)
        self.assertIsNone(world.nodes[0].stack.store)
        self.assertEqual([node.number for node in world.callers()], [2, 3, 4])

    def test_alone(self) -> None:
        """A single node without a bootstrap node is no network: its join fails, but it keeps values itself."""
        world = World(nodes=1, seed=1, bootstrap_nodes=0)
        self.assertEqual([outcome.result for outcome in world.join()], [False])
        (stored,), (found,) = world.perform([put]), world.perform([get])
        self.assertEqual((stored.result, found.result), (True, VALUE))

    def test_perform(self) -> None:
        """Operations run one after another at nodes in turn; results stand in the order of the operations."""
        world = World(nodes=3, seed=1)
        world.join()
        began: list[tuple[float, int]] = []

        def note(node: Node) -> "Deferred[int]":
            began.append((world.clock.seconds(), node.own_id))
            return succeed(len(began))

        ended: list[int] = []
        outcomes = world.perform([note] * 6, ended.append)
        self.assertEqual([outcome.result for outcome in outcomes], [1, 2, 3, 4, 5, 6])
        self.assertEqual(ended, [1, 2, 3, 4, 5, 6])
        self.assertEqual(len({node_id for _, node_id in began}), 3)
        for (earlier, first), (later, second) in zip(began, began[3:], strict=False):
            self.assertEqual(first, second)
            self.assertApproximates(later - earlier, OPERATION_GAP, 0.001)

    def test_failures_are_loud(self) -> None:
        """An operation that fails, or never ends, is an error of the run."""
        world = World(nodes=1, seed=1)
        world.join()
        self.assertRaises(ZeroDivisionError, world.perform, [lambda _: fail(ZeroDivisionError())])
        self.assertRaises(AssertionError, world.perform, [lambda _: Deferred()])

    def test_killed(self) -> None:
        """A killed node sends nothing more, and clients no longer come to it."""
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
        """A node that is begun anew has its name and address, nothing of what it held, and joins again."""
        world = World(nodes=4, seed=1)
        world.join()
        world.perform([put])
        before = world.callers()[0]
        world.kill(before)
        (outcome,) = world.join([before.number])
        after = world.nodes[before.number]
        self.assertTrue(outcome.result)
        self.assertEqual(after.contact, before.contact)
        assert before.stack.store is not None and after.stack.store is not None
        self.assertEqual((len(before.stack.store), len(after.stack.store)), (1, 0))

    def test_frozen(self) -> None:
        """A frozen node does nothing, not even when its timers fall due; thawed, it is of use again."""
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

    def test_seeds(self) -> None:
        """The same seed gives the same world, another seed another."""
        digests = []
        for seed in (7, 7, 8):
            world = World(nodes=5, seed=seed)
            world.join()
            digests.append(world.network.digest())
        self.assertEqual(digests[0], digests[1])
        self.assertNotEqual(digests[0], digests[2])
