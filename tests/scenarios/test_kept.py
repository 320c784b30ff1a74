"""Values that a node keeps, in whole networks: they outlive their time to live, and bring nothing back."""

import random
from collections.abc import Iterable

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.keyspace import hash_id
from dht14.node.policy import Policy
from dht14.records.kept import KeptBy, KeptEntry, KeptState, RenewalFailure
from dht14.records.receipt import Receipt
from dht14.sim.host import VirtualNode
from dht14.sim.run import SETTLE
from dht14.sim.virtual_disk import VirtualDisk
from dht14.stack import StackOptions
from tests.outcomes import value_of
from tests.owners import Owner
from tests.scenarios.cluster import Cluster

TTL = 300
OWNER = Owner(1)
OPEN = hash_id(b"an open key")
CONTENT = b"content" * 50
LARGE = b"large" * 2_000
OPTIONS = StackOptions(policy=Policy(min_ttl=60, max_ttl=1_800, default_ttl=TTL))


class KeptTestCase(SynchronousTestCase):
    """A network, and a node in it that keeps values. Its list is on a disk."""

    nodes = 14

    def setUp(self) -> None:
        self.cluster = Cluster(self.nodes, options=OPTIONS)
        self.world = self.cluster.world
        self.number = self.world.size - 1
        host = self.world.hosts[self.number]
        disk = VirtualDisk(self.mktemp(), random.Random(1))
        self.world.set_host(evolve(host, disk=disk))
        self.cluster.join_all()

    @property
    def keeper(self) -> VirtualNode:
        return self.world.nodes[self.number]

    @property
    def others(self) -> list[VirtualNode]:
        return [node for node in self.world.callers() if node is not self.keeper]

    def put(self, node: VirtualNode, key: int, value: bytes, ttl: int = TTL) -> Receipt:
        put = node.stack.node.put(key, value, ttl, 0)
        self.world.wait(SETTLE)
        receipt = self.successResultOf(put)
        self.assertTrue(receipt.acknowledged)
        return receipt

    def keep(self, key: int, value: bytes, ttl: int = TTL) -> None:
        """Put and keep a value."""
        version = self.put(self.keeper, key, value, ttl).version
        assert self.keeper.stack.keeper is not None
        kept = Deferred.fromCoroutine(self.keeper.stack.keeper.keep(key, value, version, ttl, 0))
        self.world.wait(1)
        self.assertIsInstance(self.successResultOf(kept), KeptEntry)

    def entry(self, key: int) -> KeptEntry:
        assert self.keeper.stack.store is not None
        entry = self.keeper.stack.store.kept.get(key)
        assert entry is not None
        return entry

    def read(self, key: int, nodes: Iterable[VirtualNode] = ()) -> set[bytes | None]:
        """Return what these nodes, or all, find under a key."""
        gets = [node.stack.node.get(key).addCallback(value_of) for node in nodes or self.world.callers()]
        self.world.wait(SETTLE)
        return {self.successResultOf(get) for get in gets}

    def die(self) -> None:
        """Kill the node that keeps."""
        self.world.kill(self.keeper)

    def come_back(self) -> None:
        self.world.start(self.number)
        self.world.wait(60)


class KeptTests(KeptTestCase):
    def test_outlives(self) -> None:
        """Kept values of all kinds are found by every node after several lives, while all other nodes are
        replaced one after the other; a value that nobody keeps is gone."""
        kept = {
            OPEN: b"open",
            hash_id(CONTENT): CONTENT,
            hash_id(LARGE): LARGE,
            OWNER.key: OWNER.says(b"signed", 1),
        }
        for key, value in kept.items():
            self.keep(key, value)
        self.put(self.keeper, OPEN ^ 1, b"not kept")
        victims = self.cluster.nodes()[:-1]
        self.assertEqual(len(victims), self.nodes - 1)
        for victim in victims:
            self.world.kill(victim)
            self.world.replace(victim.number)
            self.world.start(victim.number)
            self.world.wait(4 * TTL / len(victims))
        for key, value in kept.items():
            self.assertEqual(self.read(key), {value})
        self.assertEqual(self.read(OPEN ^ 1), {None})
        assert self.keeper.stack.keeper is not None
        self.assertEqual(self.keeper.stack.keeper.metrics.failed, 0)

    def test_unkept(self) -> None:
        """A value that was taken off the list expires."""
        self.keep(OPEN, b"open")
        assert self.keeper.stack.keeper is not None
        removed = Deferred.fromCoroutine(self.keeper.stack.keeper.unkeep(OPEN))
        self.world.wait(TTL)
        self.assertEqual(self.successResultOf(removed), KeptBy(0))
        self.assertEqual(self.read(OPEN), {None})

    def test_away(self) -> None:
        """A renewed value is found when more of its holders have seen the end of its life before, because
        they were away at the renewal, than have it."""
        self.keep(OPEN, b"open")
        nearest = sorted(self.others, key=lambda node: node.contact.node_id ^ OPEN)
        self.world.wait(0.3 * TTL)
        for node in nearest[:5]:
            self.world.freeze(node)
        self.world.wait(0.75 * TTL)
        for node in nearest[:5]:
            self.world.thaw(node)
        self.world.wait(10)
        self.assertEqual(self.read(OPEN), {b"open"})

    def test_lost_everywhere(self) -> None:
        """A value whose holders have all died at once is put again."""
        self.keep(hash_id(CONTENT), CONTENT)
        self.keep(OPEN, b"open")
        for node in self.others:
            self.world.kill(node)
            self.world.replace(node.number)
            self.world.start(node.number)
        self.world.wait(TTL)
        self.assertEqual(self.read(hash_id(CONTENT), self.others), {CONTENT})
        self.assertEqual(self.read(OPEN, self.others), {b"open"})


