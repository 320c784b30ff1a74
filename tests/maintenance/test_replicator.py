from attrs import evolve

from dht14.kademlia.keyspace import hash_id
from dht14.maintenance.replicator import REFUSAL_MEMORY, Replicator
from dht14.records.record import EXPIRY_SLACK, Record
from dht14.records.store import Refusal
from dht14.records.version_floors import floor_of
from dht14.wire.messages import FindValue, Offer, Outranked, Ping, Refused, Stored
from dht14.wire.messages import Store as StoreRequest
from tests.fakes import Peer
from tests.node.holders import HoldersTestCase


class CopiesTests(HoldersTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.record_ = self.record()
        self.give(self.record_, self.one)
        self.bring = self.copies(self.one)

    def replicate(self, needed: int, copies: Replicator | None = None, record: Record | None = None) -> int:
        copies, record = copies or self.bring, record or self.record_
        return self.finish(copies.replicate(record, copies.replica_candidates(record.key), needed))

    def test_spread(self) -> None:
        """The nearest nodes get the record, as many as needed, and keep it until its expiry."""
        self.network.wait(60)
        self.assertEqual(self.replicate(2), 2)
        self.assertEqual(self.holders(self.record_), [1, 2, 3])
        held = self.cluster[1].store.get(0, self.network.clock.seconds())  # type: ignore[union-attr]
        assert held is not None
        self.assertLess(abs(held.expires_at - self.record_.expires_at), 0.1)
        self.assertEqual(held.version, self.record_.version)

    def test_offered_first(self) -> None:
        """A node that has the record only gets an offer; the value goes to one that has not."""
        self.give(self.record_, self.cluster[1])
        self.replicate(2)
        self.assertEqual((self.asked(Offer), self.asked(StoreRequest)), (2, 1))

    def test_stand_ins(self) -> None:
        """A node that refuses or does not answer is replaced by the next nearest; refusers are skipped for
        a while."""
        self.cluster[1].fall_silent()
        bootstrap = self.network.peer(10, holds_values=False)
        self.one.table.confirmed(bootstrap.contact, 0.0, 0.01)
        record = self.record(key=10, value=b"near a bootstrap node")
        self.assertEqual(self.replicate(2), 2)
        self.assertEqual(self.holders(self.record_), [1, 3, 4])
        self.assertEqual(self.replicate(2, record=record), 2)
        self.assertFalse(self.bring.accepts_copies(10))
        self.assertNotIn(bootstrap.contact, self.bring.replica_candidates(10))
        self.network.wait(REFUSAL_MEMORY)
        self.assertIn(bootstrap.contact, self.bring.replica_candidates(10))

    def test_not_near(self) -> None:
        """A node that takes itself for too far from one key is asked for others as before."""
        self.cluster[1].answer = lambda request, sender: Refused((), Refusal.NOT_NEAR)
        self.assertEqual(self.replicate(2), 2)
        self.assertEqual(self.holders(self.record_), [1, 3, 4])
        self.assertIn(self.cluster[1].contact, self.bring.replica_candidates(1))

    def test_bootstrap_node(self) -> None:
        """A node that says that it holds no values gets no offers, until it says otherwise."""
        contact = self.cluster[2].contact
        self.one.table.reported(contact.node_id, holds_values=False)
        self.assertNotIn(contact, self.bring.replica_candidates(0))
        self.network.wait(2 * REFUSAL_MEMORY)
        self.assertFalse(self.bring.accepts_copies(contact.node_id))
        self.one.table.reported(contact.node_id, holds_values=True)
        self.assertIn(contact, self.bring.replica_candidates(0))

    def test_nobody(self) -> None:
        """If no node answers, none has it, and the call ends."""
        for peer in self.cluster[1:]:
            peer.fall_silent()
        self.assertEqual(self.replicate(2), 0)
        self.assertEqual(self.holders(self.record_), [1])

    def test_catch_up(self) -> None:
        """A node that learns of a newer record of another holder fetches and stores it."""
        newer = evolve(self.record_, value=b"newer", version=self.record_.version + 5)
        self.give(newer, self.cluster[2])
        self.assertEqual(self.replicate(2), 2)
        self.assertEqual(self.holders(newer), [1, 3])
        self.assertEqual(self.asked(FindValue), 1)

    def test_replaced(self) -> None:
        """A record that another holder has replaced is offered to no more nodes."""
        newer = evolve(self.record_, value=b"newer", version=self.record_.version + 5)
        self.give(newer, self.cluster[1])
        self.finish(self.bring.republish(self.record_, self.bring.replica_candidates(0), 3))
        self.assertEqual((self.holders(newer), self.holders(self.record_)), ([1, 2], []))

    def lapse(self, *peers: Peer) -> Record:
        """Let what replaced the record come to these, and expire there; return it."""
        short = evolve(self.record(value=b"short", later=9), expires_at=self.network.clock.seconds() + 1)
        self.give(short, *peers)
        self.network.wait(2)
        return short

    def test_over(self) -> None:
        """A record is given up when more remember that it was replaced, and that this has expired, than have
        it; and it does not come back."""
        short = self.lapse(*self.cluster[2:5])
        self.replicate(4)
        self.assertEqual(self.holders(self.record_), [2])
        assert self.one.store is not None
        now = self.network.clock.seconds()
        self.assertEqual(self.one.store.floor(0, now), floor_of(short))
        self.give(self.record_, self.one)
        self.assertNotIn(1, self.holders(self.record_))

    def test_not_over(self) -> None:
        """One that says so may lie, and so may fewer than have the record."""
        self.lapse(self.cluster[2])
        self.replicate(7)
        self.assertEqual(self.holders(self.record_), [1, 2, *range(4, 9)])
        self.lapse(self.cluster[3])
        self.replicate(7)
        self.assertIn(1, self.holders(self.record_))

    def test_contradicted(self) -> None:
        """One whose word others do not confirm causes one search, not one for each record."""
        self.lapse(self.cluster[2])
        for _ in range(2):
            searches = self.asked(FindValue)
            self.replicate(7)
        self.assertGreater(searches, 1)
        self.assertEqual(self.asked(FindValue), 1)

    def test_large(self) -> None:
        """Large values travel the same way, in both directions."""
        large = self.record(value=bytes(60_000), later=1)
        self.give(large, self.one)
        self.assertEqual(self.replicate(2, record=large), 2)
        self.assertEqual(self.holders(large), [1, 2, 3])
        larger = self.record(value=bytes(61_000), later=2)
        self.give(larger, self.cluster[1])
        self.assertEqual(self.replicate(1, record=large), 1)
        self.assertEqual(self.holders(larger), [1, 2])

    def test_lies(self) -> None:
        """A copy that claims to be newer and is not, or has no valid signature, is not stored."""
        self.cluster[1].answer = lambda request, sender: Outranked(1 << 62, ())
        self.assertEqual(self.replicate(1), 1)
        self.assertEqual(self.holders(self.record_), [1])
        self.bring.store_copy(
            evolve(self.record_, version=self.record_.version + (1 << 46), value=b"of the future")
        )
        self.bring.store_copy(
            evolve(self.record_, version=self.record_.version + 1, value=b"DHT14OWN forged")
        )
        self.assertEqual(self.holders(self.record_), [1])
        content = self.record(hash_id(b"content"), b"content")
        self.bring.store_copy(evolve(content, version=1))
        self.assertEqual(self.holders(content), [])
        self.bring.store_copy(content)
        self.assertEqual(self.holders(content), [1])

    def test_same_copy(self) -> None:
        """A copy that adds nothing to the one that is here is not written again; one that adds time is."""
        record = self.record(value=b"copied")
        self.give(record, self.one)
        for expires_at, expected in (
            (record.expires_at + EXPIRY_SLACK, record.expires_at),
            (record.expires_at + EXPIRY_SLACK + 1, record.expires_at + EXPIRY_SLACK + 1),
        ):
            self.bring.store_copy(evolve(record, expires_at=expires_at))
            held = self.one.store.get(record.key, self.network.clock.seconds())  # type: ignore[union-attr]
            self.assertEqual(held and held.expires_at, expected)

    def test_news(self) -> None:
        """Unknown neighbours that a holder names are pinged."""
        unknown_peer = self.network.peer(12)
        self.cluster[1].answer = lambda request, sender: Stored((unknown_peer.contact,))
        self.replicate(1)
        self.network.wait(1)
        self.assertIn(12, self.one.table)
        self.assertEqual([type(request) for request in unknown_peer.asked], [Ping])
