import hashlib
import random
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from attrs import define, evolve, field
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.contact import Contact
from dht14.kademlia.keyspace import hash_id, random_id
from dht14.kademlia.parameters import GROUP, MAX_REPLICATION, MAX_VALUE, REPLICATION, K
from dht14.node.network_time import TOLERANCE
from dht14.node.put import PUTS_AT_ONCE, Policy
from dht14.records.envelope import MAX_SEQ
from dht14.records.receipt import PutOutcome, PutReason
from dht14.records.record import Record, version_at
from dht14.records.store import Outcome, Refusal, Verdict
from dht14.security.subnets import host_of
from dht14.sim.memory_store import MemoryStore
from dht14.wire.messages import (
    MAX_VERSION,
    FindNode,
    FindValue,
    Lapsed,
    Nodes,
    Outranked,
    Pong,
    Refused,
    Reply,
    Request,
    Store,
    Stored,
    Value,
)
from tests.fakes import FakeNetwork, Peer, contact, fields
from tests.owners import Owner
from tests.told import acknowledged, value_of

KEY = 0xABCD << 240
TTL = 600
PROMISED = 5.0
"""Seconds within which a client is promised an answer, whatever the peers do."""


@define
class HangingStore(MemoryStore):
    """A store whose disk says nothing, until the test does."""

    tells: list[Callable[[Verdict], None]] = field(factory=list, init=False)

    def offer(self, record: Record, now: float, on_verdict: Callable[[Verdict], None]) -> None:
        self.tells.append(on_verdict)


def nearest(count: int = REPLICATION) -> list[int]:
    """The places of the nearest peers."""
    return list(range(count))


class PolicyTests(SynchronousTestCase):
    """What becomes of a writer's wishes."""

    policy = Policy(replication=8, min_ttl=60, max_ttl=3600, default_ttl=1800)

    def test_ttl(self) -> None:
        """A time to live is brought within the bounds; 0 asks for the default."""
        self.assertEqual([self.policy.ttl(asked) for asked in (0, 1, 100, 65_535)], [1800, 60, 100, 3600])

    def test_copies(self) -> None:
        """So is a number of copies."""
        asked = (0, 1, 20, 255)
        self.assertEqual([self.policy.copies(n) for n in asked], [8, 1, MAX_REPLICATION, MAX_REPLICATION])


class NodeTestCase(SynchronousTestCase):
    """A network of nodes that the test makes; nearest to `KEY` means nearest in it."""

    def setUp(self) -> None:
        self.network = FakeNetwork()
        self.rng = random.Random(14)

    def town(self, count: int) -> list[Peer]:
        """So many nodes that know each other, nearest to KEY first."""
        ids = sorted((random_id(self.rng) for _ in range(count)), key=KEY.__xor__)
        return self.network.town(*ids)

    @property
    def now(self) -> float:
        return self.network.clock.seconds()

    def put(self, peer: Peer, value: bytes, key: int = KEY, ttl: int = TTL, replication: int = 0) -> bool:
        put: bool = acknowledged(self.network.result(peer.node.put(key, value, ttl, replication)))
        return put

    def get(self, peer: Peer, key: int = KEY) -> bytes | None:
        got: bytes | None = value_of(self.network.result(peer.node.get(key)))
        return got

    def holders(self, peers: Iterable[Peer], key: int = KEY, value: bytes | None = None) -> list[int]:
        """Where in this line of peers somebody holds a record under the key, or this value."""
        held = [peer.store.get(key, self.now) if peer.store else None for peer in peers]
        return [place for place, record in enumerate(held) if record and value in (None, record.value)]

    def give(self, peer: Peer, value: bytes, key: int = KEY, age: float = 0, ttl: float = TTL) -> Record:
        """Let a peer hold a value that was written so many seconds ago."""
        version = 0 if hash_id(value) == key else version_at(self.now - age)
        record = Record(
            key=key, value=value, version=version, expires_at=self.now + ttl, replication=REPLICATION
        )
        assert peer.store is not None
        peer.store.offer(record, self.now, lambda verdict: None)
        return record

    def asked(self, peers: Iterable[Peer], kind: type) -> int:
        """How many requests of this kind reached these peers."""
        return sum(isinstance(request, kind) for peer in peers for request in peer.asked)


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
            self.check(self.town(count))

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
            self.check(peers, holders=lambda places: places[:REPLICATION])


