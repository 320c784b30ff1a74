import hashlib
from collections.abc import Callable
from typing import Any

from attrs import evolve
from twisted.logger import capturedLogs

from dht14.kademlia.contact import Contact
from dht14.kademlia.keyspace import hash_id
from dht14.kademlia.parameters import GROUP
from dht14.records.envelope import MAX_SEQ
from dht14.records.receipt import PutOutcome, PutReason
from dht14.records.record import version_at
from dht14.wire.messages import Outranked, Reply, Request, Store, Value
from tests.fakes import fields
from tests.node.node_case import KEY, TTL, NodeTestCase, nearest
from tests.outcomes import acknowledged
from tests.owners import Owner


class OwnerTests(NodeTestCase):
    """Values that only one may write."""

    owner = Owner(1)

    def setUp(self) -> None:
        super().setUp()
        self.peers = self.cluster(30)
        self.peers.sort(key=lambda peer: peer.contact.node_id ^ self.owner.key)

    def write(self, payload: bytes, seq: int, cas: int | None = None, at: int = 25, ttl: int = TTL) -> bool:
        return self.put(self.peers[at], self.owner.says(payload, seq, cas), self.owner.key, ttl)

    def hold(self, index: int, payload: bytes, seq: int, ttl: float = TTL) -> None:
        """Let a peer hold what its owner has signed."""
        store = self.peers[index].store
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
            self.assertEqual({self.read(index) for index in range(30)}, {self.owner.says(b"payload", seq)})

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
        """A receipt has the owner's number, and tells why, whether the conflict is seen before or while
        storing."""
        self.assertTrue(self.write(b"first", 5))
        for index in (None, 0):
            if index is not None:
                self.peers[index].answer = self.after_rival(index, self.owner.says(b"rival", 9), version=9)
            value = self.owner.says(b"late", 4 if index is None else 8)
            receipt = self.network.result(self.peers[25].node.put(self.owner.key, value, TTL, 0))
            self.assertEqual((receipt.outcome, receipt.reason), (PutOutcome.NOT_STORED, PutReason.CONFLICT))
            self.assertEqual(receipt.version, 4 if index is None else 8)

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
            for index in (2, 5, 7):
                self.hold(index, b"present", 5)
            self.assertFalse(self.write(payload, seq, cas))
            self.assertEqual(self.asked(self.peers, Store), 0)

    def test_lapsed_number(self) -> None:
        """A number below one that has expired is refused, even if a newcomer takes it: no read returns it."""
        self.assertTrue(self.write(b"payload", 5, ttl=60))
        self.network.wait(61)
        newcomer = self.network.peer(self.owner.key ^ 1)
        self.network.acquaint([newcomer, *self.peers])
        receipt = self.network.result(
            self.peers[25].node.put(self.owner.key, self.owner.says(b"older", 3), TTL, 0)
        )
        self.assertEqual((receipt.outcome, receipt.reason), (PutOutcome.NOT_STORED, PutReason.CONFLICT))
        self.assertIsNone(self.read())
        self.assertTrue(self.write(b"newer", 6))
        self.assertEqual(self.read(), self.owner.says(b"newer", 6))

    def test_at_the_same_time(self) -> None:
        """Where another write of the same number came first to some holders, the greater hash wins at all of
        them, and the writer learns which it was."""
        for ours, theirs in ((b"one", b"other"), (b"other", b"one")):
            self.setUp()
            self.assertTrue(self.write(b"first", 1))
            value, rival = (self.owner.says(payload, 2, cas=1) for payload in (ours, theirs))
            for index in (1, 2, 5, 6, 7):
                self.peers[index].answer = self.after_rival(index, rival)
            wins = hashlib.sha256(value).digest() > hashlib.sha256(rival).digest()
            self.assertEqual(self.put(self.peers[25], value, self.owner.key), wins)
            winner = value if wins else rival
            self.assertEqual(self.holders(self.peers, self.owner.key, winner), nearest())
            self.assertEqual({self.read(index) for index in range(30)}, {winner})

    def test_lost_to_fewer_copies(self) -> None:
        """Where a record has lost to one with fewer copies, none of its own is left to be read when the
        holders of the other one are gone."""
        loser, rival = self.owner.says(b"loser", 2), self.owner.says(b"rival", 3)
        for index in range(GROUP):
            answer = self.after_rival(index, rival, version=3, replication=GROUP)
            self.peers[index].answer = answer
        self.assertFalse(self.put(self.peers[25], loser, self.owner.key, replication=14))
        self.assertEqual(self.holders(self.peers, self.owner.key, loser), [])
        self.assertEqual(self.holders(self.peers, self.owner.key, rival), nearest(14))

    def after_rival(
        self, index: int, rival: bytes, **other: Any
    ) -> Callable[[Request, Contact], Reply | None]:
        """A holder that a rival's STORE reaches just before the next one does."""
        peer = self.peers[index]
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
        """A deleted record is not found, though all its holders but one lose the tombstone."""
        self.assertTrue(self.write(b"payload", 1))
        self.assertTrue(self.write(b"", 2))
        self.assertEqual(self.have(b"", 2), nearest())
        self.assertEqual([self.read(at) for at in range(30)], [None] * 30)
        for index in nearest()[1:]:
            store = self.peers[index].store
            assert store is not None
            store._drop(self.owner.key)
            self.hold(index, b"payload", 1)
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
        """A tombstone that its owner puts again, with a greater number, lives as long again: what it deletes
        does not come back when the first one would have lapsed."""
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
        """A node that is a holder itself compares once more when it comes to hold. Here another writer was
        quicker, and its record goes to all that should hold it."""
        here, answer = self.peers[0], self.peers[1].answer

        def answer_late(request: Request, sender: Contact) -> Reply | None:
            for index in nearest():
                self.hold(index, b"rival", 3)
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
        """One holder that reports a newer record prevents no write."""
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
