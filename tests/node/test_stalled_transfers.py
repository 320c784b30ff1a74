"""A large value that was acknowledged, and that most of its holders do not send: among nodes that reach each
other by calls of functions."""

import random
from collections.abc import Sequence
from functools import partial

from twisted.internet.defer import Deferred

from dht14.kademlia.contact import Contact
from dht14.kademlia.parameters import GROUP, HEDGE_DELAY, OPERATION_TIMEOUT, VOUCHED_TIMEOUT
from dht14.node.fetch_race import MAX_FETCHES
from dht14.records.receipt import NoRecord
from dht14.records.record import Record, version_at
from dht14.wire.messages import FindValue, LargeValue, Reply, Request
from tests.fakes import Answer, BulkBehaviour, Peer
from tests.node.node_case import KEY, PROMISED, TTL, NodeTestCase
from tests.outcomes import value_of
from tests.owners import Owner

OLD = b"a small value that was replaced"
NEW, NEWER = (random.Random(seed).randbytes(5_000) for seed in (1, 2))


def advertise(peer: Peer, version: int, digest: bytes, owned: bool = False) -> None:
    """Let a node advertise what it cannot send, and never answer when it is asked for it."""
    honest = peer.answer

    def answer(request: Request, sender: Contact) -> Reply | None:
        if isinstance(request, FindValue):
            return LargeValue(version, 1000 * TTL, 8, True, owned, 5_000, digest, bytes(16))
        return honest(request, sender)

    peer.answer, peer.bulk = answer, BulkBehaviour.SILENT


class ReplacedCase(NodeTestCase):
    """Eight nodes hold a large value. The reader has missed it, and holds the one before."""

    def setUp(self) -> None:
        super().setUp()
        self.peers = self.cluster(14)
        self.reader = self.peers[8]
        self.old = self.give(self.reader, OLD, age=60)
        self.assertTrue(self.put(self.peers[13], NEW))
        self.assertEqual(self.holders(self.peers, value=NEW), list(range(8)))

    def let(self, behaviour: BulkBehaviour, *peers: Peer) -> None:
        for peer in peers:
            peer.bulk = behaviour

    def read(self) -> tuple[bytes | NoRecord, float]:
        """Get the value at the reader; what came, and after how many seconds."""
        got = self.reader.node.get(KEY)
        seconds = self.network.seconds_until(got)
        found = self.successResultOf(got)
        return found.value if isinstance(found, Record) else found, seconds


class StalledTransferTests(ReplacedCase):
    def test_one_can(self) -> None:
        """Where one of the holders can still send it, it is found, though the read has ended on others."""
        for sender in range(8):
            self.setUp()
            self.let(BulkBehaviour.SILENT, *self.peers[:sender], *self.peers[sender + 1 : 8])
            found, seconds = self.read()
            self.assertEqual(found, NEW)
            self.assertLess(seconds, PROMISED)

    def test_known_to_stall(self) -> None:
        """The next reads do not wait for those that have stalled."""
        self.let(BulkBehaviour.SILENT, *self.peers[:7])
        self.assertEqual(self.read()[0], NEW)
        for _ in range(3):
            found, seconds = self.read()
            self.assertEqual(found, NEW)
            self.assertLess(seconds, 2 * HEDGE_DELAY)

    def test_none_can(self) -> None:
        """Where no holder sends it, the old value is not the answer, nor is "not found": not now, and not
        while the holders are distrusted. When they send again it is found at once."""
        for behaviour in (BulkBehaviour.SILENT, BulkBehaviour.CLOSED):
            self.setUp()
            self.let(behaviour, *self.peers)
            for _ in range(3):
                found, seconds = self.read()
                self.assertIs(found, NoRecord.UNANSWERED)
                self.assertLess(seconds, PROMISED)
            self.let(BulkBehaviour.HONEST, *self.peers)
            found, seconds = self.read()
            self.assertEqual(found, NEW)
            self.assertLess(seconds, 2 * HEDGE_DELAY)

    def test_over(self) -> None:
        """What the only node that still advertises it has missed to be replaced is not fetched because that
        node is distrusted and all others remember that it is over."""
        late = self.peers[9]
        self.give(late, random.Random(3).randbytes(5_000), age=60)
        for peer in self.peers[:8]:
            newer = self.give(peer, b"brief", age=-0.1, ttl=10)
        self.assertLess(newer.expires_at, self.old.expires_at)
        self.network.wait(11)
        for peer in self.peers:
            assert peer.store is not None
            peer.store.expire(self.now)
        reader = self.peers[13]
        reader.node._reader._distrusted.add(late.contact.node_id, self.now)
        for peer in self.peers[6:8]:
            peer.fall_silent()
        for _ in range(2):
            found = self.network.result(reader.node.get(KEY))
            self.assertIs(found, NoRecord.NOT_FOUND)

    def test_slow(self) -> None:
        """A transfer that is under way when more holders are looked for is not given up."""
        for peer in self.peers[:8]:
            peer.latency = 0.9  # A transfer takes three times as long.
        found, seconds = self.read()
        self.assertEqual(found, NEW)
        self.assertGreater(seconds, VOUCHED_TIMEOUT)

    def test_slow_everywhere(self) -> None:
        """Nor is it where the read has asked all near nodes from the beginning."""
        for peer in self.peers:
            peer.latency = 0.7
        reader = self.reader.node._reader
        found = self.network.result(
            Deferred.fromCoroutine(reader.find(KEY, OPERATION_TIMEOUT, exhaustive=True))
        )
        self.assertEqual(value_of(found), NEW)

    def replace_when_asked(self, peers: Sequence[Peer], record: Record) -> None:
        """Let each of these hold this record as soon as it has answered a FIND_VALUE."""

        def answer(peer: Peer, honest: Answer, request: Request, sender: Contact) -> Reply | None:
            reply = honest(request, sender)
            if isinstance(request, FindValue):
                assert peer.store is not None
                peer.store.offer(record, self.now, lambda verdict: None)
            return reply

        for peer in peers:
            peer.answer = partial(answer, peer, peer.answer)

    def test_replaced_meanwhile(self) -> None:
        """Where the holders have a newer value by the time that they are asked for this one, that is found,
        and not the old one, which is at hand."""
        newer = Record(
            key=KEY, value=NEWER, version=version_at(self.now), expires_at=self.now + TTL, replication=8
        )

        self.replace_when_asked(self.peers[:8], newer)
        found, seconds = self.read()
        self.assertEqual(found, NEWER)
        self.assertLess(seconds, 1.0)

    def test_replaced_everywhere(self) -> None:
        """Where all who advertised the value have replaced it by the time that they are asked for it, the
        reader does not answer with the one before, which it has itself: it looks again. It trusts them the
        next time, too."""
        newest = Record(
            key=KEY, value=NEWER, version=version_at(self.now + 1), expires_at=self.now + TTL, replication=8
        )
        self.reader.resync_state.lost_touch(self.now)
        self.peers[0].resync_state.lost_touch(self.now)
        for peer in self.peers[2:]:
            if peer is not self.reader:
                peer.fall_silent()
        self.replace_when_asked(self.peers[:2], newest)
        self.assertEqual(self.read()[0], NEWER)
        distrusted = self.reader.node._reader._distrusted
        self.assertFalse(any(peer.contact.node_id in distrusted for peer in self.peers[:2]))

    def test_renewal(self) -> None:
        """A node that keeps the old value cannot compare it with what no holder sends: it does not renew it,
        and does not stop renewing."""
        self.let(BulkBehaviour.SILENT, *self.peers)
        reader = self.reader.node._reader
        compared = self.network.result(
            Deferred.fromCoroutine(reader.compare(self.old, (), OPERATION_TIMEOUT / 2))
        )
        self.assertFalse(compared.is_complete)
        self.assertFalse(compared.is_over)