class PutTests(NodeTestCase):
    """What SUCCESS means."""

    def test_replication(self) -> None:
        """A writer gets as many copies as it asks for, and at least the group; more than there are is all."""
        peers = self.town(30)
        for asked, copies in ((1, GROUP), (3, GROUP), (20, 20)):
            self.assertTrue(self.put(peers[25], b"%d" % asked, replication=asked))
            self.assertEqual(self.holders(peers, value=b"%d" % asked), nearest(copies))
        self.setUp()
        peers = self.town(5)
        self.assertTrue(self.put(peers[4], b"value", replication=20))
        self.assertEqual(self.holders(peers), nearest(5))

    def test_no_walk(self) -> None:
        """Where the neighbourhood of a key is known, a put is one exchange with each holder."""
        peers = self.town(30)
        self.assertTrue(self.put(peers[25], b"value"))
        self.assertEqual([len(peer.asked) for peer in peers], [1] * REPLICATION + [0] * 22)

    def test_own_copy(self) -> None:
        """The node itself counts when it is one of the nearest, and does not hold the value when it is not."""
        peers = self.town(20)
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
        """Full nodes are replaced by the next nearest; where everybody is full, the value is not kept."""
        peers = self.town(20)
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
        """The next nearest stand in for slow holders, and nobody waits; the slow ones hold it too in the end."""
        peers = self.town(20)
        for peer in peers[:2]:
            peer.latency = 2.0
        put = peers[15].node.put(KEY, b"value", TTL, 0)
        self.assertLess(self.network.seconds_until(put), 1.0)
        self.assertTrue(self.successResultOf(put))
        self.network.wait(3)
        self.assertEqual(self.holders(peers), nearest(REPLICATION + 2))

    def test_late_receipts(self) -> None:
        """Where nobody can stand in, the slow are waited for, and their receipts count."""
        peers = self.town(4)
        for peer in peers[:3]:
            peer.latency = 0.6
        self.assertTrue(self.put(peers[3], b"value"))
        self.assertEqual(self.holders(peers), nearest(4))

    def test_some_dead(self) -> None:
        """Dead holders are replaced; where there are no others, all that can be reached are enough."""
        for count, dead in ((20, 5), (10, 4)):
            self.setUp()
            peers = self.town(count)
            for peer in peers[:dead]:
                peer.fall_silent()
            put = peers[-1].node.put(KEY, b"value", TTL, 0)
            self.assertLess(self.network.seconds_until(put), 1.5)
            self.assertTrue(self.successResultOf(put))
            self.assertEqual(self.holders(peers), nearest(count)[dead : dead + REPLICATION])

    def test_hanging_disk(self) -> None:
        """Where the own disk says nothing the others hold the value, and the client has its answer in time; where
        nobody else is, that it is not stored. What the disk says later does no harm."""
        for count, outcome in ((20, PutOutcome.STORED), (1, PutOutcome.NOT_STORED)):
            self.setUp()
            peers = self.town(count)
            store = HangingStore(peers[0].contact.node_id, 1 << 20, lambda record: True)
            peers[0].node._writer._store = store
            put = peers[0].node.put(KEY, b"value", TTL, 0)
            self.assertLess(self.network.seconds_until(put), PROMISED)
            self.assertIs(self.successResultOf(put).outcome, outcome)
            self.assertEqual(self.holders(peers), nearest(REPLICATION + 1)[1:] if count > 1 else [])
            for tell in store.tells:
                tell(Verdict(Outcome.HELD, 1))

    def test_cut_off(self) -> None:
        """A node whose contacts were all well and are all silent now is cut off: its own copy is no success."""
        peers = self.town(10)
        for peer in peers[1:]:
            peer.fall_silent()
        self.assertFalse(self.put(peers[0], b"value"))

    def test_many_at_once(self) -> None:
        """Of many puts at once only so many burden the others together; all are acknowledged in the end."""
        peers = self.town(4)
        many = 2 * PUTS_AT_ONCE + 10
        puts = [peers[3].node.put(KEY + number, b"value", TTL, 0) for number in range(many)]
        self.assertEqual(self.asked(peers[:1], Store), PUTS_AT_ONCE)
        self.network.wait(PROMISED)
        self.assertTrue(all(acknowledged(self.successResultOf(put)) for put in puts))
        self.assertEqual(self.asked(peers[:1], Store), many)

    def test_many_with_the_dead(self) -> None:
        """Where puts are held up by nodes that have died, those behind them are answered in time all the same."""
        peers = self.town(4)
        for peer in peers[:3]:
            peer.fall_silent()
        puts = [peers[3].node.put(KEY + number, b"value", TTL, 0) for number in range(2 * PUTS_AT_ONCE)]
        self.network.wait(PROMISED + 0.1)
        self.assertTrue(all(put.called for put in puts))

    def test_wrong_size(self) -> None:
        """A value that does not fit the API, or none at all, is refused at once with a log line."""
        (peer,) = self.town(1)
        with capturedLogs() as events:
            for size in (0, MAX_VALUE + 1):
                self.assertFalse(acknowledged(self.successResultOf(peer.node.put(KEY, bytes(size), TTL, 0))))
        expected = [(0, MAX_VALUE), (MAX_VALUE + 1, MAX_VALUE)]
        self.assertEqual(fields(events, "size", "limit"), expected)
        self.assertTrue(self.put(peer, bytes(MAX_VALUE)))

    def test_expiry(self) -> None:
        """Every copy expires at the moment that the writer fixed, and is not found from then on."""
        peers = self.town(10)
        self.put(peers[9], b"value", ttl=5)
        self.network.wait(4.5)
        self.assertEqual(self.get(peers[9]), b"value")
        self.network.wait(0.6)
        self.assertEqual([self.get(peer) for peer in peers], [None] * 10)

    def test_writer(self) -> None:
        """Every holder, the writer's own store too, knows which node the value came from, and others from where."""
        peers = self.town(4)
        self.assertTrue(self.put(peers[2], b"value"))
        held = [peer.store and peer.store.get(KEY, self.now) for peer in peers]
        self.assertEqual([one and one.writer for one in held], [peers[2].contact.node_id] * 4)
        host = host_of(peers[2].contact.address[0])
        self.assertEqual([one and one.writer_subnet for one in held], [host, host, b"", host])

    def test_content_again(self) -> None:
        """Content that is put again lives as long as the later put asked for."""
        key = hash_id(b"content")
        peers = self.town(10)
        self.assertTrue(self.put(peers[0], b"content", key, ttl=5))
        self.assertTrue(self.put(peers[1], b"content", key, ttl=50))
        self.network.wait(20)
        self.assertEqual(self.get(peers[2], key), b"content")