class ReplacedTests(KeptTestCase):
    def watch(self, key: int, seconds: float, unwanted: bytes) -> None:
        """Read again and again at all nodes; one value must never be found."""
        end = self.world.clock.seconds() + seconds
        while self.world.clock.seconds() < end:
            self.assertNotIn(unwanted, self.read(key))
            self.world.wait(100)

    def test_overwritten(self) -> None:
        """What replaced a kept open value is never undone: neither while it lives nor after its end."""
        self.keep(OPEN, b"old", ttl=1_800)
        self.put(self.others[0], OPEN, b"new", ttl=60)
        self.assertEqual(self.read(OPEN), {b"new"})
        self.watch(OPEN, 2 * 1_800 + 600, unwanted=b"old")
        self.assertIs(self.entry(OPEN).state, KeptState.REPLACED)
        self.assertEqual(self.read(OPEN), {None})

    def test_overwritten_long(self) -> None:
        """The same with a value that still lives when the renewal is due: it stays until its own end."""
        self.keep(OPEN, b"old")
        self.put(self.others[0], OPEN, b"new", ttl=1_500)
        self.watch(OPEN, 1_000, unwanted=b"old")
        self.assertEqual(self.read(OPEN), {b"new"})
        self.assertIs(self.entry(OPEN).state, KeptState.REPLACED)

    def test_put_again_here(self) -> None:
        """What replaces it through the node that keeps it is kept in its place, however short it was put to
        live, also if the node is killed as soon as it has given the receipt."""
        self.keep(OPEN, b"old")
        self.put(self.keeper, OPEN, b"new", ttl=60)
        self.die()
        self.come_back()
        self.watch(OPEN, 4 * TTL, unwanted=b"old")
        self.assertEqual(self.read(OPEN), {b"new"})
        self.assertIs(self.entry(OPEN).state, KeptState.RENEWED)

    def test_deleted(self) -> None:
        """A value that its owner deleted stays deleted."""
        old = OWNER.says(b"payload", 1)
        self.keep(OWNER.key, old)
        self.put(self.others[0], OWNER.key, OWNER.says(b"", 2))
        self.watch(OWNER.key, 2 * 1_800, unwanted=old)
        self.assertEqual(self.read(OWNER.key), {None})
        self.assertIs(self.entry(OWNER.key).state, KeptState.DELETED)

    def test_followed(self) -> None:
        """What the owner writes later is kept in place of what was kept first."""
        new = OWNER.says(b"newer", 2)
        self.keep(OWNER.key, OWNER.says(b"older", 1))
        self.put(self.others[0], OWNER.key, new, ttl=TTL)
        self.world.wait(4 * TTL)
        self.assertEqual(self.read(OWNER.key), {new})
        self.assertEqual(self.entry(OWNER.key).version, 2)


