"""Which records leave a database: expired ones, and from a full one those that other nodes hold."""

import os
import random
from typing import Any

from attrs import evolve

from dht14.database.database import Database
from dht14.database.eviction import MAX_BATCH_DROPS
from dht14.database.limits import EVICTION_TRIES
from dht14.database.tables import Tables
from dht14.kademlia.keyspace import hash_id
from dht14.records.record import Kind, Record
from dht14.records.store import Outcome, Verdict
from dht14.records.version_floors import FLOOR_MARGIN, NO_FLOOR, Floor
from tests.database.disk import NOW, DiskTestCase, record, version
from tests.owners import Owner

HELD, OUTRANKED, REFUSED = Outcome.HELD, Outcome.OUTRANKED, Outcome.REFUSED
CONTENT = b"content"
CONTENT_KEY = hash_id(CONTENT)
TTL = 60.0


class ExpiryTests(DiskTestCase):
    CHECKED = True

    def setUp(self) -> None:
        super().setUp()
        self.store = self.open()

    def sweep(self, now: float) -> None:
        self.store.expire(now)
        self.run_until(lambda: not self.store._sweep_until)

    def test_never_served(self) -> None:
        """An expired record is not served, swept or not."""
        self.offer(self.store, record(ttl=TTL))
        self.assertIsNotNone(self.store.get(5, NOW + 59.9))
        self.assertIsNone(self.store.get(5, NOW + 60))
        self.assertEqual(len(self.store), 1)

    def test_lapsed(self) -> None:
        """A record that is over for others is dropped, and leaves their floor, also on the disk; not what has
        replaced it."""
        held, floor = record(version=3, ttl=900.0), Floor(Kind.OPEN, version(9))
        self.offer(self.store, held)
        self.store.lapse(record(version=2, ttl=900.0), floor, NOW)
        self.assertEqual(self.store.get(5, NOW), held)
        self.store.lapse(held, floor, NOW)
        self.run_until(lambda: self.store.get(5, NOW) is None)
        self.store = self.reopen(self.store)
        self.assertIsNone(self.store.get(5, NOW))
        self.assertEqual(self.store.floor(5, NOW), floor)
        self.assertEqual(self.offer(self.store, record(version=8, ttl=900.0)), [OUTRANKED])
        self.assertEqual(self.offer(self.store, record(version=10)), [HELD])

    def test_swept(self) -> None:
        """A sweep drops exactly the expired records, however many, and those that expired while it was
        closed."""
        count = 3 * MAX_BATCH_DROPS
        self.offer(self.store, *(record(n, ttl=1.0 + n) for n in range(count)))
        self.store = self.reopen(self.store)
        self.sweep(NOW + count - 50)
        self.assertEqual(len(self.store), 50)
        self.sweep(NOW + count - 50)
        self.assertEqual(len(self.store), 50)

    def test_overwritten_lives(self) -> None:
        """The expiry of a replaced record does not apply to the new one, nor the reverse."""
        self.offer(self.store, record(version=1, ttl=10.0))
        self.offer(self.store, record(version=2, ttl=100.0))
        self.sweep(NOW + 50)
        self.assertEqual(len(self.store), 1)

    def test_does_not_return(self) -> None:
        """When a newer record has expired, an older one with a longer life does not come back, swept or
        not, also after a restart. A later write counts."""
        self.offer(self.store, record(version=2, ttl=TTL))
        later = NOW + TTL
        older = [record(version=1, ttl=900.0), record(version=2, ttl=900.0)]
        for passes in range(3):
            verdicts = self.verdicts(self.store, *older, now=later)
            self.assertEqual(verdicts, [Verdict(OUTRANKED, version(2))] * 2)
            self.assertEqual(self.store.floor(5, later), Floor(Kind.OPEN, version(2)))
            if passes == 0:
                self.sweep(later)
                self.assertEqual(len(self.store), 0)
            elif passes == 1:
                self.store = self.reopen(self.store)
        self.assertEqual(self.offer(self.store, record(version=3, ttl=900.0), now=later), [HELD])

    def test_floor_is_forgotten(self) -> None:
        """The version of an expired record is remembered as long as a copy could live, and no longer."""
        self.offer(self.store, record(version=2, ttl=TTL))
        self.sweep(NOW + TTL)
        last = NOW + TTL + 86_400 + FLOOR_MARGIN
        old = evolve(record(version=1), expires_at=last + 900)
        self.assertEqual(self.offer(self.store, old, now=last - 1), [OUTRANKED])
        self.assertEqual(self.offer(self.store, old, now=last), [HELD])

    def test_forgotten_before_the_sweep(self) -> None:
        """That does not depend on when the sweep comes to the record, which is once a day."""
        self.offer(self.store, record(version=2, ttl=TTL))
        last = NOW + TTL + 86_400 + FLOOR_MARGIN
        self.assertEqual(self.store.floor(5, last - 1), Floor(Kind.OPEN, version(2)))
        self.assertEqual(self.store.floor(5, last), NO_FLOOR)
        old = evolve(record(version=1), expires_at=last + 900)
        self.assertEqual(self.offer(self.store, old, now=last), [HELD])

    def test_long_gone(self) -> None:
        """No version is remembered of a record that expired long ago."""
        self.offer(self.store, record(ttl=TTL))
        self.sweep(NOW + 1e6)
        self.assertEqual(self.floors(), 0)

    def test_content_returns(self) -> None:
        """Content that is put again after it expired is held: under its key it is always the same."""
        self.offer(self.store, record(CONTENT_KEY, CONTENT, ttl=TTL))
        self.sweep(NOW + TTL)
        again = record(CONTENT_KEY, CONTENT, ttl=900.0)
        self.assertEqual((self.offer(self.store, again, now=NOW + TTL), self.floors()), ([HELD], 0))

    def test_owner(self) -> None:
        """When an owner's record has expired, no open record and no older one of the owner comes back,
        swept or not, also after a restart. A greater sequence number does."""
        owner = Owner(1)
        self.assertEqual(self.offer(self.store, owner.record(b"", 9, NOW + TTL)), [HELD])
        later = NOW + TTL
        older = [record(owner.key, version=2, ttl=900.0), owner.record(b"older", 8, NOW + 900)]
        for passes in range(3):
            verdicts = self.verdicts(self.store, *older, now=later)
            self.assertEqual(verdicts, [Verdict(OUTRANKED, 9)] * 2)
            if passes == 0:
                self.sweep(later)
            elif passes == 1:
                self.store = self.reopen(self.store)
        newer = owner.record(b"newer", 10, NOW + 900)
        self.assertEqual(self.offer(self.store, newer, now=later), [HELD])
        self.assertEqual(self.store.get(owner.key, later), newer)

    def test_floors_are_bounded(self) -> None:
        """The number of remembered versions is limited, for a small database to a small one; the oldest go
        first."""
        self.close(self.store)
        self.path.unlink()
        self.store = self.open(limit=1 << 20)
        for start in range(0, 1200, 200):
            self.offer(self.store, *(record(n, ttl=1.0) for n in range(start, start + 200)), now=NOW)
            self.sweep(NOW + 1)
        self.assertEqual(self.floors(), 1024)

    def test_floors_are_not_flushed(self) -> None:
        """Other writers cannot make a node forget expired versions: not with brief records under many ids,
        and not with lasting ones over their share."""
        self.close(self.store)
        self.path.unlink()
        self.store = self.open(limit=1 << 20)
        owner, victim = Owner(1), record(5000, version=2, ttl=TTL, writer=7)
        signed = evolve(owner.record(b"signed", 2, NOW + TTL), writer=7)
        self.offer(self.store, victim, signed)
        now = NOW + TTL
        self.sweep(now)
        for start in range(0, 1500, 100):
            brief = [
                evolve(record(n, writer=1000 + n), expires_at=now + 0.001) for n in range(start, start + 100)
            ]
            lasting = [
                evolve(record(2000 + n, writer=1 + n % 2), expires_at=now + TTL)
                for n in range(start, start + 100)
            ]
            self.offer(self.store, *brief, now=now)
            self.sweep(now + 0.001)
            self.offer(self.store, *lasting, now=now)
            now += TTL
            self.sweep(now)
        self.assertEqual(self.floors(), 1024)
        older = [
            evolve(record(5000, version=1), expires_at=now + 900),
            owner.record(b"older", 1, now + 900),
        ]
        self.assertEqual(self.offer(self.store, *older, now=now), [OUTRANKED, OUTRANKED])

    def floors(self) -> int:
        return self.tables(self.store).env.begin().stat(self.tables(self.store).floors.floors)["entries"]  # type: ignore[no-any-return]

    def tables(self, store: Database) -> Tables:
        assert store._tables is not None
        return store._tables


