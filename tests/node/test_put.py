from collections.abc import Callable
from functools import partial
from typing import Any

from attrs import define, field
from twisted.logger import capturedLogs

from dht14.kademlia.keyspace import hash_id, random_id
from dht14.kademlia.parameters import (
    GROUP,
    MAX_REPLICATION,
    MAX_VALUE,
    OPERATION_TIMEOUT,
    PUSH_SILENT,
    QUORUM,
    REPLICATION,
    SPARE_COPIES,
)
from dht14.node.network_clock import TOLERANCE
from dht14.node.put import MAX_PUTS
from dht14.records.receipt import PutOutcome, PutReason
from dht14.records.record import Record, version_at
from dht14.records.store import Outcome, Refusal, Verdict
from dht14.security.subnets import host_of
from dht14.sim.memory_store import MemoryStore
from dht14.wire.messages import MAX_VERSION, Outranked, Ping, Refused, Store
from tests import fakes
from tests.fakes import LATENCY, BulkBehaviour, fields
from tests.node.node_case import KEY, PROMISED, TTL, NodeTestCase, move_away, nearest
from tests.outcomes import acknowledged


@define
class HangingStore(MemoryStore):
    """A store whose disk says nothing, until the test does."""

    on_verdicts: list[Callable[[Verdict], None]] = field(factory=list, init=False)

    def offer(self, record: Record, now: float, on_verdict: Callable[[Verdict], None]) -> None:
        self.on_verdicts.append(on_verdict)


@define
class BrokenStore(MemoryStore):
    """A store whose disk takes nothing more; it still returns what it holds."""

    is_broken: bool = field(default=False, init=False)

    def offer(self, record: Record, now: float, on_verdict: Callable[[Verdict], None]) -> None:
        if self.is_broken:
            on_verdict(Verdict(Outcome.REFUSED, 0, Refusal.NO_ROOM))
        else:
            super().offer(record, now, on_verdict)


@define
class SlowStore(MemoryStore):
    """A store whose disk takes a moment for each commit."""

    clock: Any = field(default=None, init=False)

    def offer(self, record: Record, now: float, on_verdict: Callable[[Verdict], None]) -> None:
        self.clock.callLater(0.05, super().offer, record, now, on_verdict)


