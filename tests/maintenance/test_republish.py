import random

from attrs import evolve

from dht14.kademlia.parameters import GROUP
from dht14.maintenance.republish import MIN_REMAINING, Republish
from dht14.node.republish_times import JITTER, MAX_POSTPONED, RepublishTimes
from dht14.records.version_floors import floor_of
from dht14.wire.messages import FindNode, Offer
from dht14.wire.messages import Store as StoreRequest
from tests.fakes import Peer
from tests.node.holders import HoldersTestCase

T = 600.0


class RepublishTestCase(HoldersTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.republish_times = RepublishTimes()
        self.republish = self.of(self.one)

    def of(self, peer: Peer) -> Republish:
        assert peer.store is not None
        return Republish(
            peer.node,
            peer.store,
            self.copies(peer),
            self.republish_times,
            self.network.clock,
            random.Random(1),
            lambda: T,
        )

    def one_interval(self) -> None:
        """Let the longest possible interval pass, then run a pass."""
        self.network.wait(T * (1 + JITTER))
        self.finish(self.republish.one_pass())


class RepublishTests(RepublishTestCase):
    def test_restored(self) -> None:
        """Holders that have lost a record have it again after an interval, with its version and expiry."""
        record = self.record()
        self.give(record, self.one)
        self.one_interval()
        self.assertEqual(self.holders(record), [1, 2, 3])
        held = self.cluster[2].store.get(0, self.network.clock.seconds())  # type: ignore[union-attr]
        assert held is not None
        self.assertLess(abs(held.expires_at - record.expires_at), 0.1)

    def test_not_too_early(self) -> None:
        """Before the interval is over, minus jitter, nothing is sent."""
        self.give(self.record(), self.one)
        self.network.wait(T * (1 - JITTER) - 1)
        self.finish(self.republish.one_pass())
        self.assertEqual(self.asked(Offer), 0)

    def test_cheap(self) -> None:
        """A record that all holders have costs one OFFER for each other holder, and no value is sent."""
        record = self.record(copies=GROUP + 2)
        self.give(record, *self.cluster[: GROUP + 2])
        self.one_interval()
        asked = self.asked(Offer), self.asked(StoreRequest), self.asked(FindNode)
        self.assertEqual(asked, (GROUP + 1, 0, 0))

    def test_done_by_another(self) -> None:
        """A record that another holder has republished is skipped, but not for ever."""
        record = self.record(copies=GROUP + 1)
        self.give(record, *self.cluster[: GROUP + 1])
        self.republish_times.republished_by_peer(0, self.network.clock.seconds())
        offers = []
        for _ in range(2 * MAX_POSTPONED):
            self.network.wait(T * (1 + JITTER) - 1)
            self.republish_times.republished_by_peer(0, self.network.clock.seconds())
            self.network.wait(1)
            self.finish(self.republish.one_pass())
            offers.append(self.asked(Offer))
        self.assertEqual(offers[: MAX_POSTPONED - 2], [0] * (MAX_POSTPONED - 2))
        self.assertIn(GROUP, offers)

    def test_not_worth_it(self) -> None:
        """Cached copies and records that are about to expire are not republished."""
        self.give(self.record(copies=0), self.one)
        self.give(evolve(self.record(5), expires_at=self.network.clock.seconds() + 2 * T), self.one)
        self.network.wait(2 * T - MIN_REMAINING)
        self.finish(self.republish.one_pass())
        self.assertEqual(self.asked(Offer), 0)

    def test_not_near(self) -> None:
        """A node that is not a holder any more gives the record to the nearest alone, after it has asked the
        group."""
        record = self.record(key=8, copies=2)
        self.give(record, self.one)
        self.one_interval()
        self.assertEqual((self.holders(record), self.asked(Offer)), ([1, 8], GROUP + 1))
        self.one_interval()
        self.assertEqual((self.holders(record), self.asked(Offer)), ([1, 8], 1))

    def test_over(self) -> None:
        """A node that has missed what replaced a record, and has expired, gives the record up before anybody
        gets it who has missed that as well."""
        record = self.record(copies=GROUP + 2)
        short = evolve(self.record(value=b"short", later=9), expires_at=self.network.clock.seconds() + 1)
        self.give(record, self.one)
        self.give(short, *self.cluster[3:6])
        self.one_interval()
        self.assertEqual(self.holders(record), [])
        assert self.one.store is not None
        self.assertEqual(self.one.store.floor(0, self.network.clock.seconds()), floor_of(short))

    def test_cut_off(self) -> None:
        """A node that is cut off does nothing."""
        self.give(self.record(), self.one)
        for _ in range(8):
            for peer in self.cluster[1:]:
                self.one.table.failed(peer.contact, self.network.clock.seconds())
        self.one_interval()
        self.assertEqual(self.asked(Offer), 0)

    def test_many(self) -> None:
        """All records are offered, however many pages they fill, and the network is not flooded."""
        records = [self.record(key, copies=2) for key in range(1 << 20, (1 << 20) + 200)]
        for record in records:
            self.give(record, self.one)
        self.one_interval()
        self.assertEqual({len(self.holders(record)) for record in records}, {2})
        self.assertLessEqual(self.asked(Offer), 200 * (GROUP + 1))