class RivalsTests(KeptTestCase):
    """Two nodes keep different open values under one key."""

    def keep_at(self, node: VirtualNode, value: bytes) -> None:
        version = self.put(node, OPEN, value).version
        assert node.stack.keeper is not None
        kept = Deferred.fromCoroutine(node.stack.keeper.keep(OPEN, value, version, TTL, 0))
        self.world.wait(1)
        self.assertIsInstance(self.successResultOf(kept), KeptEntry)

    def state(self, node: VirtualNode) -> KeptState:
        assert node.stack.store is not None
        entry = node.stack.store.kept.get(OPEN)
        assert entry is not None
        return entry.state

    def check(self, rival: VirtualNode) -> None:
        """The value of the rival stays, the node's own is not renewed any more, through several lives."""
        for _ in range(8):
            self.world.wait(TTL / 2)
            self.assertEqual(self.read(OPEN), {b"later"})
        self.assertEqual(
            (self.state(self.keeper), self.state(rival)), (KeptState.REPLACED, KeptState.RENEWED)
        )

    def test_later_stays(self) -> None:
        """The later put stays, and only its node renews it."""
        self.keep(OPEN, b"earlier")
        rival = self.others[0]
        self.keep_at(rival, b"later")
        self.check(rival)

    def test_apart(self) -> None:
        """The same after a partition in which each of them renewed its own value."""
        rival = self.others[0]
        self.world.partition([node.number for node in self.others[:6]])
        self.world.wait(90)
        self.keep(OPEN, b"earlier")
        self.keep_at(rival, b"later")
        self.world.wait(3 * TTL)
        states = self.state(self.keeper), self.state(rival)
        self.assertEqual(states, (KeptState.RENEWED, KeptState.RENEWED))
        self.world.partition()
        self.world.wait(TTL)
        self.check(rival)

    def test_later_is_away(self) -> None:
        """While the node of the later value is away for so long that all have forgotten it, nothing, or the
        earlier value, stands there; when it is back its value stays."""
        self.keep(OPEN, b"earlier")
        self.die()
        rival = self.others[0]
        self.keep_at(rival, b"later")
        self.world.freeze(rival)
        self.world.wait(TTL + 1_800 + 400)
        self.come_back()
        self.world.wait(TTL)
        self.assertEqual(self.read(OPEN, self.others[1:]), {b"earlier"})
        self.world.thaw(rival)
        self.world.wait(TTL)
        self.check(rival)


class AwayTests(KeptTestCase):
    def test_put_again(self) -> None:
        """A node that was down for longer than its values live puts them again at once: content, and an open
        value with a version that is barely above the one that has expired."""
        self.keep(OPEN, b"open")
        self.keep(hash_id(CONTENT), CONTENT)
        version = self.entry(OPEN).version
        self.die()
        self.world.wait(2 * TTL)
        self.assertEqual(self.read(OPEN), {None})
        self.assertEqual(self.read(hash_id(CONTENT)), {None})
        self.come_back()
        self.assertEqual(self.read(OPEN), {b"open"})
        self.assertEqual(self.read(hash_id(CONTENT)), {CONTENT})
        self.assertEqual(self.entry(OPEN).version, version + 1)
        self.world.wait(2 * TTL)
        self.assertEqual(self.read(OPEN), {b"open"})
        self.assertEqual(self.entry(OPEN).version, version + 1)

    def test_replaced_meanwhile(self) -> None:
        """It does not put again what was replaced while it was down, although that has expired, too."""
        self.keep(OPEN, b"old")
        self.keep(OWNER.key, OWNER.says(b"old", 1))
        self.die()
        self.world.wait(30)
        self.put(self.others[0], OPEN, b"new", ttl=60)
        self.put(self.others[1], OWNER.key, OWNER.says(b"new", 2), ttl=60)
        self.world.wait(2 * TTL)
        self.come_back()
        self.assertEqual(self.read(OPEN), {None})
        self.assertEqual(self.read(OWNER.key), {None})
        self.assertIs(self.entry(OPEN).state, KeptState.REPLACED)
        self.assertIs(self.entry(OWNER.key).state, KeptState.REPLACED)

    def test_lapsed(self) -> None:
        """An owner's value that has expired is put again when its holders have forgotten that."""
        value = OWNER.says(b"signed", 1)
        self.keep(OWNER.key, value)
        self.die()
        self.world.wait(2 * TTL)
        self.come_back()
        self.assertIs(self.entry(OWNER.key).failure, RenewalFailure.LAPSED)
        self.assertEqual(self.read(OWNER.key), {None})
        self.world.wait(1_800 + 500)
        self.assertEqual(self.read(OWNER.key), {value})
        self.assertIs(self.entry(OWNER.key).failure, RenewalFailure.NONE)

    def test_frozen(self) -> None:
        """A node that stood still for long puts its values again when it goes on."""
        self.keep(OPEN, b"open")
        self.world.freeze(self.keeper)
        self.world.wait(2 * TTL)
        self.assertEqual(self.read(OPEN, self.others), {None})
        self.world.thaw(self.keeper)
        self.world.wait(90)
        self.assertEqual(self.read(OPEN), {b"open"})

    def test_wrong_clock(self) -> None:
        """A clock that is set back while the node is down does not put its renewals off."""
        self.keep(OPEN, b"open")
        self.die()
        host = self.world.hosts[self.number]
        self.world.set_host(evolve(host, skew=-30 * 86_400.0))
        self.come_back()
        self.world.wait(3 * TTL)
        self.assertEqual(self.read(OPEN), {b"open"})