class OverwriteTests(NodeTestCase):
    """Two values for one key."""

    def test_overwrite(self) -> None:
        """The later of two puts wins at all holders, whichever nodes they were made at."""
        peers = self.town(20)
        for number in range(5):
            value = b"value %d" % number
            self.assertTrue(self.put(self.rng.choice(peers), value))
            self.assertEqual(self.holders(peers, value=value), nearest())

    def test_clock_behind(self) -> None:
        """A writer whose clock is behind overwrites all the same, in two rounds."""
        peers = self.town(20)
        for peer in peers[:REPLICATION]:
            self.give(peer, b"written in its future", age=-TOLERANCE / 2)
        self.assertTrue(self.put(peers[15], b"value"))
        self.assertEqual(self.holders(peers, value=b"value"), nearest())
        self.assertEqual(self.holders(peers), nearest(), "nobody else was bothered")

    def test_own_store_ahead(self) -> None:
        """What its own store knows to be newer a writer surpasses at once."""
        peers = self.town(4)
        for peer in peers:
            self.give(peer, b"written in its future", age=-TOLERANCE / 2)
        self.assertTrue(self.put(peers[0], b"value"))
        self.assertEqual(self.asked(peers, Store), 3)

    def test_content_conflict(self) -> None:
        """Under the hash of a stored value nothing else is stored, in small networks and in large ones."""
        key = hash_id(b"content")
        for count in (1, 2, 5, 20, 60):
            self.setUp()
            peers = self.town(count)
            self.assertTrue(self.put(peers[0], b"content", key))
            for peer in (peers[0], peers[-1]):
                self.assertFalse(self.put(peer, b"other", key))
                self.assertEqual(self.holders(peers, key, b"other"), [])
            self.assertEqual(self.get(peers[-1], key), b"content")

    def test_content_at_some(self) -> None:
        """Nor where most of the holders have lost it: what a reader would get decides."""
        key = hash_id(b"content")
        peers = sorted(self.town(20), key=lambda peer: peer.contact.node_id ^ key)
        for peer in peers[:3]:
            self.give(peer, b"content", key)
        self.assertFalse(self.put(peers[15], b"other", key))
        self.assertEqual(self.get(peers[16], key), b"content")

    def test_content_refused_by_liars(self) -> None:
        """Who claims to have something better than content lies: the next nearest stand in for it."""
        key = hash_id(b"content")
        peers = sorted(self.town(20), key=lambda peer: peer.contact.node_id ^ key)
        for peer in peers[:3]:
            peer.answer = lambda request, sender: Outranked(0, ())
        self.assertTrue(self.put(peers[15], b"content", key))
        self.assertEqual(self.holders(peers, key), nearest(3 + REPLICATION)[3:])

    def test_content_over_open(self) -> None:
        """Content takes its place from whatever was put there before it."""
        key = hash_id(b"content")
        peers = self.town(20)
        self.assertTrue(self.put(peers[0], b"squatter", key))
        self.assertTrue(self.put(peers[1], b"content", key))
        self.assertEqual([self.get(peer, key) for peer in peers], [b"content"] * 20)

    def test_liar(self) -> None:
        """One holder that says it has something better, whatever it says, keeps nobody from storing."""
        for version in (0, MAX_VERSION, version_at(self.now + TOLERANCE / 2)):
            self.setUp()
            peers = self.town(20)
            answer = peers[2].answer
            lie = Outranked(version, ())
            peers[2].answer = lambda r, s, answer=answer, lie=lie: (  # type: ignore[misc]
                lie if isinstance(r, Store) else answer(r, s)
            )
            for key, value in ((KEY, b"value"), (KEY, b"new value"), (hash_id(b"content"), b"content")):
                self.assertTrue(self.put(peers[15], value, key), version)
                self.assertEqual(self.get(peers[16], key), value)

    def test_lifted_by_nobody(self) -> None:
        """One holder alone brings nobody to write a version of the future, which others would refuse."""
        peers = self.town(20)
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
            peers = self.town(20)
            for peer in peers[:REPLICATION]:
                self.give(peer, b"hostage", age=-ahead)
            self.assertTrue(self.put(peers[15], b"value"))
            self.assertEqual(self.holders(peers, value=b"value"), nearest())

    def test_wrong_clock(self) -> None:
        """A writer whose clock is hours slow or fast, and that has not heard what time it is, writes all the same,
        and its value is seen."""
        for wrong in (-86_400.0, -7200.0, 7200.0, 86_400.0):
            self.setUp()
            peers = self.town(20)
            self.assertTrue(self.put(peers[14], b"old"))
            peers[15].time.wall = partial(self.skewed, wrong)
            self.assertTrue(self.put(peers[15], b"value"))
            for peer in peers:
                self.assertEqual(self.get(peer), b"value", wrong)

    def skewed(self, wrong: float) -> float:
        return self.now + wrong

    def test_superseded_at_few(self) -> None:
        """A put is superseded where most of the group have the later value or its own. Where one node has that, and
        the others refuse and keep an older one, it has failed: readers may hear the older one."""
        peers = self.town(20)
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
        """Where the group has a later value, of the future perhaps, the put is superseded, or goes above it."""
        peers = self.town(20)
        for peer in peers[1:GROUP]:
            self.give(peer, b"old", age=60)
        self.give(peers[0], b"later", age=-TOLERANCE / 2)
        receipt = self.network.result(peers[15].node.put(KEY, b"value", TTL, 1))
        self.assertEqual((receipt.outcome, receipt.reason), (PutOutcome.SUPERSEDED, PutReason.NONE))

    def test_clock_in_time(self) -> None:
        """Finding out what time it is takes no longer than the put may take."""
        peers = self.town(20)
        for peer in peers[:15]:
            peer.answer = lambda r, s: Refused((), Refusal.VERSION) if isinstance(r, Store) else None
        put = peers[15].node.put(KEY, b"value", TTL, 0, timeout=0.2)
        self.assertLess(self.network.seconds_until(put), 0.3)

    def test_fewer_copies(self) -> None:
        """A value that replaces one with more copies gets as many: none of the old ones is left to be read."""
        peers = self.town(40)
        self.assertTrue(self.put(peers[30], b"old", replication=20))
        for replication in (1, 8):
            value = b"new %d" % replication
            self.assertTrue(self.put(peers[31], value, replication=replication))
            self.assertEqual(self.holders(peers, value=value), nearest(20))
            self.assertEqual(self.holders(peers, value=b"old"), [])


