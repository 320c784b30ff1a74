from hashlib import sha256

from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from dht14.errors import CallFailed
from dht14.kademlia.contact import Contact
from dht14.kademlia.parameters import HEDGE_DELAY
from dht14.node.fetch import Fetch, ValueSource
from dht14.records.advertised import AdvertisedRecord
from dht14.records.record import Record
from tests.node.transfers import VALUE, Transfers

TIMEOUT = 3.0


class FetchTests(SynchronousTestCase):
    """Three say that they have a value."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.bulk = Transfers()
        advertised = AdvertisedRecord(
            key=1,
            version=1,
            expires_at=3600.0,
            replication=8,
            owned=False,
            length=len(VALUE),
            digest=sha256(VALUE).digest(),
        )
        sources = [ValueSource(Contact(number, ("127.0.0.1", number)), bytes(16)) for number in (2, 3, 4)]
        fetch = Fetch(advertised, iter(sources), self.bulk, self.clock)
        self.fetched = fetch.run(TIMEOUT)

    def assert_over(self) -> None:
        """Nothing is left over."""
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertTrue(all(transfer.called for transfer in self.bulk.begun))

    def test_first(self) -> None:
        """The value that comes ends it; the transfers of those that were asked as well are given up."""
        self.clock.advance(HEDGE_DELAY)
        self.assertEqual(len(self.bulk.begun), 2)
        self.bulk.begun[0].callback(VALUE)
        record = self.successResultOf(self.fetched)
        assert isinstance(record, Record)
        self.assertEqual(record.value, VALUE)
        self.assert_over()

    def test_next(self) -> None:
        """When one fails, or sends something else, the next is asked at once; when all have, it is over."""
        self.bulk.begun[0].errback(CallFailed())
        self.bulk.begun[1].callback(bytes(len(VALUE)))
        self.assertNoResult(self.fetched)
        self.bulk.begun[2].errback(CallFailed())
        self.assertIsNone(self.successResultOf(self.fetched))
        self.assert_over()

    def test_timeout(self) -> None:
        """When the time is up it is over."""
        self.clock.pump([HEDGE_DELAY] * round(TIMEOUT / HEDGE_DELAY + 1))
        self.assertIsNone(self.successResultOf(self.fetched))
        self.assertEqual(len(self.bulk.begun), 3)
        self.assert_over()

    def test_cancelled(self) -> None:
        """The same when the fetch is cancelled."""
        self.fetched.cancel()
        self.failureResultOf(self.fetched, CancelledError)
        self.assert_over()
