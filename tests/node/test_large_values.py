"""Values that fit no datagram, among nodes that reach each other by calls of functions."""

import random

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.keyspace import hash_id
from dht14.kademlia.parameters import HEDGE_DELAY, MAX_INLINE_VALUE, MAX_VALUE, OPERATION_TIMEOUT
from dht14.records.receipt import NoRecord
from dht14.records.record import Record, version_at
from dht14.wire.messages import FindValue, LargeValue, Offer, Reply, Store
from tests.fakes import BEGINNING, LATENCY, BulkBehaviour, FakeNetwork, Peer, fields
from tests.outcomes import acknowledged, value_of
from tests.owners import Owner

KEY = 1 << 200
TTL = 600
SIZES = (1, MAX_INLINE_VALUE, MAX_INLINE_VALUE + 1, MAX_VALUE)
LARGE = random.Random(1).randbytes(5_000)


class LargeValueCase(SynchronousTestCase):
    """A cluster of nodes; the first twenty or so are near the key, each farther than the one before."""

    def setUp(self) -> None:
        self.network = FakeNetwork()

    def cluster(self, size: int) -> list[Peer]:
        return self.network.cluster(*(KEY ^ number for number in range(1, size + 1)))

    def put(self, peer: Peer, value: bytes, key: int = KEY, replication: int = 8) -> bool:
        return acknowledged(self.network.result(peer.node.put(key, value, TTL, replication)))

    def get(self, peer: Peer, key: int = KEY) -> bytes | None:
        found: bytes | None = value_of(self.network.result(peer.node.get(key)))
        return found

    def held(self, peer: Peer) -> Record | None:
        assert peer.store is not None
        return peer.store.get(KEY, self.network.clock.seconds())

    def advertise(self, peer: Peer, version: int, digest: bytes = bytes(32), owned: bool = False) -> None:
        """Let this peer advertise a large record that no node has."""
        honest = peer.answer

        def answer(request, sender) -> Reply | None:
            if isinstance(request, FindValue):
                return LargeValue(version, 1000 * TTL, 8, True, owned, 5_000, digest, bytes(16))
            return honest(request, sender)

        peer.answer = answer


class PutAndGetTests(LargeValueCase):
    def test_all_sizes(self) -> None:
        """Values of all sizes are found from everywhere, and none is ever in a STORE that fits no
        datagram."""
        peers = self.cluster(20)
        for number, size in enumerate(SIZES):
            key, value = KEY ^ number << 10, random.Random(size).randbytes(size)
            self.assertTrue(self.put(peers[number], value, key))
            for peer in peers:
                self.assertEqual(self.get(peer, key), value)
        sizes = [len(r.value) for peer in peers for r in peer.asked if isinstance(r, Store)]
        self.assertLessEqual(max(sizes), MAX_INLINE_VALUE)

    def test_content(self) -> None:
        """Content is stored and found as well."""
        peers = self.cluster(12)
        self.assertTrue(self.put(peers[0], LARGE, hash_id(LARGE)))
        self.assertEqual(self.get(peers[-1], hash_id(LARGE)), LARGE)

    def test_owner(self) -> None:
        """An owner's envelope as well: of two the newer, and none if it was deleted."""
        peers, owner = self.cluster(12), Owner()
        for seq in (1, 2):
            self.assertTrue(self.put(peers[0], owner.says(LARGE, seq), owner.key))
        self.assertFalse(self.put(peers[1], owner.says(LARGE[1:], 1), owner.key))
        self.assertEqual(self.get(peers[-1], owner.key), owner.says(LARGE, 2))
        self.assertTrue(self.put(peers[0], owner.says(b"", 3), owner.key))
        self.assertIsNone(self.get(peers[-1], owner.key))

    def test_overwritten(self) -> None:
        """Small and large values of one key follow each other."""
        peers = self.cluster(12)
        for value in (LARGE, b"small", LARGE[1:]):
            self.assertTrue(self.put(peers[0], value))
            self.assertEqual(self.get(peers[-1]), value)
            self.network.wait(1)

    def test_offered_once(self) -> None:
        """Holders that have the value are not sent it again."""
        peers = self.cluster(8)
        self.put(peers[0], LARGE)
        record = self.held(peers[0])
        assert record is not None
        tickets = len(peers[1].responder._tickets)
        delivered = peers[0].record_sender.send_copy(peers[1].contact, record, neighbours=0)
        self.network.result(delivered)
        self.assertEqual(len(peers[1].responder._tickets), tickets)
        self.assertIsInstance(peers[1].asked[-1], Offer)

    def test_holders_without_bulk(self) -> None:
        """The next nearest stand in for those whose bulk channel is closed, or takes too long."""
        for behaviour in (BulkBehaviour.CLOSED, BulkBehaviour.SILENT):
            self.network = FakeNetwork()
            peers = self.cluster(14)
            for peer in peers[:3]:
                peer.bulk = behaviour
            self.assertTrue(self.put(peers[-1], LARGE))
            self.network.wait(5)
            holders = [self.held(peer) is not None for peer in peers]
            self.assertEqual(holders[:3], [False] * 3)
            self.assertGreaterEqual(sum(holders), 8)