class PutTests(NodeTestCase):
    """What SUCCESS means."""

    def test_spare_copy(self) -> None:
        """A writer far from all others does not wait for the slowest holder. Its spare copy counts, for it
        lasts as long as the others."""
        peers = self.cluster(30)
        peers[3].latency = 0.2
        put = peers[25].node.put(KEY, b"value", 86_400, REPLICATION)
        self.assertGreaterEqual(self.network.seconds_until(put), 0.2)
        move_away(peers[25])
        put = peers[25].node.put(KEY, b"newer", 86_400, REPLICATION)
        self.assertLess(self.network.seconds_until(put), 0.1)
        self.assertEqual(self.successResultOf(put).stored, REPLICATION)
        self.network.wait(1)
        self.assertEqual(self.holders(peers, value=b"newer"), nearest(REPLICATION + SPARE_COPIES))
        self.network.wait(86_400 - 60)
        self.assertEqual(self.holders(peers, value=b"newer"), nearest(REPLICATION + SPARE_COPIES))

    def test_slow_transfers(self) -> None:
        """A large value is on its way for longer than a contact may be silent, to all holders, and none can
        stand in: the put waits for most of them, and no longer than clients wait."""
        peers = self.cluster(8)
        for number, peer in enumerate(peers):
            peer.transfer_seconds = PUSH_SILENT + 0.2 * number
        put = peers[0].node.put(KEY, bytes(MAX_VALUE), 86_400, REPLICATION)
        self.assertLess(self.network.seconds_until(put), PUSH_SILENT + 1)
        self.assertTrue(self.successResultOf(put).acknowledged)
        for peer in peers:
            peer.transfer_seconds = OPERATION_TIMEOUT
        put = peers[0].node.put(KEY, bytes(MAX_VALUE - 1), 86_400, REPLICATION)
        self.assertLessEqual(self.network.seconds_until(put), OPERATION_TIMEOUT)
        self.assertEqual(self.successResultOf(put).reason, PutReason.TOO_FEW_HOLDERS)

    def test_own_copy_late(self) -> None:
        """A writer to whom nobody answers in time stores a copy itself, and says that too few have answered:
        its own disk had time for that."""
        peers = self.cluster(12)
        for peer in peers:
            peer.transfer_seconds = OPERATION_TIMEOUT
        writer = peers[10]
        store = SlowStore(writer.contact.node_id, 1 << 20, lambda record: True)
        store.clock = self.network.clock
        writer.node._writer.holders._store = store
        put = writer.node.put(KEY, bytes(MAX_VALUE), TTL, 0)
        self.assertLess(self.network.seconds_until(put), PROMISED)
        self.assertEqual(self.successResultOf(put).reason, PutReason.TOO_FEW_HOLDERS)
        self.assertEqual(len(store), 1)

    def test_blocked_transfers(self) -> None:
        """To a few holders nothing large can be sent: a put does not wait for them when most have the
        value."""
        peers = self.cluster(8)
        for peer in peers[1:3]:
            peer.bulk = BulkBehaviour.SILENT
        put = peers[0].node.put(KEY, bytes(MAX_VALUE), 86_400, REPLICATION)
        self.assertLessEqual(self.network.seconds_until(put), PUSH_SILENT + 2 * LATENCY)
        self.assertTrue(self.successResultOf(put).acknowledged)

    def test_replication(self) -> None:
        """A writer gets as many copies as it asks for, and at least the group; more than there are is all."""
        peers = self.cluster(30)
        for asked, copies in ((1, GROUP), (3, GROUP), (20, 20)):
            self.assertTrue(self.put(peers[25], b"%d" % asked, replication=asked))
            self.assertEqual(self.holders(peers, value=b"%d" % asked), nearest(copies))
        self.setUp()
        peers = self.cluster(5)
        self.assertTrue(self.put(peers[4], b"value", replication=20))
        self.assertEqual(self.holders(peers), nearest(5))

    def test_no_walk(self) -> None:
        """Where the neighbourhood of a key is known, a put is one exchange with each holder."""
        peers = self.cluster(30)
        self.assertTrue(self.put(peers[25], b"value"))
        self.assertEqual([len(peer.asked) for peer in peers], [1] * REPLICATION + [0] * 22)

    def test_own_copy(self) -> None:
        """The node itself counts when it is one of the nearest, and does not hold the value when it is
        not."""
        peers = self.cluster(20)
        self.assertTrue(self.put(peers[3], b"value"))
        self.assertEqual(self.holders(peers), nearest())
        self.assertEqual(peers[3].asked, [])

    def test_bootstrap_nodes(self) -> None:
        """Bootstrap nodes do not count, however near; the next nearest nodes hold the value instead."""
        ids = sorted((random_id(self.rng) for _ in range(20)), key=KEY.__xor__)
        peers = [
            self.network.peer(node_id, holds_values=number % 2 == 1) for number, node_id in enumerate(ids)
        ]
        self.network.acquaint(peers)
        self.assertTrue(self.put(peers[19], b"value"))
        self.assertEqual(self.holders(peers), nearest(20)[1 : 2 * REPLICATION : 2])

    def test_only_bootstrap_nodes(self) -> None:
        """Where all others are bootstrap nodes, the node itself is all there is."""
        peers = [self.network.peer(random_id(self.rng), holds_values=number == 0) for number in range(3)]
        self.network.acquaint(peers)
        self.assertTrue(self.put(peers[0], b"value"))
        self.assertEqual(self.get(peers[0]), b"value")

    def test_full(self) -> None:
        """The next nearest stand in for full nodes; if all are full, the value is not kept."""
        peers = self.cluster(20)
        for peer in peers[:3]:
            assert peer.store is not None
            peer.store.limit = 1
        self.assertTrue(self.put(peers[15], b"value"))
        self.assertEqual(self.holders(peers), nearest(20)[3 : 3 + REPLICATION])
        for peer in peers:
            assert peer.store is not None
            peer.store.limit = 1
        self.assertFalse(self.put(peers[15], b"another value", key=KEY + 1))

    def test_slow(self) -> None:
        """The next nearest stand in for slow holders without delay; the slow ones hold it too in the
        end."""
        peers = self.cluster(20)
        for peer in peers[:2]:
            peer.latency = 2.0
        put = peers[15].node.put(KEY, b"value", TTL, 0)
        self.assertLess(self.network.seconds_until(put), 1.0)
        self.assertTrue(self.successResultOf(put))
        self.network.wait(3)
        self.assertEqual(self.holders(peers), nearest(REPLICATION + 2))

    def test_late_receipts(self) -> None:
        """If there is no stand-in, the slow are waited for, and their receipts count."""
        peers = self.cluster(4)
        for peer in peers[:3]:
            peer.latency = 0.6
        self.assertTrue(self.put(peers[3], b"value"))
        self.assertEqual(self.holders(peers), nearest(4))

    def test_some_dead(self) -> None:
        """Dead holders are replaced; where there are no others, all that can be reached are enough."""
        for count, dead in ((20, 5), (10, 4)):
            self.setUp()
            peers = self.cluster(count)
            for peer in peers[:dead]:
                peer.fall_silent()
            put = peers[-1].node.put(KEY, b"value", TTL, 0)
            self.assertLess(self.network.seconds_until(put), 1.5)
            self.assertTrue(self.successResultOf(put))
            self.assertEqual(self.holders(peers), nearest(count)[dead : dead + REPLICATION])

    def test_many_dead(self) -> None:
        """Where so many of the nearest nodes do not answer that fewer of these are left than the client asked
        for, those farther away stand in: they can be reached."""
        peers = self.cluster(60)
        for peer in peers[:12]:
            peer.fall_silent()
        put = peers[59].node.put(KEY, b"value", TTL, MAX_REPLICATION)
        self.assertLess(self.network.seconds_until(put), PROMISED)
        receipt = self.successResultOf(put)
        self.assertEqual((receipt.outcome, receipt.stored), (PutOutcome.STORED, MAX_REPLICATION))
        self.assertEqual(self.holders(peers), list(range(12, 32)))

    def test_bootstrap_nodes_and_many_copies(self) -> None:
        """Those farther away stand in for bootstrap nodes among the nearest as well."""
        ids = sorted((random_id(self.rng) for _ in range(40)), key=KEY.__xor__)
        peers = [self.network.peer(node_id, holds_values=number > 1) for number, node_id in enumerate(ids)]
        self.network.acquaint(peers)
        put = peers[39].node.put(KEY, b"value", TTL, MAX_REPLICATION)
        receipt = self.network.result(put)
        self.assertEqual((receipt.outcome, receipt.stored), (PutOutcome.STORED, MAX_REPLICATION))

    def test_broken_disks(self) -> None:
        """Holders whose disks fail, and that hold the value before, are still in the group: readers hear
        them. So where they are most of it a put is not acknowledged, and where they are not it is read."""
        for broken in ((0, 1), (0, 1, 2), (1, 2, 3)):
            for writer in (0, 20):
                self.setUp()
                self.patch(fakes, "MemoryStore", BrokenStore)
                peers = self.cluster(25)
                self.assertTrue(self.put(peers[20], b"old"))
                for index in broken:
                    store = peers[index].store
                    assert isinstance(store, BrokenStore)
                    store.is_broken = True
                is_stored = self.put(peers[writer], b"new")
                self.assertIs(is_stored, len(broken) < QUORUM)
                if is_stored:
                    self.assertEqual({self.get(peer) for peer in peers}, {b"new"})

    def test_hanging_disk(self) -> None:
        """Where the own disk says nothing the others hold the value, and the client has its answer in time;
        where there is no other node, that it is not stored. What the disk says later does no harm."""
        for count, outcome in ((20, PutOutcome.STORED), (1, PutOutcome.NOT_STORED)):
            self.setUp()
            peers = self.cluster(count)
            store = HangingStore(peers[0].contact.node_id, 1 << 20, lambda record: True)
            peers[0].node._writer.holders._store = store
            put = peers[0].node.put(KEY, b"value", TTL, 0)
            self.assertLess(self.network.seconds_until(put), PROMISED)
            self.assertIs(self.successResultOf(put).outcome, outcome)
            self.assertEqual(self.holders(peers), nearest(REPLICATION + 1)[1:] if count > 1 else [])
            for on_verdict in store.on_verdicts:
                on_verdict(Verdict(Outcome.HELD, 1))

    def test_cut_off(self) -> None:
        """A node whose contacts were all well and are all silent now is cut off: its own copy is no
        success."""
        peers = self.cluster(10)
        for peer in peers[1:]:
            peer.fall_silent()
        self.assertFalse(self.put(peers[0], b"value"))

    def test_many_at_once(self) -> None:
        """Of many puts at most MAX_PUTS run at once; all are acknowledged in the end."""
        peers = self.cluster(4)
        many = 2 * MAX_PUTS + 10
        puts = [peers[3].node.put(KEY + number, b"value", TTL, 0) for number in range(many)]
        # The first ones ask what time it is, all together once.
        self.assertEqual((self.asked(peers[:1], Ping), self.asked(peers[:1], Store)), (1, 0))
        self.network.wait(1.5 * LATENCY)
        self.assertEqual(self.asked(peers[:1], Store), MAX_PUTS)
        self.network.wait(PROMISED)
        self.assertTrue(all(acknowledged(self.successResultOf(put)) for put in puts))
        self.assertEqual(self.asked(peers[:1], Store), many)

    def test_many_with_the_dead(self) -> None:
        """Where puts are held up by nodes that have died, those behind them are answered in time all the
        same."""
        peers = self.cluster(4)
        for peer in peers[:3]:
            peer.fall_silent()
        puts = [peers[3].node.put(KEY + number, b"value", TTL, 0) for number in range(2 * MAX_PUTS)]
        self.network.wait(PROMISED + 0.1)
        self.assertTrue(all(put.called for put in puts))

    def test_wrong_size(self) -> None:
        """A value that does not fit the API, or none at all, is refused at once with a log line."""
        (peer,) = self.cluster(1)
        with capturedLogs() as events:
            for size in (0, MAX_VALUE + 1):
                self.assertFalse(acknowledged(self.successResultOf(peer.node.put(KEY, bytes(size), TTL, 0))))
        expected = [(0, MAX_VALUE), (MAX_VALUE + 1, MAX_VALUE)]
        self.assertEqual(fields(events, "size", "limit"), expected)
        self.assertTrue(self.put(peer, bytes(MAX_VALUE)))

    def test_expiry(self) -> None:
        """Every copy expires at the moment that the writer fixed, and is not found from then on."""
        peers = self.cluster(10)
        self.put(peers[9], b"value", ttl=5)
        self.network.wait(4.5)
        self.assertEqual(self.get(peers[9]), b"value")
        self.network.wait(0.6)
        self.assertEqual([self.get(peer) for peer in peers], [None] * 10)

    def test_writer(self) -> None:
        """Every holder, the writer's own store too, knows which node the value came from, and others from
        where."""
        peers = self.cluster(4)
        self.assertTrue(self.put(peers[2], b"value"))
        held = [peer.store and peer.store.get(KEY, self.now) for peer in peers]
        self.assertEqual([one and one.writer for one in held], [peers[2].contact.node_id] * 4)
        host = host_of(peers[2].contact.address[0])
        self.assertEqual([one and one.writer_subnet for one in held], [host, host, b"", host])

    def test_content_again(self) -> None:
        """Content that is put again lives as long as the later put asked for."""
        key = hash_id(b"content")
        peers = self.cluster(10)
        self.assertTrue(self.put(peers[0], b"content", key, ttl=5))
        self.assertTrue(self.put(peers[1], b"content", key, ttl=50))
        self.network.wait(20)
        self.assertEqual(self.get(peers[2], key), b"content")


