from hashlib import sha256

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from dht14.errors import CallFailed
from dht14.kademlia.contact import Contact
from dht14.kademlia.parameters import HEDGE_DELAY, UNVOUCHED_TIMEOUT, VOUCHED_TIMEOUT
from dht14.node.fetch import ValueSource
from dht14.node.fetch_race import FetchRace, gives_way
from dht14.records.advertised import AdvertisedRecord
from dht14.records.record import Record
from tests.node.transfers import VALUE, Transfers

TIMEOUT = 3.0


class ClaimRaceTests(SynchronousTestCase):
    """A record of version 2 is known, or none; holders 1, 2 and 3 advertise versions 1, 2 and 3."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.bulk = Transfers()

    def advertised(self, version: int) -> tuple[AdvertisedRecord, list[ValueSource]]:
        advertised = AdvertisedRecord(
            key=1,
            version=version,
            expires_at=3600.0,
            replication=8,
            owned=False,
            length=len(VALUE),
            digest=sha256(VALUE).digest(),
        )
        return advertised, [ValueSource(Contact(version, ("127.0.0.1", version)), bytes(16))]

    def begin(self, *versions: int, here: Record | None = None) -> FetchRace:
        race = FetchRace([self.advertised(version) for version in versions], self.bulk, self.clock, here)
        self.ended = race.run(TIMEOUT)
        return race

    def failed(self, race: FetchRace) -> list[int]:
        return sorted(source.contact.node_id for source in race.failed)

    def end(self) -> None:
        self.successResultOf(self.ended)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_true(self) -> None:
        """The greatest record that arrives wins, and no other is waited for."""
        race = self.begin(
            3, 1, here=Record(key=1, value=b"here", version=2, expires_at=3600.0, replication=8)
        )
        self.bulk.begun[0].callback(VALUE)
        self.end()
        assert race.best is not None
        self.assertEqual((race.best.version, self.failed(race)), (3, []))

    def test_stalled(self) -> None:
        """With a record at hand, advertised ones are waited for only a moment, however many; their holders
        are returned."""
        here = Record(key=1, value=b"here", version=2, expires_at=3600.0, replication=8)
        race = self.begin(5, 4, 3, here=here)
        self.assertEqual(len(self.bulk.begun), 3, "side by side")
        self.clock.advance(UNVOUCHED_TIMEOUT - 0.01)
        self.assertNoResult(self.ended)
        self.clock.advance(0.01)
        self.end()
        self.assertEqual((race.best, self.failed(race)), (here, [3, 4, 5]))

    def test_vouched(self) -> None:
        """What two holders advertise is waited for longer: it may have been acknowledged last, and they may
        be far away. One that advertises more alone gains nothing."""
        here = Record(key=1, value=b"here", version=2, expires_at=3600.0, replication=8)
        advertised, sources = self.advertised(3)
        to_fetch = [
            self.advertised(4),
            (advertised, [*sources, ValueSource(Contact(9, ("127.0.0.1", 9)), bytes(16))]),
        ]
        race = FetchRace(to_fetch, self.bulk, self.clock, here)
        self.ended = race.run(TIMEOUT)
        self.clock.pump([HEDGE_DELAY] * 4)
        self.assertNoResult(self.ended)
        self.bulk.begun[1].callback(VALUE)
        self.end()
        assert race.best is not None
        self.assertEqual((race.best.version, self.failed(race)), (3, [4]))

    def test_vouched_and_stalled(self) -> None:
        """Two that stall are not waited for without end."""
        advertised, sources = self.advertised(3)
        here = Record(key=1, value=b"here", version=2, expires_at=3600.0, replication=8)
        race = FetchRace([(advertised, 2 * sources)], self.bulk, self.clock, here)
        self.ended = race.run(TIMEOUT)
        self.clock.pump([UNVOUCHED_TIMEOUT, VOUCHED_TIMEOUT - UNVOUCHED_TIMEOUT])
        self.end()
        self.assertEqual((race.best, self.failed(race)), (here, [3, 3]))

    def test_stalled_above(self) -> None:
        """Where nothing is here yet, the first value that comes sets the time for the greater ones."""
        race = self.begin(3, 2)
        self.clock.advance(1.0)
        self.bulk.begun[1].callback(VALUE)
        self.assertNoResult(self.ended)
        self.clock.advance(UNVOUCHED_TIMEOUT)
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
        """If no holder sends anything it ends in time, or as soon as all have failed."""
        race = self.begin(3, 2)
        for transfer in self.bulk.begun:
            transfer.errback(CallFailed())
        self.end()
        self.assertEqual((race.best, self.failed(race)), (None, [2, 3]))
        self.begin(3)
        self.clock.advance(TIMEOUT)
        self.end()

    def test_more_holders(self) -> None:
        """What must not be given up is waited for, and the race stalls once, with its transfers under way.
        When there are more holders, they are asked; then what one alone advertises is given up as before."""
        here = Record(key=1, value=b"here", version=2, expires_at=3600.0, replication=8)
        agreed, sources = self.advertised(3)
        race = FetchRace(
            [(agreed, sources)], self.bulk, self.clock, here, lambda best: best is None or best.version < 3
        )
        self.ended = race.run(TIMEOUT)
        self.clock.advance(VOUCHED_TIMEOUT)
        self.successResultOf(self.ended)
        self.assertTrue(race.is_stalled)
        self.assertFalse(self.bulk.begun[0].called)
        other = ValueSource(Contact(9, ("127.0.0.1", 9)), bytes(16))
        self.ended = race.go_on([self.advertised(4), (agreed, [*sources, other])], gives_way)
        self.assertEqual(len(self.bulk.begun), 3, "each holder once")
        self.clock.advance(UNVOUCHED_TIMEOUT)
        self.assertNoResult(self.ended)
        self.bulk.begun[2].callback(VALUE)
        self.clock.advance(UNVOUCHED_TIMEOUT)
        self.end()
        assert race.best is not None
        self.assertEqual((race.best.version, self.failed(race)), (3, [3, 4]))

    def test_had_its_time(self) -> None:
        """What has stalled is given up at once if it need not come after all and has no more holders."""
        here = Record(key=1, value=b"here", version=2, expires_at=3600.0, replication=8)
        race = FetchRace([self.advertised(3)], self.bulk, self.clock, here, lambda best: True)
        self.ended = race.run(TIMEOUT)
        self.clock.advance(VOUCHED_TIMEOUT)
        self.ended = race.go_on([self.advertised(3)], gives_way)
        self.end()
        self.assertEqual((race.best, self.failed(race)), (here, [3]))

    def test_must_not_be_given_up(self) -> None:
        """When nothing comes, it ends in time with less: the caller knows that this is not the answer."""
        here = Record(key=1, value=b"here", version=2, expires_at=3600.0, replication=8)
        race = FetchRace([self.advertised(3)], self.bulk, self.clock, here, lambda best: True)
        self.ended = race.run(TIMEOUT)
        self.clock.advance(VOUCHED_TIMEOUT)
        self.ended = race.go_on([], lambda best: True)
        self.clock.advance(TIMEOUT - VOUCHED_TIMEOUT - 0.01)
        self.assertNoResult(self.ended)
        self.clock.advance(0.01)
        self.end()
        self.assertEqual((race.best, self.failed(race)), (here, [3]))
