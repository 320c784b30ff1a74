from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.contact import Contact
from dht14.kademlia.keyspace import hash_id
from dht14.kademlia.lookup import Lookup
from dht14.node.placement import Placement
from dht14.storage.record import Record
from dht14.storage.store import Outcome, Verdict
from dht14.wire.messages import Outranked, Refused, Stored

OWN, COPIES = 100, 2
HOLDERS = [Contact(node_id, (f"192.0.2.{node_id}", 8000)) for node_id in range(1, 6)]
BELIEVABLE = 1000


class PlacementTests(SynchronousTestCase):
    """A record for two holders, of key 0; the contacts 1 to 5 are the nearest in this order."""

    def begin(self, contacts: int, record: Record | None = None) -> None:
        self.record = record or Record(0, b"value", 7, 1e9, COPIES)
        self.lookup = Lookup(self.record.key, OWN, COPIES, alpha=COPIES)
        self.lookup.heard_of(HOLDERS[:contacts])
        well = {one.node_id for one in HOLDERS}
        self.placement = Placement(self.record, self.lookup, well, BELIEVABLE)
        self.lookup.due()

    def end(self) -> bool:
        self.lookup.due()
        self.placement.judge()
        return self.placement.kept

    def replied(self, number: int, reply: Stored | Outranked | Refused) -> None:
        self.placement.replied(self.lookup, HOLDERS[number], reply)
        self.lookup.due()

    def test_enough(self) -> None:
        """As many receipts as copies are enough, whoever else is silent."""
        self.begin(5)
        for number in (0, 1):
            self.replied(number, Stored(()))
        self.assertTrue(self.end())

    def test_stand_in(self) -> None:
        """Who refuses is stood in for by the next nearest."""
        self.begin(5)
        self.replied(0, Refused(()))
        self.replied(1, Stored(()))
        self.assertFalse(self.end())
        self.replied(2, Stored(()))
        self.assertTrue(self.end())

    def test_all_there_are(self) -> None:
        """Where there are fewer nodes than copies, all of them are enough; nobody at all is not."""
        self.begin(1)
        self.replied(0, Stored(()))
        self.assertTrue(self.end())
        self.begin(1)
        self.replied(0, Refused(()))
        self.assertFalse(self.end())

    def test_cut_off(self) -> None:
        """A writer that holds it itself, and whose well contacts all fail, has stored nothing."""
        self.begin(1)
        self.placement.tried_here(Verdict(Outcome.HELD, 7))
        self.lookup.failed(HOLDERS[0])
        self.assertFalse(self.end())

    def test_outranked(self) -> None:
        """A better record elsewhere is told, with its version if a writer of now can surpass it."""
        for version, met in ((BELIEVABLE, BELIEVABLE), (BELIEVABLE + 1, -1)):
            self.begin(5)
            self.replied(0, Outranked(version, ()))
            self.assertEqual((self.placement.outranked, self.placement.newest_met), (True, met))

    def test_content(self) -> None:
        """Nothing is better than content: who says so has refused."""
        self.begin(5, Record(hash_id(b"content"), b"content", 0, 1e9, COPIES))
        self.replied(0, Outranked(5, ()))
        self.assertFalse(self.placement.outranked)
