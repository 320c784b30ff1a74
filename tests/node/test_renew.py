from attrs import evolve
from twisted.internet.defer import Deferred

from dht14.kademlia.keyspace import hash_id
from dht14.node.get import Comparison
from dht14.node.renew import NotRenewed, Renewal, Renewed, Replaced, judge_renewal
from dht14.records.kept import KeptState, RenewalFailure
from dht14.records.record import Record, version_at
from dht14.records.store import Refusal
from dht14.wire.messages import FindValue, Outranked, Refused, Store
from tests.fakes import Peer
from tests.node.node_case import KEY, TTL, NodeTestCase, nearest
from tests.owners import Owner

OWNER = Owner(1)


class RenewTestCase(NodeTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.peers = self.cluster(12)
        self.renewer = self.peers[-1].node.renewer()

    def renew(self, record: Record, ttl: int = TTL) -> Renewal:
        result: Renewal = self.network.result(
            Deferred.fromCoroutine(self.renewer.renew(evolve(record, replication=8), ttl, ()))
        )
        return result

    def remaining(self, peer: Peer, key: int = KEY) -> float:
        assert peer.store is not None
        held = peer.store.get(key, self.now)
        return 0.0 if held is None else held.expires_at - self.now

    def written(self, value: bytes = b"value", ttl: float = TTL) -> Record:
        """A record that its holders have."""
        return [self.give(peer, value, ttl=ttl) for peer in self.peers[:8]].pop()


class RenewTests(RenewTestCase):
    def test_extended(self) -> None:
        """All holders have the record for another life, with the same version."""
        record = self.written()
        self.network.wait(TTL / 2)
        renewed = self.renew(record)
        assert isinstance(renewed, Renewed)
        self.assertEqual(renewed.record.version, record.version)
        self.assertTrue(all(self.remaining(peer) > 0.99 * TTL for peer in self.peers[:8]))

    def test_content(self) -> None:
        """Content needs no comparison: it cannot be replaced."""
        value = b"content"
        key = hash_id(value)
        record = Record(key=key, value=value, version=0, expires_at=self.now, replication=8)
        self.assertIsInstance(self.renew(record), Renewed)
        self.assertEqual(len(self.holders(self.peers, key)), 8)
        self.assertEqual(self.asked(self.peers, FindValue), 0)

    def test_large(self) -> None:
        """A large value is compared by its digest: nobody sends it to this node."""
        record = self.written(b"large" * 1_000)
        self.network.wait(TTL / 2)
        self.assertIsInstance(self.renew(record), Renewed)
        self.assertTrue(all(self.remaining(peer) > 0.99 * TTL for peer in self.peers[:8]))

    def test_large_and_brief(self) -> None:
        """So is one that lives a few seconds: what it gains is no delay of the network."""
        for ttl in (5, 8, 12):
            value = b"%05d" % ttl * 1_000
            record = self.written(value, ttl=ttl)
            self.network.wait(0.4 * ttl)
            self.assertIsInstance(self.renew(record, ttl), Renewed)
            self.assertTrue(all(self.remaining(peer) > 0.95 * ttl for peer in self.peers[:8]), ttl)

    def test_lost(self) -> None:
        """A record that all holders have lost is stored again, with its version."""
        record = Record(
            key=KEY, value=b"v", version=version_at(self.now - 60), expires_at=self.now, replication=8
        )
        renewed = self.renew(record)
        assert isinstance(renewed, Renewed)
        self.assertEqual((renewed.record.version, self.holders(self.peers)), (record.version, nearest()))

    def test_expired(self) -> None:
        """An open record that has expired gets the next version: below that of any write."""
        record = self.written(ttl=10)
        self.network.wait(20)
        renewed = self.renew(record)
        assert isinstance(renewed, Renewed)
        self.assertEqual(renewed.record.version, record.version + 1)
        self.assertEqual(self.holders(self.peers), nearest())
        self.assertLess(renewed.record.version, version_at(self.now))

    def test_expired_owner(self) -> None:
        """An owner's record that has expired is not taken before its holders have forgotten that."""
        record = OWNER.record(b"payload", 3, self.now + 10)
        for peer in self.peers:
            assert peer.store is not None
            peer.store.offer(record, self.now, lambda verdict: None)
        self.network.wait(20)
        failed = self.renew(record)
        assert isinstance(failed, NotRenewed)
        self.assertIs(failed.failure, RenewalFailure.LAPSED)

    def test_replaced(self) -> None:
        """A record that another has replaced is left alone, while that one lives and after its end."""
        record = self.written()
        self.network.wait(30)
        self.assertTrue(self.put(self.peers[3], b"newer", ttl=60))
        self.assertEqual(self.renew(record), Replaced(KeptState.REPLACED))
        self.network.wait(61)
        self.assertEqual(self.renew(record), Replaced(KeptState.REPLACED))
        self.assertIsNone(self.get(self.peers[5]))

    def test_minority(self) -> None:
        """Holders that missed a later write do not get a longer life for what it replaced."""
        record = self.written()
        self.network.wait(30)
        for peer in self.peers[:5]:
            self.give(peer, b"newer", ttl=60)
        self.assertEqual(self.renew(record), Replaced(KeptState.REPLACED))
        self.assertTrue(all(self.remaining(peer) < TTL - 29 for peer in self.peers[5:8]))

    def test_two_keepers(self) -> None:
        """The same value under a later version, because another node keeps it too, is renewed under that."""
        record = self.written(ttl=10)
        self.network.wait(20)
        self.assertIsInstance(self.renew(record), Renewed)
        self.renewer = self.peers[3].node.renewer()
        again = self.renew(record)
        assert isinstance(again, Renewed)
        self.assertEqual(again.record.version, record.version + 1)

    def test_owner_followed(self) -> None:
        """What the owner wrote later is renewed in place of the older record; a deleted one is not."""
        old, new = (OWNER.record(payload, seq, self.now + TTL) for payload, seq in ((b"a", 1), (b"b", 2)))
        self.assertTrue(self.put(self.peers[2], new.value, OWNER.key))
        renewed = self.renew(old)
        assert isinstance(renewed, Renewed)
        self.assertEqual((renewed.record.value, renewed.record.version), (new.value, 2))
        self.assertTrue(self.put(self.peers[2], OWNER.says(b"", 3), OWNER.key))
        self.assertEqual(self.renew(old), Replaced(KeptState.DELETED))

    def test_few_witnesses(self) -> None:
        """Two holders that remember a later write which has expired do not end a kept value while the others
        of its group are silent: it is not renewed yet. What these say, when they answer, decides."""
        for keeper in (0, -1):
            self.setUp()
            self.renewer = self.peers[keeper].node.renewer()
            record = self.written()
            for peer in self.peers[1:3]:
                self.give(peer, b"newer", age=-1, ttl=10)
            self.network.wait(20)
            honest = {peer: (peer.answer, peer.bulk) for peer in self.peers}
            others = [peer for peer in self.peers if peer not in (*self.peers[1:3], self.peers[keeper])]
            for peer in others:
                peer.fall_silent()
            self.assertEqual(self.renew(record), NotRenewed(RenewalFailure.UNANSWERED, None))
            for peer in others:
                peer.answer, peer.bulk = honest[peer]
            self.network.wait(60)
            self.assertIsInstance(self.renew(record), Renewed)

    def test_silent(self) -> None:
        """If nobody answers, the renewal fails and can be tried again."""
        record = self.written()
        for peer in self.peers[:-1]:
            peer.fall_silent()
        self.assertEqual(self.renew(record), NotRenewed(RenewalFailure.UNANSWERED, None))

    def test_one_liar(self) -> None:
        """A single holder that claims to have something newer, and shows nothing, stops no renewal."""
        record = self.written()
        self.network.wait(TTL / 2)
        honest = self.peers[0].answer
        self.peers[0].answer = lambda request, sender: (
            Outranked(1 << 62, ()) if isinstance(request, Store) else honest(request, sender)
        )
        self.assertIsInstance(self.renew(record), Renewed)

    def test_liar_after_expiry(self) -> None:
        """Nor does it when the record has expired at the others."""
        record = self.written(ttl=10)
        self.network.wait(20)
        honest = self.peers[0].answer
        self.peers[0].answer = lambda request, sender: (
            Outranked(record.version + 7, ()) if isinstance(request, Store) else honest(request, sender)
        )
        renewed = self.renew(record)
        assert isinstance(renewed, Renewed)
        self.assertEqual(renewed.record.version, record.version + 1)

    def test_refused(self) -> None:
        """The reason of holders without room is reported."""
        record = self.written()
        for peer in self.peers:
            honest = peer.answer
            peer.answer = lambda request, sender, honest=honest: (  # type: ignore[misc]
                Refused((), Refusal.NO_ROOM) if isinstance(request, Store) else honest(request, sender)
            )
        failed = self.renew(record)
        assert isinstance(failed, NotRenewed)
        self.assertIs(failed.failure, RenewalFailure.NO_ROOM)


class JudgeTests(NodeTestCase):
    def test_incomplete(self) -> None:
        """What a read that did not end has found counts only if it is newer."""
        record = Record(key=KEY, value=b"v", version=5, expires_at=self.now, replication=8)
        newer = evolve(record, value=b"w", version=6)
        for best, judged in (
            (record, NotRenewed(RenewalFailure.UNANSWERED)),
            (None, NotRenewed(RenewalFailure.UNANSWERED)),
            (newer, Replaced(KeptState.REPLACED)),
        ):
            compared = Comparison(best=best, is_over=False, is_complete=False)
            self.assertEqual(judge_renewal(record, compared), judged)

    def test_over(self) -> None:
        """What is over is replaced, even if the read did not end."""
        record = Record(key=KEY, value=b"v", version=5, expires_at=self.now, replication=8)
        compared = Comparison(best=None, is_over=True, is_complete=False)
        self.assertEqual(judge_renewal(record, compared), Replaced(KeptState.REPLACED))