class OwnerTests(NodeTestCase):
    """Values that only one may write."""

    owner = Owner(1)

    def setUp(self) -> None:
        super().setUp()
        self.peers = self.town(30)
        self.peers.sort(key=lambda peer: peer.contact.node_id ^ self.owner.key)

    def write(self, payload: bytes, seq: int, cas: int | None = None, at: int = 25, ttl: int = TTL) -> bool:
        return self.put(self.peers[at], self.owner.says(payload, seq, cas), self.owner.key, ttl)

    def hold(self, place: int, payload: bytes, seq: int, ttl: float = TTL) -> None:
        """Let a peer hold what its owner has signed."""
        store = self.peers[place].store
        assert store is not None
        store.offer(self.owner.record(payload, seq, self.now + ttl), self.now, lambda verdict: None)

    def have(self, payload: bytes, seq: int, cas: int | None = None) -> list[int]:
        return self.holders(self.peers, self.owner.key, self.owner.says(payload, seq, cas))

    def read(self, at: int = 20) -> bytes | None:
        return self.get(self.peers[at], self.owner.key)

    def test_written(self) -> None:
        """A get returns the envelope that was put, at whatever node; every version is held by all."""
        for seq, at in ((1, 25), (2, 0), (MAX_SEQ, 7)):
            self.assertTrue(self.write(b"payload", seq, at=at))
            self.assertEqual(self.have(b"payload", seq), nearest())
            self.assertEqual({self.read(place) for place in range(30)}, {self.owner.says(b"payload", seq)})

    def test_forged(self) -> None:
        """What is not signed for its key is refused at once, with a log line that shows nothing of it."""
        value = self.owner.says(b"payload", 5)
        forged = ((value, KEY), (value, hash_id(value)), (value + b"?", self.owner.key), (b"DHT14OWN", KEY))
        with capturedLogs() as events:
            for one, key in forged:
                self.assertFalse(acknowledged(self.successResultOf(self.peers[3].node.put(key, one, TTL, 0))))
        self.assertEqual(len(fields(events, "reason")), len(forged))
        self.assertEqual(self.asked(self.peers, Store), 0)

    def test_conflicts(self) -> None:
        """A number that is not above the present one's, and a comparison that fails, are refused, and nobody
        holds what was."""
        self.assertTrue(self.write(b"present", 5))
        for payload, seq, cas in (
            (b"x", 4, None),
            (b"x", 5, None),
            (b"y", 5, None),
            (b"x", 9, 4),
            (b"", 3, 0),
        ):
            self.assertFalse(self.write(payload, seq, cas))
            self.assertEqual(self.have(payload, seq, cas), [])
        self.assertTrue(self.write(b"next", 6, cas=5))
        self.assertEqual(self.read(), self.owner.says(b"next", 6, 5))

    def test_receipt_of_conflict(self) -> None:
        """A receipt has the owner's number, and tells why, whether the conflict is seen before or while storing."""
        self.assertTrue(self.write(b"first", 5))
        for place in (None, 0):
            if place is not None:
                self.peers[place].answer = self.after_rival(place, self.owner.says(b"rival", 9), version=9)
            value = self.owner.says(b"late", 4 if place is None else 8)
            receipt = self.network.result(self.peers[25].node.put(self.owner.key, value, TTL, 0))
            self.assertEqual((receipt.outcome, receipt.reason), (PutOutcome.NOT_STORED, PutReason.CONFLICT))
            self.assertEqual(receipt.version, 4 if place is None else 8)

    def test_again(self) -> None:
        """The same envelope put again lives on."""
        self.assertTrue(self.write(b"payload", 5, ttl=5))
        self.assertTrue(self.write(b"payload", 5, ttl=50))
        self.network.wait(20)
        self.assertEqual(self.read(), self.owner.says(b"payload", 5))

    def test_conflict_at_newcomers(self) -> None:
        """What has lost is not spread to holders that have nothing: the writer looks first."""
        for payload, seq, cas in ((b"older", 4, None), (b"late", 9, 4)):
            self.setUp()
            for place in (2, 5, 7):
                self.hold(place, b"present", 5)
            self.assertFalse(self.write(payload, seq, cas))
            self.assertEqual(self.asked(self.peers, Store), 0)

    def test_at_the_same_time(self) -> None:
        """Where another write of the same number came first to some holders, the greater hash wins at all of
        them, and the writer is told which it was."""
        for ours, theirs in ((b"one", b"other"), (b"other", b"one")):
            self.setUp()
            self.assertTrue(self.write(b"first", 1))
            value, rival = (self.owner.says(payload, 2, cas=1) for payload in (ours, theirs))
            for place in (1, 2, 5, 6, 7):
                self.peers[place].answer = self.after_rival(place, rival)
            wins = hashlib.sha256(value).digest() > hashlib.sha256(rival).digest()
            self.assertEqual(self.put(self.peers[25], value, self.owner.key), wins)
            winner = value if wins else rival
            self.assertEqual(self.holders(self.peers, self.owner.key, winner), nearest())
            self.assertEqual({self.read(place) for place in range(30)}, {winner})

    def test_lost_to_fewer_copies(self) -> None:
        """Where a record has lost to one with fewer copies, none of its own is left to be read when the holders of
        the other one are gone."""
        loser, rival = self.owner.says(b"loser", 2), self.owner.says(b"rival", 3)
        for place in range(GROUP):
            answer = self.after_rival(place, rival, version=3, replication=GROUP)
            self.peers[place].answer = answer
        self.assertFalse(self.put(self.peers[25], loser, self.owner.key, replication=14))
        self.assertEqual(self.holders(self.peers, self.owner.key, loser), [])
        self.assertEqual(self.holders(self.peers, self.owner.key, rival), nearest(14))

    def after_rival(
        self, place: int, rival: bytes, **other: Any
    ) -> Callable[[Request, Contact], Reply | None]:
        """A holder that a rival's STORE reaches just before the next one does."""
        peer = self.peers[place]
        answer = peer.answer

        def answer_late(request: Request, sender: Contact) -> Reply | None:
            if isinstance(request, Store):
                peer.answer = answer
                answer(evolve(request, value=rival, **other), sender)
            return answer(request, sender)

        return answer_late

    def test_open(self) -> None:
        """An open value under an owner's key is refused where there is an owner's, and gives way to it."""
        key = self.owner.key
        self.assertTrue(self.put(self.peers[9], b"squatter", key))
        self.assertTrue(self.write(b"payload", 1))
        for seq in (1, 1 << 62, MAX_SEQ):
            self.write(b"payload", seq)
            for at in (9, 0):
                self.assertFalse(self.put(self.peers[at], b"squatter", key))
            self.assertEqual(self.holders(self.peers, key, b"squatter"), [])
            self.assertEqual(self.read(), self.owner.says(b"payload", seq))

    def test_deleted(self) -> None:
        """What is deleted is found by nobody, though all its holders but one lose the tombstone."""
        self.assertTrue(self.write(b"payload", 1))
        self.assertTrue(self.write(b"", 2))
        self.assertEqual(self.have(b"", 2), nearest())
        self.assertEqual([self.read(at) for at in range(30)], [None] * 30)
        for place in nearest()[1:]:
            store = self.peers[place].store
            assert store is not None
            store._drop(self.owner.key)
            self.hold(place, b"payload", 1)
        self.assertEqual([self.read(at) for at in range(30)], [None] * 30)
        self.assertTrue(self.write(b"again", 3))
        self.assertEqual(self.read(), self.owner.says(b"again", 3))

    def test_tombstone_lives(self) -> None:
        """A tombstone lives as long as anything may, and is at all holders of what it deletes."""
        value = self.owner.says(b"payload", 1)
        self.assertTrue(self.put(self.peers[25], value, self.owner.key, ttl=20_000, replication=14))
        self.assertTrue(self.write(b"", 2, ttl=1))
        self.assertEqual(self.have(b"", 2), nearest(14))
        self.hold(0, b"payload", 1, ttl=20_000)
        self.network.wait(19_000)
        self.assertIsNone(self.read())
        lives = [peer.store.get(self.owner.key, self.now + 60_000) for peer in self.peers if peer.store]
        self.assertEqual(sum(one is not None for one in lives), 14)

    def test_tombstone_renewed(self) -> None:
        """A tombstone that its owner puts again, with a greater number, lives as long again: what it deletes does not
        come back when the first one would have lapsed."""
        self.assertTrue(self.write(b"payload", 1))
        self.assertTrue(self.write(b"", 2))
        for seq in (3, 4):
            self.network.wait(80_000)
            self.assertTrue(self.write(b"", seq))
        self.network.wait(80_000)
        self.assertEqual(self.have(b"", 4), nearest())
        self.assertFalse(self.write(b"payload", 1))
        self.assertIsNone(self.read())

    def test_forgers(self) -> None:
        """Holders that make up envelopes, or numbers for old ones, are not believed."""
        old = self.owner.says(b"old", 1)
        for lie in (self.owner.says(b"forged!", 9)[:-1] + b"?", old):
            self.setUp()
            self.assertTrue(self.write(b"old", 1))
            self.assertTrue(self.write(b"payload", 2))
            for peer in self.peers[:3]:
                peer.answer = lambda request, sender, lie=lie: Value(9, 60_000, 8, True, lie)  # type: ignore[misc]
            self.assertEqual(self.read(), self.owner.says(b"payload", 2))

    def test_rival_here(self) -> None:
        """A node that is a holder itself compares once more when it comes to hold. Here another writer was quicker,
        and its record goes to all who shall hold it."""
        here, answer = self.peers[0], self.peers[1].answer

        def answer_late(request: Request, sender: Contact) -> Reply | None:
            for place in nearest():
                self.hold(place, b"rival", 3)
            return answer(request, sender)

        self.peers[1].answer = answer_late
        late = self.owner.says(b"late", 9, cas=2)
        self.assertFalse(self.put(here, late, self.owner.key))
        self.assertEqual((self.have(b"rival", 3), self.have(b"late", 9, 2)), (nearest(), []))

    def test_number_is_no_version(self) -> None:
        """A number in the own store is not taken for an open value's version: no open one is that high."""
        self.hold(0, b"payload", MAX_SEQ)
        self.assertFalse(self.put(self.peers[0], b"squatter", self.owner.key))
        for peer in self.peers:
            for request in peer.asked:
                if isinstance(request, Store):
                    self.assertLessEqual(request.version, version_at(self.now))

    def test_liar(self) -> None:
        """One holder that says it has something newer keeps nobody from writing."""
        for version in (0, 1, MAX_SEQ):
            self.setUp()
            answer, lie = self.peers[2].answer, Outranked(version, ())
            self.peers[2].answer = lambda r, s, answer=answer, lie=lie: (  # type: ignore[misc]
                lie if isinstance(r, Store) else answer(r, s)
            )
            self.assertTrue(self.write(b"payload", 1))
            self.assertEqual(self.read(), self.owner.says(b"payload", 1))

    def test_alone(self) -> None:
        """In a network of one node it is the same."""
        self.setUp()
        (self.peers[0],) = [self.network.peer(1)]
        self.assertTrue(self.write(b"payload", 1, at=0))
        self.assertFalse(self.write(b"other", 1, at=0))
        self.assertTrue(self.write(b"", 2, at=0))
        self.assertIsNone(self.read(0))


