from typing import cast

from twisted.logger import ILogObserver, LogEvent, globalLogPublisher

from dht14.maintenance.handover import HandOver
from dht14.wire.messages import Offer
from dht14.wire.messages import Store as StoreRequest
from tests.fakes import Peer
from tests.node.holders import HoldersTestCase


class HandOverTests(HoldersTestCase):
    def hand_over(self, peer: Peer, seconds: float = 4.0) -> float:
        """Run a hand-over; the seconds it took."""
        assert peer.store is not None
        self.events: list[LogEvent] = []
        observer = cast(ILogObserver, self.events.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        hand_over = HandOver(peer.node.neighbourhood, peer.store, self.copies(peer), self.network.clock)
        ended = hand_over.run(seconds)
        took = self.network.seconds_until(ended)
        self.assertIsNone(self.successResultOf(ended))
        return took

    def last_line(self) -> tuple[object, object]:
        return self.events[-1]["done"], self.events[-1]["total"]

    def test_single_copies(self) -> None:
        """A record that only this node holds is at the next nearest node afterwards."""
        records = [self.record(key, copies=1) for key in range(16, 216)]
        for record in records:
            self.give(record, self.one)
        self.assertLess(self.hand_over(self.one), 4.0)
        for record in records:
            nearest = min(range(2, 10), key=record.key.__xor__)
            self.assertEqual(self.holders(record), [1, nearest])
        self.assertEqual(self.last_line(), (200, 200))

    def test_heir(self) -> None:
        """Of a record with several holders only the next holder gets the value; the others get an offer."""
        record = self.record()
        self.give(record, *self.cluster[:3])
        self.hand_over(self.one)
        self.assertEqual(self.holders(record), [1, 2, 3, 4])
        self.assertEqual((self.asked(Offer), self.asked(StoreRequest)), (3, 1))

    def test_lacking(self) -> None:
        """Holders that should have the record and do not get it too."""
        record = self.record()
        self.give(record, self.one)
        self.hand_over(self.one)
        self.assertEqual(self.holders(record), [1, 2, 3, 4])

    def test_others(self) -> None:
        """The other holders are asked which of many records they lack, and offered those only."""
        records = [self.record(key << 100, value=b"%d" % key) for key in range(1, 101)]
        for number, record in enumerate(records):
            self.give(record, *self.cluster[: 3 if number % 10 else 2], self.cluster[3])
        self.hand_over(self.one)
        self.assertEqual({tuple(self.holders(record)) for record in records}, {(1, 2, 3, 4)})
        self.assertEqual(self.events[-1]["taken"], 100)
        self.assertEqual(self.asked(StoreRequest), 10)
        self.assertLessEqual(self.asked(Offer), 100 + 10)

    def test_fewest_first(self) -> None:
        """If there is not enough time, records with the fewest copies go first; it ends in time and logs
        so."""
        many = [self.record(key, copies=3) for key in range(1000, 1400)]
        few = [self.record(key, copies=1) for key in range(2000, 2100)]
        for record in [*many, *few]:
            self.give(record, self.one)
        for peer in self.cluster[1:]:
            peer.latency = 0.05
        took = self.hand_over(self.one, seconds=0.8)
        self.assertLess(took, 0.81)
        self.assertEqual({len(self.holders(record)) for record in few}, {2})
        self.assertIn(1, {len(self.holders(record)) for record in many})
        done, total = self.last_line()
        assert isinstance(done, int)
        self.assertEqual((100 < done < 500, total), (True, 500))

    def test_dead(self) -> None:
        """A dead neighbour does not keep others from getting the record."""
        record = self.record(copies=1)
        self.give(record, self.one)
        self.cluster[1].fall_silent()
        self.hand_over(self.one)
        self.assertEqual(self.holders(record), [1, 3])

    def test_nothing(self) -> None:
        """A node without records, or alone, is done at once."""
        self.assertEqual(self.hand_over(self.one), 0.0)
        alone = self.network.peer(77)
        self.give(self.record(), alone)
        self.assertEqual(self.hand_over(alone), 0.0)
        self.assertEqual(self.events, [])