class OverwriteTests(NodeTestCase):
    """Two values for one key."""

    def test_overwrite(self) -> None:
        """The later of two puts wins at all holders, whichever nodes they were made at."""
        peers = self.cluster(20)
        for number in range(5):
            value = b"value %d" % number
            self.assertTrue(self.put(self.rng.choice(peers), value))
            self.assertEqual(self.holders(peers, value=value), nearest())

    def test_clock_behind(self) -> None:
        """A writer whose clock is behind overwrites all the same, in two rounds."""
        peers = self.cluster(20)
        for peer in peers[:REPLICATION]:
            self.give(peer, b"written in its future", age=-TOLERANCE / 2)
        self.assertTrue(self.put(peers[15], b"value"))
        self.assertEqual(self.holders(peers, value=b"value"), nearest())
        self.assertEqual(self.holders(peers), nearest(), "nobody else was bothered")

    def test_own_store_ahead(self) -> None:
        """What its own store knows to be newer a writer surpasses at once."""
        peers = self.cluster(4)
        for peer in peers:
            self.give(peer, b"written in its future", age=-TOLERANCE / 2)
        self.assertTrue(self.put(peers[0], b"value"))
        self.assertEqual(self.asked(peers, Store), 3)

    def test_content_conflict(self) -> None:
        """Under the hash of a stored value nothing else is stored, in small networks and in large ones."""
        key = hash_id(b"content")
        for count in (1, 2, 5, 20, 60):
            self.setUp()
            peers = self.cluster(count)
            self.assertTrue(self.put(peers[0], b"content", key))
            for peer in (peers[0], peers[-1]):
                self.assertFalse(self.put(peer, b"other", key))
                self.assertEqual(self.holders(peers, key, b"other"), [])
            self.assertEqual(self.get(peers[-1], key), b"content")

    def test_content_at_some(self) -> None:
        """The same if most of the holders have lost it: what a reader would get decides."""
        key = hash_id(b"content")
        peers = sorted(self.cluster(20), key=lambda peer: peer.contact.node_id ^ key)
        for peer in peers[:3]:
            self.give(peer, b"content", key)
        self.assertFalse(self.put(peers[15], b"other", key))
        self.assertEqual(self.get(peers[16], key), b"content")

    def test_content_refused_by_liars(self) -> None:
        """A node that reports a record better than content lies: the next nearest stand in for it."""
        key = hash_id(b"content")
        peers = sorted(self.cluster(20), key=lambda peer: peer.contact.node_id ^ key)
        for peer in peers[:3]:
            peer.answer = lambda request, sender: Outranked(0, ())
        self.assertTrue(self.put(peers[15], b"content", key))
        self.assertEqual(self.holders(peers, key), nearest(3 + REPLICATION)[3:])

    def test_content_over_open(self) -> None:
        """Content replaces whatever was put under its key before."""
        key = hash_id(b"content")
        peers = self.cluster(20)
        self.assertTrue(self.put(peers[0], b"squatter", key))
        self.assertTrue(self.put(peers[1], b"content", key))
        self.assertEqual([self.get(peer, key) for peer in peers], [b"content"] * 20)

    def test_liar(self) -> None:
        """One holder that reports a better record, whatever its version, prevents no write."""
        for version in (0, MAX_VERSION, version_at(self.now + TOLERANCE / 2)):
            self.setUp()
            peers = self.cluster(20)
            answer = peers[2].answer
            lie = Outranked(version, ())
            peers[2].answer = lambda r, s, answer=answer, lie=lie: (  # type: ignore[misc]
                lie if isinstance(r, Store) else answer(r, s)
            )
            for key, value in ((KEY, b"value"), (KEY, b"new value"), (hash_id(b"content"), b"content")):
                self.assertTrue(self.put(peers[15], value, key), version)
                self.assertEqual(self.get(peers[16], key), value)

    def test_lifted_by_nobody(self) -> None:
        """One holder alone does not make a writer use a version from the future, which others would
        refuse."""
        peers = self.cluster(20)
        answer, lie = peers[2].answer, Outranked(version_at(self.now + TOLERANCE), ())
        peers[2].answer = lambda r, s: lie if isinstance(r, Store) else answer(r, s)
        self.assertTrue(self.put(peers[15], b"value"))
        held = [peer.store.get(KEY, self.now) for peer in peers if peer.store is not None]
        for record in filter(None, held):
            self.assertLessEqual(record.version, version_at(self.now))

    def test_no_hostage(self) -> None:
        """A version of the future, at all holders, is surpassed, whatever the clocks of the holders say."""
        for ahead in (TOLERANCE - 1, TOLERANCE, TOLERANCE + 1):
            self.setUp()
            peers = self.cluster(20)
            for peer in peers[:REPLICATION]:
                self.give(peer, b"hostage", age=-ahead)
            self.assertTrue(self.put(peers[15], b"value"))
            self.assertEqual(self.holders(peers, value=b"value"), nearest())

    def test_no_hostage_after_its_end(self) -> None:
        """Nor does it help to let it expire at once: what is remembered of it is surpassed, too."""
        peers = self.cluster(20)
        version = version_at(self.now + 2 * TOLERANCE - 1)
        for peer in peers[:REPLICATION]:
            peer.answer(Store(KEY, version, 1_000, REPLICATION, 0, b"hostage", True), peers[19].contact)
        self.network.wait(2)
        self.assertTrue(self.put(peers[15], b"value"))
        self.assertEqual(self.holders(peers, value=b"value"), nearest())
        self.assertEqual(self.get(peers[16]), b"value")

    def test_wrong_clock(self) -> None:
        """A writer whose clock is hours slow or fast, and that has not heard what time it is, writes all the
        same, and its value is seen."""
        for wrong in (-86_400.0, -7200.0, 7200.0, 86_400.0):
            self.setUp()
            peers = self.cluster(20)
            self.assertTrue(self.put(peers[14], b"old"))
            peers[15].time.wall = partial(self.skewed, wrong)
            self.assertTrue(self.put(peers[15], b"value"))
            for peer in peers:
                self.assertEqual(self.get(peer), b"value", wrong)

    def test_wrong_clock_of_a_holder(self) -> None:
        """Nor does a writer that is a holder keep its value for itself, as one from the future."""
        for wrong in (-86_400.0, -7200.0, 7200.0, 86_400.0):
            self.setUp()
            peers = self.cluster(20)
            peers[1].time.wall = partial(self.skewed, wrong)
            self.assertTrue(self.put(peers[1], b"value"))
            for peer in peers:
                self.assertEqual(self.get(peer), b"value", wrong)
            self.network.wait(1)
            self.assertTrue(self.put(peers[15], b"new value"))
            for peer in peers:
                self.assertEqual(self.get(peer), b"new value", wrong)
            self.assertEqual(self.holders(peers, value=b"value"), [])

    def skewed(self, wrong: float) -> float:
        return self.now + wrong

    def test_superseded_at_few(self) -> None:
        """A put is superseded where most of the group have the later value or its own. Where one node has
        that, and the others refuse and keep an older one, it has failed: readers may hear the older one."""
        peers = self.cluster(20)
        for peer in peers[1:GROUP]:
            self.give(peer, b"old", age=60)
            answer = peer.answer
            peer.answer = lambda r, s, answer=answer: (  # type: ignore[misc]
                Refused((), Refusal.NO_ROOM, True) if isinstance(r, Store) else answer(r, s)
            )
        self.give(peers[0], b"later", age=-TOLERANCE / 2)
        receipt = self.network.result(peers[15].node.put(KEY, b"value", TTL, 1))
        self.assertEqual((receipt.outcome, receipt.reason), (PutOutcome.NOT_STORED, PutReason.NO_ROOM))

    def test_superseded(self) -> None:
        """Where the group has a later value, of the future perhaps, the put is superseded, or goes above
        it."""
        peers = self.cluster(20)
        for peer in peers[1:GROUP]:
            self.give(peer, b"old", age=60)
        self.give(peers[0], b"later", age=-TOLERANCE / 2)
        receipt = self.network.result(peers[15].node.put(KEY, b"value", TTL, 1))
        self.assertEqual((receipt.outcome, receipt.reason), (PutOutcome.SUPERSEDED, PutReason.NONE))

    def test_clock_in_time(self) -> None:
        """Finding out what time it is takes no longer than the put may take."""
        peers = self.cluster(20)
        for peer in peers[:15]:
            peer.answer = lambda r, s: Refused((), Refusal.VERSION) if isinstance(r, Store) else None
        put = peers[15].node.put(KEY, b"value", TTL, 0, timeout=0.2)
        self.assertLess(self.network.seconds_until(put), 0.3)

    def test_fewer_copies(self) -> None:
        """A value that replaces one with more copies gets as many: none of the old ones is left to be
        read."""
        peers = self.cluster(40)
        self.assertTrue(self.put(peers[30], b"old", replication=20))
        for replication in (1, 8):
            value = b"new %d" % replication
            self.assertTrue(self.put(peers[31], value, replication=replication))
            self.assertEqual(self.holders(peers, value=value), nearest(20))
            self.assertEqual(self.holders(peers, value=b"old"), [])