class GetTests(NodeTestCase):
    """What a reader gets."""

    def test_quorum(self) -> None:
        """Three holders that agree are enough; hardly anybody else is asked."""
        peers = self.town(30)
        self.put(peers[25], b"value")
        for peer in peers:
            peer.asked.clear()
        self.assertEqual(self.get(peers[25]), b"value")
        self.assertLessEqual(self.asked(peers, FindValue), 4)

    def test_newest(self) -> None:
        """Of several values the newest one wins, though it is rarer."""
        peers = self.town(12)
        for age, peer in enumerate(peers[:REPLICATION]):
            self.give(peer, b"%d" % min(age, 4), age=1000 - min(age, 4))
        self.assertEqual(self.get(peers[11]), b"4")

    def test_own_copy(self) -> None:
        """The own copy counts as one holder's; alone it is the answer when nobody else has one."""
        peers = self.town(10)
        self.give(peers[0], b"value")
        self.assertEqual(self.get(peers[0]), b"value")
        for peer in peers[1:3]:
            peer.store.offer(peers[0].store.get(KEY, self.now), self.now, lambda verdict: None)  # type: ignore
        for peer in peers:
            peer.asked.clear()
        self.assertEqual(self.get(peers[0]), b"value")
        self.assertLessEqual(self.asked(peers, FindValue), 3)

    def test_own_copy_is_older(self) -> None:
        """The own copy gives way to a newer one elsewhere."""
        peers = self.town(10)
        self.give(peers[0], b"old", age=100)
        for peer in peers[1:8]:
            self.give(peer, b"new")
        self.assertEqual(self.get(peers[0]), b"new")

    def test_content(self) -> None:
        """Content needs one holder, and none when it is here."""
        key = hash_id(b"content")
        peers = self.town(20)
        self.give(peers[0], b"content", key)
        for peer in peers[1:]:
            peer.fall_silent()
        self.assertEqual(value_of(self.successResultOf(peers[0].node.get(key))), b"content")
        self.assertLess(self.network.seconds_until(peers[5].node.get(key)), PROMISED)
        self.assertEqual(self.get(peers[6], key), b"content")

    def test_alone(self) -> None:
        """A node alone finds what it holds, and nothing else, at once."""
        (peer,) = self.town(1)
        self.give(peer, b"value")
        self.assertEqual(value_of(self.successResultOf(peer.node.get(KEY))), b"value")
        self.assertIsNone(value_of(self.successResultOf(peer.node.get(KEY + 1))))

    def test_not_found(self) -> None:
        """Not found is said when the nearest nodes have answered, not before."""
        peers = self.town(20)
        self.assertIsNone(self.get(peers[15]))
        self.assertEqual([self.asked([peer], FindValue) for peer in peers[:REPLICATION]], [1] * REPLICATION)

    def test_slow_holders(self) -> None:
        """A value whose holders are all slow is found: its absence is not concluded from their slowness."""
        peers = self.town(20)
        self.put(peers[15], b"value")
        for peer in peers[:REPLICATION]:
            peer.latency = 0.9
        self.assertEqual(self.get(peers[15]), b"value")

    def test_dead_holders(self) -> None:
        """With all holders but one just dead, the value is found, and in little time."""
        peers = self.town(20)
        self.put(peers[15], b"value")
        for peer in peers[: REPLICATION - 1]:
            peer.fall_silent()
        got = peers[16].node.get(KEY)
        self.assertLess(self.network.seconds_until(got), 1.5)
        self.assertEqual(value_of(self.successResultOf(got)), b"value")

    def test_lapsed(self) -> None:
        """What was replaced does not come back, when what replaced it has expired, from one that has missed that:
        neither to those that read it there nor to itself."""
        peers = self.town(20)
        self.give(peers[8], b"old", age=60, ttl=TTL)
        self.assertTrue(self.put(peers[15], b"new", ttl=60))
        self.assertEqual(self.holders(peers, value=b"old"), [8])
        self.network.wait(61)
        peers[0].fall_silent()
        self.assertEqual([self.get(peer) for peer in peers[1:]], [None] * 19)
        self.assertTrue(self.put(peers[15], b"newest"))
        self.assertEqual([self.get(peer) for peer in peers[1:]], [b"newest"] * 19)

    def test_from_the_future(self) -> None:
        """A value whose version nobody would have taken is nobody's value."""
        peers = self.town(20)
        self.put(peers[15], b"value")
        forged = Value(MAX_VERSION, 60_000, 8, True, b"forged")
        peers[0].answer = lambda request, sender: forged
        self.assertEqual([self.get(peer) for peer in peers[1:]], [b"value"] * 19)

    def test_bootstrap_nodes(self) -> None:
        """Bootstrap nodes near the key do not hide the holders."""
        ids = sorted((random_id(self.rng) for _ in range(30)), key=KEY.__xor__)
        peers = [self.network.peer(node_id, holds_values=number >= 7) for number, node_id in enumerate(ids)]
        self.network.acquaint(peers)
        self.assertTrue(self.put(peers[29], b"value"))
        self.assertEqual({self.get(peer) for peer in peers}, {b"value"})

    def test_wrong_answers(self) -> None:
        """Who answers something else is no holder, and stops nobody."""
        peers = self.town(20)
        self.put(peers[15], b"value")
        for peer, reply in zip(peers, (Pong(), Stored(()), Refused(()), Outranked(1, ())), strict=False):
            peer.answer = lambda request, sender, reply=reply: reply  # type: ignore[misc]
        self.assertEqual(self.get(peers[15]), b"value")