class HostileHolderTests(LargeValueCase):
    def seconds_to_get(self, peer: Peer) -> float:
        got = peer.node.get(KEY).addCallback(value_of)
        seconds = self.network.seconds_until(got)
        self.assertEqual(self.successResultOf(got), LARGE)
        return seconds

    def stored(self, size: int = 14) -> list[Peer]:
        peers = self.cluster(size)
        self.assertTrue(self.put(peers[0], LARGE))
        self.network.wait(1)
        return peers

    def test_closed(self) -> None:
        """Holders whose bulk channel is closed cost no time."""
        peers = self.stored()
        for peer in peers[:6]:
            peer.bulk = BulkBehaviour.CLOSED
        self.assertLess(self.seconds_to_get(peers[-1]), 1.0)

    def test_silent(self) -> None:
        """One that is silent costs a fraction of a second."""
        peers = self.stored()
        peers[0].bulk = BulkBehaviour.SILENT
        self.assertLess(self.seconds_to_get(peers[-1]), HEDGE_DELAY + 10 * LATENCY)

    def test_lying(self) -> None:
        """A node that sends a value that differs from the advertised one is not believed, and is logged."""
        peers = self.stored()
        peers[0].bulk = BulkBehaviour.LYING
        with capturedLogs() as events:
            self.assertLess(self.seconds_to_get(peers[-1]), HEDGE_DELAY)
        self.assertEqual(fields(events, "host", "port"), [peers[0].contact.address])

    def test_false_claims(self) -> None:
        """Advertised records that no node has, however many agree on them, hide nothing."""
        for version, owned in ((version_at(BEGINNING + 100), False), (1 << 62, True)):
            self.network = FakeNetwork()
            peers = self.stored()
            for peer in peers[:4]:
                self.advertise(peer, version, owned=owned)
            self.assertLess(self.seconds_to_get(peers[-1]), OPERATION_TIMEOUT)

    def test_out_of_reach(self) -> None:
        """A node that cannot fetch what most of the holders say that they have does not say "not found"; nor
        does it when it takes them all for liars."""
        for behaviour in (BulkBehaviour.CLOSED, BulkBehaviour.SILENT):
            self.network = FakeNetwork()
            peers = self.stored()
            for peer in peers:
                peer.bulk = behaviour
            for _ in range(3):
                self.assertIs(self.network.result(peers[-1].node.get(KEY)), NoRecord.UNANSWERED)

    def test_stalling_claim(self) -> None:
        """A node that advertises a newer value and never sends it does not use up the time of a get."""
        peers = self.stored()
        self.advertise(peers[0], 1 << 62, owned=True)
        peers[0].bulk = BulkBehaviour.SILENT
        self.assertLess(self.seconds_to_get(peers[-1]), OPERATION_TIMEOUT)

    def test_false_content(self) -> None:
        """Content that one node advertises does not end a read: that proves nothing."""
        peers = self.cluster(14)
        key = hash_id(LARGE)
        self.assertTrue(self.put(peers[0], LARGE, key))
        self.network.wait(1)
        near = sorted(peers, key=lambda peer: peer.contact.node_id ^ key)
        self.advertise(near[0], 0, key.to_bytes(32, "big"))
        near[0].bulk = BulkBehaviour.CLOSED
        self.assertEqual(self.get(near[-1], key), LARGE)

    def test_versioned_content(self) -> None:
        """Content of another version than 0 is not fetched from anybody: not even asked for."""
        peers = self.cluster(8)
        key = hash_id(LARGE)
        for peer in peers[:3]:
            self.advertise(peer, 1, key.to_bytes(32, "big"))
        self.assertIsNone(self.get(peers[-1], key))

    def test_from_the_future(self) -> None:
        """An advertised version from the future is ignored."""
        peers = self.stored()
        self.advertise(peers[0], version_at(BEGINNING + 1_000))
        self.assertLess(self.seconds_to_get(peers[-1]), 10 * LATENCY)

    def test_nothing_but_claims(self) -> None:
        """If no node sends what it advertises, nothing is found, in time."""
        peers = self.cluster(14)
        for peer in peers[:-1]:
            self.advertise(peer, version_at(BEGINNING))
            peer.bulk = BulkBehaviour.SILENT
        got = peers[-1].node.get(KEY).addCallback(value_of)
        self.assertLessEqual(self.network.seconds_until(got), OPERATION_TIMEOUT + 0.5)
        self.assertIsNone(self.successResultOf(got))

    def test_everybody(self) -> None:
        """An exhaustive read takes the newest of all, large or small."""
        peers = self.stored()
        found = self.network.result(
            Deferred.fromCoroutine(peers[-1].node._reader.find(KEY, OPERATION_TIMEOUT, exhaustive=True))
        )
        self.assertEqual(found.value, LARGE)