class ClaimTests(ReplacedCase):
    """Nodes that advertise what they cannot send."""

    def test_minority(self) -> None:
        """Fewer of the group than most of it hide nothing, and cost no more than they did before: a moment
        for one of them, two seconds for two, and nothing at the next read."""
        for liars, most in ((1, 2 * HEDGE_DELAY), (2, VOUCHED_TIMEOUT + HEDGE_DELAY)):
            self.setUp()
            for peer in self.peers[:liars]:
                advertise(peer, version_at(self.now + 1), b"n" * 32)
            for longest in (most, HEDGE_DELAY):
                found, seconds = self.read()
                self.assertEqual(found, NEW)
                self.assertLess(seconds, longest)

    def test_different_claims(self) -> None:
        """Most of the group, each with a claim of its own, do not agree on anything."""
        for number, peer in enumerate(self.peers[:3]):
            advertise(peer, version_at(self.now + 1) + number, bytes([number]) * 32)
        found, seconds = self.read()
        self.assertEqual(found, NEW)
        self.assertLess(seconds, VOUCHED_TIMEOUT)

    def test_many_claims(self) -> None:
        """As many claims, all of them greater, as are fetched at once do not crowd out what several holders
        have: neither the value itself where they are near, nor where most of the group lie."""
        for first in (0, 3):
            self.setUp()
            for number, peer in enumerate(self.peers[first : first + MAX_FETCHES]):
                advertise(peer, version_at(self.now + 1) + number, bytes([number]) * 32)
            found, seconds = self.read()
            self.assertEqual(found, NEW)
            self.assertLess(seconds, 2 * HEDGE_DELAY)

    def test_withdrawn(self) -> None:
        """Most of the group, who advertise one record and answer, when they are asked for it, that they do
        not have it, hide nothing."""
        for peer in self.peers[:4]:
            advertise(peer, version_at(self.now + 1), b"n" * 32)
            peer.bulk = BulkBehaviour.HONEST
        found, seconds = self.read()
        self.assertEqual(found, NEW)
        self.assertLess(seconds, 1.0)


class OwnerClaimTests(NodeTestCase):
    """Eight nodes hold a large value of an owner; a reader holds the one before."""

    def setUp(self) -> None:
        super().setUp()
        self.owner = Owner()
        peers = self.cluster(14)
        self.near = sorted(peers, key=lambda peer: peer.contact.node_id ^ self.owner.key)
        self.reader = self.near[8]
        assert self.reader.store is not None
        self.reader.store.offer(self.owner.record(OLD, 1, self.now + TTL), self.now, lambda verdict: None)
        self.new = self.owner.says(NEW, 2)
        self.assertTrue(self.put(self.near[13], self.new, self.owner.key))

    def read(self) -> bytes | NoRecord:
        got = self.reader.node.get(self.owner.key)
        self.assertLess(self.network.seconds_until(got), PROMISED)
        found = self.successResultOf(got)
        return found.value if isinstance(found, Record) else found

    def test_liars(self) -> None:
        """Even all of the group, who advertise one greater number, do not hide the value from a read."""
        for liars in range(1, GROUP + 1):
            self.setUp()
            for peer in self.near[:liars]:
                advertise(peer, 3, b"n" * 32, owned=True)
            for _ in range(2):
                self.assertEqual(self.read(), self.new)

    def test_stalled(self) -> None:
        """Where hardly any holder sends the value, or none does, the one before is not the answer."""
        for senders, expected in (1, self.new), (0, NoRecord.UNANSWERED):
            self.setUp()
            for peer in self.near[senders:8]:
                peer.bulk = BulkBehaviour.SILENT
            for _ in range(2):
                self.assertEqual(self.read(), expected)