class FullTests(DiskTestCase):
    """A database of a few hundred records of 1 KB; the node answers for keys below 1000."""

    CHECKED = True

    LIMIT = 1 << 20

    def setUp(self) -> None:
        super().setUp()
        self.store = self.open(self.LIMIT)

    def tearDown(self) -> None:
        self.assertLessEqual(self.path.stat().st_size, self.LIMIT)

    def fill(self, keys: Any, now: float = NOW, ttl: float = TTL, size: int = 1000) -> int:
        """Offer until one is refused; return how many were held."""
        for count, key in enumerate(keys):
            if self.offer(self.store, record(key, os.urandom(size), ttl=ttl), now=now) != [HELD]:
                return count
        raise AssertionError("it was never full")

    def test_refused(self) -> None:
        """A database full of records that the node answers for refuses new ones, keeps the old ones, and
        accepts them again."""
        count = self.fill(range(1000))
        self.assertTrue(all(self.store.get(key, NOW) for key in range(count)))
        self.assertGreater(count, 250)
        self.assertEqual(self.offer(self.store, record(3, b"new", version=2)), [HELD])

    def test_told_once(self) -> None:
        """The event of a full store comes once, however many records are refused."""
        self.fill(range(1000))
        self.assertEqual(self.offer(self.store, record(998), record(999)), [REFUSED] * 2)
        self.assertEqual(self.notes.names, ["opened", "store full"])
        self.assertEqual(self.notes.heard[-1], ("store full", self.store.usage.size))

    def test_lowered_limit(self) -> None:
        """With a limit below its content a database loses nothing; the event comes at the start, and new
        records are refused."""
        count = self.fill(range(1000))
        self.close(self.store)
        self.notes.heard.clear()
        self.store = store = self.open(self.LIMIT // 2)
        self.assertEqual(self.offer(store, record(999)), [REFUSED])
        self.assertTrue(all(store.get(key, NOW) for key in range(count)))
        self.assertEqual(self.notes.names, ["opened", "store full"])
        self.release(store)
        self.store = self.open(self.LIMIT)

    def test_expired_go_first(self) -> None:
        """Expired records are dropped before any other."""
        self.fill(range(900))
        later = NOW + TTL + 2
        lasting = [record(n, os.urandom(1000), ttl=900.0) for n in range(900, 910)]
        self.assertEqual(self.offer(self.store, *lasting, now=later), [HELD] * 10)
        self.answers_for = lambda record: False
        self.assertEqual(
            self.offer(self.store, *(record(n, version=2, ttl=900.0) for n in range(20)), now=later),
            [HELD] * 20,
        )
        self.assertTrue(all(self.store.get(n, later) for n in range(900, 910)))

    def test_farthest_go(self) -> None:
        """Then the records that the node does not answer for are dropped, the farthest first."""
        far = [1 << n for n in range(100, 256)]
        self.offer(self.store, *(record(key, os.urandom(1000)) for key in far))
        self.fill(range(1000))
        left = [key for key in far if self.store.get(key, NOW)]
        self.assertEqual(left, [])
        self.assertTrue(all(self.store.get(key, NOW) for key in range(100)))

    def test_order(self) -> None:
        """When space is made in small steps, no farther record stays where a nearer one was dropped."""
        far = [1 << n for n in range(100, 256)]
        self.offer(self.store, *(record(key, os.urandom(1000)) for key in far))
        gone_before = 0
        for key in range(400):
            self.offer(self.store, record(key, os.urandom(1000)))
            held = [bool(self.store.get(each, NOW)) for each in far]
            self.assertEqual(held, sorted(held, reverse=True))
            gone_before = held.count(False)
        self.assertGreater(gone_before, 0)

    def test_looks_at_few(self) -> None:
        """A full store considers few records before it refuses one, and none again for a second."""
        looked_at: list[int] = []

        def answers_for(record: Record) -> bool:
            looked_at.append(record.key)
            return True

        self.fill(range(1000))
        self.answers_for = answers_for
        self.assertEqual(
            self.offer(self.store, *(record(n) for n in range(2000, 2009)), now=NOW + 2), [REFUSED] * 9
        )
        self.assertLessEqual(len(looked_at), EVICTION_TRIES)

    def test_large_values(self) -> None:
        """However values of all sizes come and go, the file stays within its limit and every record with
        HELD is found."""
        rng = random.Random(1)
        held: dict[int, Record] = {}
        for n in range(300):
            one = record(rng.randrange(100), rng.randbytes(rng.choice([10, 1000, 3000, 60_000])), version=n)
            (verdict,) = self.verdicts(self.store, one)
            if verdict.outcome is HELD:
                held[one.key] = one
        self.assertGreater(len(held), 10)
        for key, one in held.items():
            self.assertEqual(self.store.get(key, NOW), one)