class FindTests(NodeTestCase):
    def test_nearest(self) -> None:
        """A lookup finds the nearest nodes of all, whoever it begins with."""
        peers = self.town(60)
        newcomer = self.network.peer(random_id(self.rng))
        found = self.network.result(newcomer.node.find_nodes(KEY, known=[peers[59].contact]))
        self.assertEqual(found.nearest(), [peer.contact for peer in peers[:K]])
        self.assertEqual(sum(newcomer.node.hops.values()), 1)

    def test_width(self) -> None:
        """A narrower lookup asks fewer."""
        peers = self.town(60)
        found = self.network.result(peers[50].node.find_nodes(KEY, width=3))
        self.assertEqual(found.nearest(), [peer.contact for peer in peers[:3]])
        self.assertLess(self.asked(peers, FindNode), 10)


class PatienceTests(NodeTestCase):
    """Whatever the peers do, a client has its answer in the time promised."""

    def setUp(self) -> None:
        super().setUp()
        self.bits = 250

    def town(self, count: int) -> list[Peer]:
        """Nodes that are all far from KEY, so that a put walks there first."""
        return self.network.town(*(self.rng.getrandbits(255) for _ in range(count)))

    def check(self, peer: Peer) -> None:
        operations: tuple[Callable[[], Deferred[Any]], ...] = (
            lambda: peer.node.put(KEY, b"value", TTL, 0),
            lambda: peer.node.put(KEY, b"new value", TTL, 20),
            lambda: peer.node.put(hash_id(b"content"), b"content", TTL, 0),
            lambda: peer.node.put(Owner(1).key, Owner(1).says(b"payload", 1), TTL, 0),
            lambda: peer.node.put(Owner(1).key, Owner(1).says(b"", 2, cas=1), TTL, 0),
            lambda: peer.node.get(KEY),
            lambda: peer.node.get(KEY + 1),
        )
        for operation in operations:
            outcome = operation()
            self.assertLessEqual(self.network.seconds_until(outcome), PROMISED)
            self.successResultOf(outcome)
        self.network.wait(10)
        self.assertEqual(self.network.clock.getDelayedCalls(), [])

    def nearer_and_nearer(self) -> tuple[Contact, ...]:
        """Contacts at addresses where nobody is, nearer to the key than all before them."""
        self.bits = max(self.bits - 1, 60)
        near = [KEY ^ self.rng.getrandbits(self.bits) for _ in range(K)]
        return tuple(contact(node_id, 1000 + node_id % 50_000) for node_id in near)

    def test_silent(self) -> None:
        """All contacts are silent."""
        peers = self.town(30)
        for peer in peers[1:]:
            peer.fall_silent()
        self.check(peers[0])

    def test_just_in_time(self) -> None:
        """All contacts answer, each at the last moment that still counts."""
        peers = self.town(30)
        for peer in peers[1:]:
            peer.latency = 2.9
        self.check(peers[0])

    def hostile(self, answer: Callable[[Request, Contact], Reply | None], latency: float = 0.24) -> None:
        peers = self.town(30)
        self.network.strangers, self.network.strangers_latency = answer, latency
        for peer in peers[1:]:
            peer.answer, peer.latency = answer, latency
        self.check(peers[0])

    def test_nearer_for_ever(self) -> None:
        """Everybody names somebody still nearer, who answers the same, or does not answer."""
        for strangers_answer in (True, False):

            def answer(request: Request, sender: Contact) -> Reply | None:
                return Nodes(self.nearer_and_nearer())

            self.setUp()
            peers = self.town(30)
            self.network.strangers = answer if strangers_answer else self.network.strangers
            for peer in peers[1:]:
                peer.answer = answer
            self.check(peers[0])

    def test_refused_for_ever(self) -> None:
        """Everybody refuses, and names somebody else."""
        self.hostile(
            lambda request, sender: (
                Refused(self.nearer_and_nearer())
                if isinstance(request, Store)
                else Nodes(self.nearer_and_nearer())
            )
        )

    def test_outranked_for_ever(self) -> None:
        """Everybody has always something better."""
        self.hostile(
            lambda request, sender: (
                Outranked(request.version + 1, self.nearer_and_nearer())
                if isinstance(request, Store)
                else Nodes(self.nearer_and_nearer())
            )
        )

    def test_anything(self) -> None:
        """Everybody says anything at any time."""

        def anything(request: Request, sender: Contact) -> Reply | None:
            rng = self.rng
            named = self.nearer_and_nearer() if rng.random() < 0.5 else ()
            version = rng.choice((0, 1, version_at(self.now), version_at(self.now + 200), MAX_VERSION))
            value = Value(version, rng.randint(1, 10**8), rng.randint(1, 20), True, rng.randbytes(9))
            kinds = (
                None,
                Pong(),
                Nodes(named),
                Lapsed(named, rng.randint(1, 2), version),
                Stored(named),
                Refused(named),
                Outranked(version, named),
                value,
            )
            return rng.choice(kinds)

        for seed in range(12):
            self.setUp()
            self.rng.seed(seed)
            peers = self.town(25)
            self.network.strangers = anything
            for peer in peers[1:]:
                peer.answer, peer.latency = anything, self.rng.choice((0.01, 0.3, 0.9, 2.5))
            self.check(peers[0])


