from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.contact import Contact
from dht14.kademlia.keyspace import hash_id
from dht14.kademlia.lookup import Lookup, Purpose
from dht14.node.write_quorum import WriteQuorum
from dht14.records.receipt import PutReason
from dht14.records.record import Record
from dht14.records.store import Outcome, Refusal, Verdict
from dht14.wire.messages import Outranked, Refused, Reply, Stored

OWN = 100
HOLDERS = [Contact(node_id, (f"192.0.2.{node_id}", 8000)) for node_id in range(1, 12)]
LATEST = 1000


class WriteQuorumTests(SynchronousTestCase):
    """A record of key 0; the contacts 1, 2, 3 and so on are the nearest in this order, 1 to 5 are the
    group."""

    def begin(self, contacts: int, wanted: int = 8, record: Record | None = None) -> None:
        self.record = record or Record(
            key=0, value=b"value", version=7, expires_at=1e9, replication=max(wanted, 5)
        )
        width = self.record.replication
        self.lookup = Lookup(self.record.key, OWN, width, alpha=width, purpose=Purpose.STORE)
        self.lookup.heard_of(HOLDERS[:contacts])
        well = {one.node_id for one in HOLDERS}
        self.quorum = WriteQuorum(
            record=self.record, wanted=wanted, needed=max(wanted, 3), lookup=self.lookup, responsive=well
        )
        self.lookup.take_next()

    def end(self) -> bool:
        self.lookup.take_next()
        self.quorum.conclude()
        return self.quorum.succeeded

    def replied(self, number: int, reply: Reply) -> None:
        """The contact of this number answers."""
        self.quorum.replied(self.lookup, HOLDERS[number - 1], reply)
        self.lookup.take_next()

    def stored(self, *numbers: int) -> None:
        for number in numbers:
            self.replied(number, Stored(()))

    def test_spare(self) -> None:
        """With a spare holder a put ends when as many as it needs have the record, whichever they are, and
        most of the group are among them."""
        self.begin(10)
        self.lookup.spares, self.lookup.alpha = 1, 9
        self.lookup.take_next()
        self.stored(1, 2, *range(5, 9))
        self.assertFalse(self.lookup.finished)
        self.stored(9)
        self.assertFalse(self.lookup.finished)
        self.stored(4)
        self.assertTrue(self.lookup.finished)
        self.assertTrue(self.end())
        self.assertEqual(self.quorum.receipts, 8)

    def test_named_beside_spare(self) -> None:
        """A nearer node that the last answer named gets the record before a put with a spare holder ends; a
        writer that is nearer than the spare needs a copy too."""
        self.begin(10)
        self.lookup.spares, self.lookup.alpha = 1, 9
        self.lookup.take_next()
        self.stored(*range(1, 8))
        named = Contact(0, ("192.0.2.200", 8000))
        self.quorum.replied(self.lookup, HOLDERS[8], Stored((named,)))
        self.assertEqual(self.lookup.take_next(), [named])
        self.assertEqual(self.lookup.take_next(), [])
        self.assertTrue(self.lookup.finished)
        self.assertFalse(self.quorum.needs_own_copy(OWN))
        self.lookup.failed(named)
        self.lookup.failed(HOLDERS[7])
        self.assertTrue(self.quorum.needs_own_copy(8))

    def test_without_votes(self) -> None:
        """A record that only nodes without a vote have is not stored where as many others do not answer, or
        more: they may have the vote."""
        for silent, expected in ((0, True), (1, True), (2, False), (3, False)):
            self.begin(2 + silent)
            self.quorum._responsive.clear()
            for number in range(3, 3 + silent):
                self.lookup.silent(HOLDERS[number - 1])
            for number in (1, 2):
                self.replied(number, Stored((), current=False))
            self.assertIs(self.end(), expected, f"{silent} silent")

    def test_stopping(self) -> None:
        """A node that stops, so that its calls fail, does not say that those that have not answered cannot be
        reached."""
        for is_stopping in (False, True):
            self.begin(8)
            self.stored(1, 2, 3, 4, 5)
            for number in (6, 7, 8):
                self.lookup.failed(HOLDERS[number - 1])
            self.lookup.take_next()
            self.quorum.conclude(is_stopping)
            self.assertIs(self.quorum.succeeded, not is_stopping)

    def test_enough(self) -> None:
        """As many receipts as were asked for are enough."""
        self.begin(10)
        self.stored(*range(1, 8))
        self.assertFalse(self.end())
        self.stored(8)
        self.assertTrue(self.end())

    def test_not_a_holder(self) -> None:
        """The next nearest stands in for one that holds no values, that is not near or that leaves; where
        there is none, it is not missed."""
        for reason in (Refusal.NO_VALUES, Refusal.NOT_NEAR, Refusal.LEAVING):
            self.begin(4)
            self.replied(1, Refused((), reason))
            self.stored(2, 3, 4)
            self.assertTrue(self.end(), reason)

    def test_refused(self) -> None:
        """One that should hold the record and refuses is missed, unless the next nearest stands in for it."""
        for refusal, reason in (
            (Refusal.NO_ROOM, PutReason.NO_ROOM),
            (Refusal.SHARE, PutReason.WRITER_SHARE),
            (Refusal.VERSION, PutReason.TOO_FEW_HOLDERS),
            (Refusal.INVALID, PutReason.NOT_AUTHENTIC),
        ):
            for contacts, succeeds in ((8, False), (9, True)):
                self.begin(contacts)
                self.replied(1, Refused((), refusal))
                self.stored(*range(2, contacts + 1))
                self.assertEqual((self.end(), self.quorum.reason), (succeeds, reason))

    def test_own_copy_alone(self) -> None:
        """One own copy is not enough where the others have no room for more."""
        self.begin(4)
        self.quorum.own_store_answered(Verdict(Outcome.HELD, 7), is_current=True, holds_older=False)
        for number in range(1, 5):
            self.replied(number, Refused((), Refusal.SHARE))
        self.assertFalse(self.end())
        self.assertEqual((self.quorum.receipts, self.quorum.reason), (1, PutReason.WRITER_SHARE))

    def test_own_refusal(self) -> None:
        """This node is missed, too, where its own store is full."""
        self.begin(2)
        refused = Verdict(Outcome.REFUSED, 0, Refusal.NO_ROOM)
        self.quorum.own_store_answered(refused, is_current=True, holds_older=False)
        self.stored(1, 2)
        self.assertFalse(self.end())

    def test_is_holder(self) -> None:
        """A contact that is nearer to the key than one that has the record should have it too."""
        self.begin(9)
        self.stored(1, 3)
        self.assertTrue(self.quorum.is_holder(HOLDERS[1]))
        self.assertFalse(self.quorum.is_holder(HOLDERS[3]))

    def test_all_there_are(self) -> None:
        """If there are fewer nodes than copies, all of them are enough; none at all is not."""
        self.begin(1)
        self.stored(1)
        self.assertTrue(self.end())
        self.begin(1)
        self.replied(1, Refused((), Refusal.NO_VALUES))
        self.assertFalse(self.end())

    def test_few_copies(self) -> None:
        """A put of one copy gets as many as a read needs to see it: most of the group."""
        self.begin(10, wanted=1)
        self.stored(1, 2)
        self.assertFalse(self.end())
        self.stored(3)
        self.assertTrue(self.end())

    def test_group(self) -> None:
        """Receipts of farther nodes do not make up for those of the group where that keeps an older record:
        its members would agree on it."""
        for holds_older in (False, True):
            self.begin(11)
            for number in (1, 2, 3):
                self.replied(number, Refused((), Refusal.NO_ROOM, holds_older))
            self.stored(*range(4, 12))
            self.assertEqual((self.end(), self.quorum.receipts), (not holds_older, 8))

    def test_missed_writes(self) -> None:
        """One that has missed writes holds a copy, but a read will not ask it yet: others must have it."""
        self.begin(8)
        for number in (1, 2, 3):
            self.replied(number, Stored((), current=False))
        for number in (4, 5, 6):
            self.replied(number, Refused((), Refusal.NO_ROOM, holds_older=True))
        self.stored(7, 8)
        self.assertFalse(self.end())
        self.begin(8)
        for number in range(1, 9):
            self.replied(number, Stored((), current=False))
        self.assertTrue(self.end(), "all of them")

    def test_stand_ins_for_votes(self) -> None:
        """A record with few copies goes to those, too, whom readers ask in place of the ones that have missed
        writes: these may have what it replaces."""
        self.begin(11, wanted=1)
        for number in (1, 2, 3):
            self.replied(number, Stored((), current=False))
        self.stored(4, 5)
        self.assertFalse(self.end())
        self.assertEqual(self.lookup.candidates.asked_count, 8)
        self.stored(6)
        for number in (7, 8):
            self.replied(number, Refused((), Refusal.NO_ROOM, holds_older=True))
        self.lookup.conclude()
        self.assertTrue(self.end())
        self.assertEqual([one.contact.node_id for one in self.lookup.group()], [4, 5, 6, 7, 8])

    def test_cut_off(self) -> None:
        """A writer that holds it itself, and whose well contacts all fail, has stored nothing."""
        self.begin(1)
        self.quorum.own_store_answered(Verdict(Outcome.HELD, 7), is_current=True, holds_older=False)
        self.lookup.failed(HOLDERS[0])
        self.assertFalse(self.end())

    def test_slow_group(self) -> None:
        """While most of the group are slow the put goes on: a reader may hear them first."""
        self.begin(11)
        for number in (1, 2, 3):
            self.lookup.slow(HOLDERS[number - 1])
        self.lookup.take_next()
        self.stored(*range(4, 12))
        self.assertFalse(self.lookup.finished)
        self.stored(1)
        self.assertTrue(self.lookup.finished)

    def test_version_to_surpass(self) -> None:
        """What was written up to now is surpassed; what is from the future only where two tell of it, so that
        no single node raises a version."""
        for met, expected in (
            ((), -1),
            ((LATEST,), LATEST),
            ((LATEST - 5, LATEST), LATEST),
            ((LATEST + 9,), -1),
            ((LATEST - 5, LATEST + 9), LATEST - 5),
            ((LATEST + 9, LATEST + 9), LATEST + 9),
            ((LATEST + 500, LATEST + 9, LATEST + 9), LATEST + 9),
        ):
            self.begin(5)
            for number, version in enumerate(met, start=1):
                self.replied(number, Outranked(version, ()))
            self.assertEqual(self.quorum.version_to_surpass(LATEST, witnesses=2), expected, met)
            self.assertEqual(self.quorum.outranked, bool(met))

    def test_outranked_beside_the_group(self) -> None:
        """What farther nodes hold in its place makes up for no member of the group: no read has to hear of
        it."""
        for better, older, agreed in (((6, 7, 8), (3, 4, 5), False), ((3, 6), (4, 5), True)):
            self.begin(11)
            for number in range(1, 12):
                if number in better:
                    self.replied(number, Outranked(LATEST, ()))
                elif number in older:
                    self.replied(number, Refused((), Refusal.NO_ROOM, holds_older=True))
                else:
                    self.stored(number)
            self.lookup.conclude()
            self.end()
            self.assertEqual(self.quorum.agreed, agreed, better)

    def test_all_have_better(self) -> None:
        """Where all have a better record it is not stored, but readers will bring nothing older."""
        self.begin(8)
        for number in range(1, 9):
            self.replied(number, Outranked(LATEST, ()))
        self.assertFalse(self.end())
        self.assertTrue(self.quorum.agreed)

    def test_content(self) -> None:
        """Nothing is better than content: who says so has refused."""
        self.begin(
            5,
            record=Record(
                key=hash_id(b"content"), value=b"content", version=0, expires_at=1e9, replication=8
            ),
        )
        self.replied(1, Outranked(5, ()))
        self.assertFalse(self.quorum.outranked)

    def test_copies_of_what_it_replaces(self) -> None:
        """The writer hears how many copies there are of the key."""
        self.begin(5)
        self.replied(1, Stored((), replication=20))
        self.replied(2, Stored((), replication=8))
        self.assertEqual(self.quorum.max_replication, 20)
        self.begin(5)
        held = Verdict(Outcome.HELD, 7, replication=20)
        self.quorum.own_store_answered(held, is_current=True, holds_older=False)
        self.assertEqual(self.quorum.max_replication, 20, "from its own store too")
