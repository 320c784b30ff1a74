from hashlib import sha256

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from dht14.errors import CallFailed
from dht14.kademlia.contact import Contact
from dht14.node.fetch import CLAIM_SECONDS, HEDGE, VOUCHED_SECONDS, Fetch, FetchRace, ValueSource
from dht14.records.advertised import AdvertisedRecord
from dht14.records.record import Record
from dht14.wire.messages import Reply

VALUE = bytes(range(250)) * 8
TIMEOUT = 3.0


@define
class Transfers:
    """A `Bulk` whose transfers end when the test says so."""

    begun: "list[Deferred[bytes]]" = field(factory=list)

    def push(self, contact: Contact, ticket: bytes, value: bytes) -> "Deferred[Reply]":
        raise NotImplementedError("nothing is pushed here")

    def fetch(self, contact: Contact, ticket: bytes, length: int) -> "Deferred[bytes]":
        self.begun.append(Deferred())
        return self.begun[-1]


class FetchTests(SynchronousTestCase):
    """Three say that they have a value."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.bulk = Transfers()
        claim = AdvertisedRecord(
            key=1,
            version=1,
            expires_at=3600.0,
            replication=8,
            owned=False,
            length=len(VALUE),
            digest=sha256(VALUE).digest(),
        )
        claimers = [ValueSource(Contact(number, ("127.0.0.1", number)), bytes(16)) for number in (2, 3, 4)]
        fetch = Fetch(claim, iter(claimers), self.bulk, self.clock)
        self.fetched = fetch.run(TIMEOUT)

    def assert_over(self) -> None:
        """Nothing is left over."""
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertTrue(all(transfer.called for transfer in self.bulk.begun))

    def test_first(self) -> None:
        """The value that comes ends it; the transfers of those that were asked as well are given up."""
        self.clock.advance(HEDGE)
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
        self.clock.pump([HEDGE] * round(TIMEOUT / HEDGE + 1))
        self.assertIsNone(self.successResultOf(self.fetched))
        self.assertEqual(len(self.bulk.begun), 3)
        self.assert_over()

    def test_cancelled(self) -> None:
        """So it is when nobody wants the value any more."""
        self.fetched.cancel()
        self.failureResultOf(self.fetched, CancelledError)
        self.assert_over()


class ClaimRaceTests(SynchronousTestCase):
    """A record of version 2 is here, or none; holders 1, 2 and 3 claim to have one of version 1, 2 and 3."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.bulk = Transfers()

    def claim(self, version: int) -> tuple[AdvertisedRecord, list[ValueSource]]:
        claim = AdvertisedRecord(
            key=1,
            version=version,
            expires_at=3600.0,
            replication=8,
            owned=False,
            length=len(VALUE),
            digest=sha256(VALUE).digest(),
        )
        return claim, [ValueSource(Contact(version, ("127.0.0.1", version)), bytes(16))]

    def begin(self, *versions: int, here: Record | None = None) -> FetchRace:
        race = FetchRace([self.claim(version) for version in versions], self.bulk, self.clock, here)
        self.ended = race.run(TIMEOUT)
        return race

    def failed(self, race: FetchRace) -> list[int]:
        return sorted(claimer.contact.node_id for claimer in race.failed)

    def end(self) -> None:
        self.successResultOf(self.ended)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_true(self) -> None:
        """A claim that comes true wins, and nobody is waited for any more."""
        race = self.begin(
            3, 1, here=Record(key=1, value=b"here", version=2, expires_at=3600.0, replication=8)
        )
        self.bulk.begun[0].callback(VALUE)
        self.end()
        assert race.best is not None
        self.assertEqual((race.best.version, self.failed(race)), (3, []))

    def test_stalled(self) -> None:
        """Beside a record that is here no claim is waited for longer than a moment, however many there are; those
        who made them are told."""
        here = Record(key=1, value=b"here", version=2, expires_at=3600.0, replication=8)
        race = self.begin(5, 4, 3, here=here)
        self.assertEqual(len(self.bulk.begun), 3, "side by side")
        self.clock.advance(CLAIM_SECONDS - 0.01)
        self.assertNoResult(self.ended)
        self.clock.advance(0.01)
        self.end()
        self.assertEqual((race.best, self.failed(race)), (here, [3, 4, 5]))

    def test_vouched(self) -> None:
        """What two holders claim is waited for longer: it may be what was acknowledged last, and they far away. One
        that claims more alone gains nothing by that."""
        here = Record(key=1, value=b"here", version=2, expires_at=3600.0, replication=8)
        claim, claimers = self.claim(3)
        claims = [self.claim(4), (claim, [*claimers, ValueSource(Contact(9, ("127.0.0.1", 9)), bytes(16))])]
        race = FetchRace(claims, self.bulk, self.clock, here)
        self.ended = race.run(TIMEOUT)
        self.clock.pump([HEDGE] * 4)
        self.assertNoResult(self.ended)
        self.bulk.begun[1].callback(VALUE)
        self.end()
        assert race.best is not None
        self.assertEqual((race.best.version, self.failed(race)), (3, [4]))

    def test_vouched_and_stalled(self) -> None:
        """Nor are two that stall waited for without end."""
        claim, claimers = self.claim(3)
        here = Record(key=1, value=b"here", version=2, expires_at=3600.0, replication=8)
        race = FetchRace([(claim, 2 * claimers)], self.bulk, self.clock, here)
        self.ended = race.run(TIMEOUT)
        self.clock.pump([CLAIM_SECONDS, VOUCHED_SECONDS - CLAIM_SECONDS])
        self.end()
        self.assertEqual((race.best, self.failed(race)), (here, [3, 3]))

    def test_stalled_above(self) -> None:
        """Where nothing is here yet, the first value that comes sets the time for the greater ones."""
        race = self.begin(3, 2)
        self.clock.advance(1.0)
        self.bulk.begun[1].callback(VALUE)
        self.assertNoResult(self.ended)
        self.clock.advance(CLAIM_SECONDS)
        self.end()
        assert race.best is not None
        self.assertEqual((race.best.version, self.failed(race)), (2, [3]))

    def test_lesser(self) -> None:
        """What is less than what came is not waited for, and its holder not blamed."""
        race = self.begin(3, 2)
        self.bulk.begun[0].callback(VALUE)
        self.end()
        self.assertEqual(self.failed(race), [])

    def test_nothing(self) -> None:
        """Where nobody sends anything it ends in time, or as soon as all have failed."""
        race = self.begin(3, 2)
        for transfer in self.bulk.begun:
            transfer.errback(CallFailed())
        self.end()
        self.assertEqual((race.best, self.failed(race)), (None, [2, 3]))
        self.begin(3)
        self.clock.advance(TIMEOUT)
        self.end()