class CrowdedKeyTests(NodeTestCase):
    """Twenty nodes that deny everything lie beside the key, nearer than any other."""

    def setUp(self) -> None:
        super().setUp()
        honest = [random_id(self.rng) for _ in range(60)]
        self.key = random_id(self.rng)
        self.peers = self.network.town(*honest, *(self.key ^ self.rng.getrandbits(230) for _ in range(20)))
        for peer in self.peers[60:]:
            peer.answer = self.deny
        self.reader, self.writer = self.peers[0], self.peers[1]

    def deny(self, request: Request, sender: Contact) -> Reply | None:
        accomplices = tuple(peer.contact for peer in self.peers[60:])
        return Stored(()) if isinstance(request, Store) else Nodes(accomplices)

    def test_found(self) -> None:
        """What is put goes to the whole region, and is found there."""
        self.assertTrue(self.put(self.writer, b"value", self.key))
        self.assertTrue(self.writer.node.alarm.suspects(self.key))
        self.assertEqual(self.get(self.reader, self.key), b"value")
        self.assertGreater(self.reader.node.alarm.raised, 0)

    def test_newest(self) -> None:
        """The whole region is asked for what does not prove itself: those who hold the newest back do not win."""
        self.assertTrue(self.put(self.writer, b"old", self.key))
        self.assertTrue(self.put(self.writer, b"new", self.key))
        for peer in self.peers[:60]:
            self.assertEqual(self.get(peer, self.key), b"new")

    def test_others(self) -> None:
        """Keys elsewhere are not affected."""
        other = self.key ^ (1 << 255)
        self.assertTrue(self.put(self.writer, b"value", other))
        self.assertEqual(self.get(self.reader, other), b"value")
        self.assertFalse(self.writer.node.alarm.suspects(other))
