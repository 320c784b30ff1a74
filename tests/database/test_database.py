import os
import random
from typing import Any

import lmdb
from attrs import evolve, frozen

from dht14.database.database import DROPS_A_BATCH, Database
from dht14.database.disk_state import CALM, PROBE_CALM
from dht14.database.early_offers import MAX_EARLY_OFFERS
from dht14.database.entry_format import PLACE_BYTES
from dht14.database.group_commit import PUTS_A_BATCH, PUTS_WAITING
from dht14.database.limits import EVICTION_TRIES
from dht14.database.tables import Tables, room
from dht14.database.writer_thread import GONE
from dht14.kademlia.keyspace import hash_id
from dht14.kademlia.parameters import MAX_VALUE
from dht14.records.record import Kind, Record, version_at
from dht14.records.store import BEGINNING, PAGE_BYTES, PAGE_RECORDS, Outcome, Page, Refusal, Verdict
from dht14.records.version_floors import FLOOR_MARGIN, Floor
from dht14.sim.memory_store import MemoryStore
from tests.database.disk import NOW, OWN, DiskTestCase, record
from tests.owners import Owner

HELD, OUTRANKED, REFUSED = Outcome.HELD, Outcome.OUTRANKED, Outcome.REFUSED
CONTENT = b"content"
CONTENT_KEY = hash_id(CONTENT)
TTL = 60.0


def version(number: int) -> int:
    return record(version=number).version


class PageTests(DiskTestCase):
    def met(self, store: Database, now: float = NOW) -> tuple[list[Record], int]:
        """All records in the order in which they are met, and how many pages they were."""
        met: list[Record] = []
        pages = 0
        mark: bytes | None = BEGINNING
        while mark is not None:
            page = store.page(mark, now)
            met += page.records
            pages, mark = pages + 1, page.mark
        return met, pages

    def test_all(self) -> None:
        """Page by page all records are met, once each, near keys together and the nearest first."""
        store = self.open()
        records = [record(1 << shift | low) for shift in range(10, 200) for low in range(2)]
        self.offer(store, *records, record(7, ttl=5))
        met, pages = self.met(store, NOW + 10)
        self.assertEqual(sorted(met, key=lambda r: r.key), records)
        self.assertEqual([r.key.bit_length() for r in met], [r.key.bit_length() for r in records])
        self.assertEqual(pages, len(records) // PAGE_RECORDS + 1)

    def test_large(self) -> None:
        """A page is not much larger than its bytes, however large the values are."""
        store = self.open()
        self.offer(store, *(record(key, bytes(60_000)) for key in range(1, 13)))
        met, pages = self.met(store)
        self.assertEqual((len(met), pages), (12, 3))
        self.assertLess(60_000 * len(store.page(BEGINNING, NOW).records), PAGE_BYTES + 60_000)

    def test_not_open(self) -> None:
        """A database that is not open has nothing to read."""
        store = self.database()
        self.assertEqual(store.page(BEGINNING, NOW), Page([], None))

    def test_cached_first(self) -> None:
        """Full, it drops what is cached before what is farther, and drops nothing for a cached copy."""
        store = self.open(limit=1 << 20)
        value = bytes(30_000)
        self.answers_for = lambda record: False
        farther = [record(1 << shift, value) for shift in range(100, 200)]
        outcomes = self.offer(store, record(1 << 50, value, copies=0), *farther[:20])
        self.assertEqual(set(outcomes), {HELD})
        while self.offer(store, record(1 << len(store), value, copies=0)) == [HELD]:
            pass
        self.assertEqual([r for r in self.met(store)[0] if not r.is_cached], farther[:20])


class OfferTests(DiskTestCase):
    CHECKED = True

    def setUp(self) -> None:
        super().setUp()
        self.store = self.open()

    def test_held(self) -> None:
        """What was told HELD is found, and after a restart again."""
        self.assertEqual(self.verdicts(self.store, record()), [Verdict(HELD, version(1), replication=8)])
        self.assertEqual((self.store.get(5, NOW), self.store.get(6, NOW)), (record(), None))
        self.store = self.reopen(self.store)
        self.assertEqual((self.store.get(5, NOW), len(self.store)), (record(), 1))

    def test_told_after_commit(self) -> None:
        """Nobody is told before the disk has it, and nobody reads what it does not have."""
        told: list[Verdict] = []
        self.store.offer(record(), NOW, told.append)
        self.store.offer(record(), NOW, told.append)
        self.assertEqual((told, self.store.get(5, NOW)), ([], None))
        self.run_until(lambda: len(told) == 2)
        self.assertEqual(self.store.get(5, NOW), record())

    def test_in_any_order(self) -> None:
        """Of several for one key that are under way at once the newest stays, each being judged by those before."""
        offers = [record(version=n) for n in (2, 1, 3, 3)]
        self.assertEqual(self.offer(self.store, *offers), [HELD, OUTRANKED, HELD, HELD])
        self.assertEqual((self.store.get(5, NOW), len(self.store)), (record(version=3), 1))

    def test_outranked(self) -> None:
        """A newer record takes the place of an older one, never the other way, and the verdict tells of it."""
        self.offer(self.store, record(version=2))
        self.assertEqual(self.verdicts(self.store, record(version=1)), [Verdict(OUTRANKED, version(2))])
        self.assertEqual(self.offer(self.store, record(version=3)), [HELD])
        self.assertEqual(self.store.get(5, NOW), record(version=3))

    def test_longer_life(self) -> None:
        """A copy that lives longer takes the place of the same that does not, and its expiry counts."""
        self.offer(self.store, record(ttl=60.0))
        self.assertEqual(self.offer(self.store, record(ttl=90.0), record(ttl=30.0)), [HELD, HELD])
        self.assertIsNotNone(self.store.get(5, NOW + 80))

    def test_expired_on_the_way(self) -> None:
        """What has expired before it came is refused."""
        self.assertEqual(self.offer(self.store, record(ttl=0.0)), [REFUSED])

    def test_sizes(self) -> None:
        """Values of every size come back, those with pages of their own too."""
        sizes = (1, 1000, 1870, 1950, 2040, 4096, 65_495)
        records = [record(n, os.urandom(size)) for n, size in enumerate(sizes)]
        self.assertEqual(set(self.offer(self.store, *records)), {HELD})
        self.assertEqual([self.store.get(n, NOW) for n in range(len(sizes))], records)

    def test_grouped(self) -> None:
        """Offers that come while a batch is written share the next one; each batch is one commit."""
        before = self.last_transaction()
        self.offer(self.store, *(record(n) for n in range(PUTS_A_BATCH)))
        self.assertEqual(self.last_transaction() - before, 2)

    def last_transaction(self) -> int:
        assert self.store._tables is not None
        number: int = self.store._tables.env.info()["last_txnid"]
        return number

    def test_backlog(self) -> None:
        """When the disk falls too far behind, offers are refused instead of piling up."""
        count = 1 + PUTS_WAITING
        outcomes = self.offer(self.store, *(record(n) for n in range(count + 7)))
        self.assertEqual(
            [n for n, outcome in enumerate(outcomes) if outcome is REFUSED], [*range(count, count + 7)]
        )

    def test_closing_writes(self) -> None:
        """What still waits when the database is closed is written."""
        for n in range(700):
            self.store.offer(record(n), NOW, lambda verdict: None)
        self.store = self.reopen(self.store)
        self.assertEqual(len(self.store), 700)

    def test_like_memory(self) -> None:
        """While nothing expires it does exactly what the store in memory does, in batches and over restarts."""
        rng = random.Random(1)
        memory = MemoryStore(0, 1 << 20, lambda record: True)
        for step in range(30):
            offers = [
                record(
                    rng.choice([1, 2, CONTENT_KEY]),
                    rng.choice([b"a", b"b", CONTENT]),
                    rng.randint(0, 3),
                    rng.choice([60.0, 70.0]),
                )
                for _ in range(rng.randint(1, 9))
            ]
            expected: list[Verdict] = []
            for one in offers:
                memory.offer(one, NOW, expected.append)
            self.assertEqual(self.verdicts(self.store, *offers), expected)
            if step % 10 == 9:
                self.store = self.reopen(self.store)
        for key in (1, 2, CONTENT_KEY):
            self.assertEqual(self.store.get(key, NOW), memory.get(key, NOW))


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

    def test_swept(self) -> None:
        """A sweep drops exactly what has expired, however much that is, and what expired while it was closed."""
        count = 3 * DROPS_A_BATCH
        self.offer(self.store, *(record(n, ttl=1.0 + n) for n in range(count)))
        self.store = self.reopen(self.store)
        self.sweep(NOW + count - 50)
        self.assertEqual(len(self.store), 50)
        self.sweep(NOW + count - 50)
        self.assertEqual(len(self.store), 50)

    def test_overwritten_lives(self) -> None:
        """The time of a record that was overwritten is no time of the new one, nor the other way round."""
        self.offer(self.store, record(version=1, ttl=10.0))
        self.offer(self.store, record(version=2, ttl=100.0))
        self.sweep(NOW + 50)
        self.assertEqual(len(self.store), 1)

    def test_does_not_return(self) -> None:
        """When a newer record has expired, an older one that lives longer does not return: swept or not, after a
        restart too. What is written then counts."""
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
        """The version of what expired is remembered as long as a copy could live, and no longer."""
        self.offer(self.store, record(version=2, ttl=TTL))
        self.sweep(NOW + TTL)
        last = NOW + TTL + 86_400 + FLOOR_MARGIN
        old = evolve(record(version=1), expires_at=last + 900)
        self.assertEqual(self.offer(self.store, old, now=last - 1), [OUTRANKED])
        self.assertEqual(self.offer(self.store, old, now=last), [HELD])

    def test_long_gone(self) -> None:
        """Of what expired long ago nothing is remembered."""
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
        """Where an owner's record has expired nothing open and nothing older of its own comes back, swept or not,
        after a restart too; a greater number does."""
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
        """Only so many versions are remembered, for a small database a small number; the oldest go first."""
        self.close(self.store)
        self.path.unlink()
        self.store = self.open(limit=1 << 20)
        for start in range(0, 1200, 200):
            self.offer(self.store, *(record(n, ttl=1.0) for n in range(start, start + 200)), now=NOW)
            self.sweep(NOW + 1)
        self.assertEqual(self.floors(), 1024)

    def test_floors_are_not_flushed(self) -> None:
        """What others write cannot make a node forget what has expired: not with records of a moment, however many
        ids they have, and not with those that last, beyond their share."""
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
        """Offer until one is refused; how many were held."""
        for count, key in enumerate(keys):
            if self.offer(self.store, record(key, os.urandom(size), ttl=ttl), now=now) != [HELD]:
                return count
        raise AssertionError("it was never full")

    def test_refused(self) -> None:
        """Full of what the node answers for it refuses new records, keeps the old ones, and takes them again."""
        count = self.fill(range(1000))
        self.assertTrue(all(self.store.get(key, NOW) for key in range(count)))
        self.assertGreater(count, 250)
        self.assertEqual(self.offer(self.store, record(3, b"new", version=2)), [HELD])

    def test_told_once(self) -> None:
        """That it is full is told once, however many are refused."""
        self.fill(range(1000))
        self.assertEqual(self.offer(self.store, record(998), record(999)), [REFUSED] * 2)
        self.assertEqual(self.notes.names, ["opened", "store full"])
        self.assertEqual(self.notes.heard[-1], ("store full", self.store.usage.size))

    def test_lowered_limit(self) -> None:
        """With a limit below what is held nothing is lost; it is told at the start, and new records are refused."""
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
        """What has expired makes room before anything that lives."""
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
        """Then goes what the node does not answer for, the farthest first."""
        far = [1 << n for n in range(100, 256)]
        self.offer(self.store, *(record(key, os.urandom(1000)) for key in far))
        self.fill(range(1000))
        left = [key for key in far if self.store.get(key, NOW)]
        self.assertEqual(left, [])
        self.assertTrue(all(self.store.get(key, NOW) for key in range(100)))

    def test_order(self) -> None:
        """While room is made little by little, no farther one stays where a nearer one went."""
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
        """A full store looks at few records before it refuses, and for a second not again."""
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
        """However values of all sizes come and go, the file stays within its limit and what is told HELD is there."""
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


class ShareTests(DiskTestCase):
    """A database of 1 MiB: other nodes may fill 49 parts in 64, and each record takes four pages."""

    CHECKED = True

    LIMIT = 1 << 20
    TAKES = room(4 * 4096)
    ALONE = (LIMIT * 49 // 64) // TAKES // 2
    """About what one writer may hold. Pages of the tables are in use as well."""

    def setUp(self) -> None:
        super().setUp()
        self.store = self.open(self.LIMIT)

    def tearDown(self) -> None:
        self.store.check_invariants()

    def one(self, key: int, writer: int, subnet: bytes = b"", **parts: Any) -> Record:
        return evolve(record(key, os.urandom(16_000), writer=writer, **parts), writer_subnet=subnet)

    def fill(self, writer: int, *keys: int, subnet: bytes = b"") -> list[int]:
        """Offer a record under each key, one after the other; which were held."""
        return [key for key in keys if self.offer(self.store, self.one(key, writer, subnet)) == [HELD]]

    def assert_about(self, held: int, expected: float) -> None:
        self.assertTrue(0.8 * expected <= held <= expected + 1, f"{held}, not about {expected}")

    def test_alone(self) -> None:
        """A lone writer has half of what others may fill, the next one a part of the rest; this node has all."""
        self.answers_for = lambda record: True
        for start, writer, held in ((100, 1, self.ALONE), (300, 2, 0.36 * self.ALONE)):
            self.assert_about(len(self.fill(writer, *range(start, start + self.ALONE + 5))), held)
        self.assertEqual(self.verdicts(self.store, self.one(99, 1))[0].refusal, Refusal.SHARE)
        self.assertEqual(len(self.fill(OWN, *range(500, 512))), 12)

    def test_told_once(self) -> None:
        """That a writer has had its share is told at the first refusal of a bout, with how many there were so far."""
        self.answers_for = lambda record: True
        for key in range(100, 100 + self.ALONE + 5):
            self.offer(self.store, self.one(key, 1, ttl=600.0))
        self.assertEqual(self.told(), [1])
        for later, told in ((5.0, 1), (70.0, 2)):
            (verdict,) = self.verdicts(self.store, self.one(99, 1, ttl=600.0), now=NOW + later)
            self.assertEqual((verdict.refusal, len(self.told())), (Refusal.SHARE, told))

    def told(self) -> list[object]:
        return [heard[1] for heard in self.notes.heard if heard[0] == "share used up"]

    def test_reserve(self) -> None:
        """However many others write, the last part is kept for this node's own clients."""
        self.answers_for = lambda record: True
        for writer in range(1, 12):
            keys = range(1000 * writer, 1000 * writer + self.ALONE + 1)
            self.offer(self.store, *(self.one(key, writer, b"%d" % writer) for key in keys))
        self.assertEqual(self.verdicts(self.store, self.one(1, 50))[0].refusal, Refusal.NO_ROOM)
        self.assertGreater(len(self.fill(OWN, *range(100_000, 100_020))), self.LIMIT // 10 // self.TAKES)

    def test_subnet(self) -> None:
        """Writers of one subnet have together what one of them has, and what they have is kept over a restart."""
        counts = [
            len(self.fill(writer, *range(100 * writer, 100 * writer + 5), subnet=b"abc"))
            for writer in range(1, 8)
        ]
        self.assert_about(sum(counts), self.ALONE)
        self.close(self.store)
        self.store = self.open(self.LIMIT)
        held = self.store.get(100, NOW)
        self.assertEqual(held and (held.writer, held.writer_subnet), (1, b"abc"))
        self.assertEqual(self.fill(9, 999, subnet=b"abc"), [])
        self.answers_for = lambda record: True
        self.assert_about(
            len(self.fill(9, *range(2000, 2000 + self.ALONE), subnet=b"xyz")), 0.36 * self.ALONE
        )

    def test_provider(self) -> None:
        """So have the subnets of an IPv6 provider."""
        counts = [
            len(self.fill(n, *range(100 * n, 100 * n + 5), subnet=bytes([32, 1, 0, 7, 0, n])))
            for n in range(1, 8)
        ]
        self.assert_about(sum(counts), self.ALONE)

    def test_at_once(self) -> None:
        """What is on its way counts: no share is passed however fast the offers come."""
        offers = [self.one(key, 1) for key in range(2 * self.ALONE)]
        self.assert_about(self.offer(self.store, *offers).count(HELD), self.ALONE)

    def test_kept(self) -> None:
        """After a restart a share is what it was, and the records still have their writer."""
        self.fill(1, *range(self.ALONE + 5))
        self.close(self.store)
        self.store = self.open(self.LIMIT)
        held = self.store.get(5, NOW)
        self.assertEqual((self.fill(1, 200), held and held.writer), ([], 1))

    def test_own_record(self) -> None:
        """A writer at its share replaces what is its own; of what grows the old one stays."""
        self.fill(1, *range(self.ALONE + 5))
        self.assertEqual(self.offer(self.store, self.one(5, 1, version=2)), [HELD])
        larger = record(5, os.urandom(60_000), version=3, writer=1)
        self.assertEqual(self.verdicts(self.store, larger), [Verdict(REFUSED, version(2), Refusal.SHARE)])

    def test_expired(self) -> None:
        """What has expired is given back, swept or not: who needs it gets it at the next try."""
        self.offer(self.store, *(self.one(900 + n, 1, ttl=1.0) for n in range(5)))
        self.fill(1, *range(self.ALONE + 5))
        self.assertEqual(self.fill(1, 99), [])
        self.offer(self.store, self.one(99, 1), now=NOW + 1)
        self.run_until(lambda: self.store.get(900, NOW) is None)
        self.assertEqual(self.offer(self.store, self.one(100, 1), now=NOW + 1), [HELD])

    def test_evicted(self) -> None:
        """For a newcomer goes what others hold as well, until its share has room."""
        self.answers_for = lambda record: record.key < 1 << 20
        self.fill(OWN, *((1 << 200) + key for key in range(60)))
        full = len(self.store)
        self.assertEqual(self.fill(1, 1), [1])
        gone = full + 1 - len(self.store)
        self.assert_about(gone, 12)
        self.assertEqual(self.fill(OWN, *range(10, 14)), list(range(10, 14)))

    def test_looks_at_few(self) -> None:
        """Who is refused for its share makes nobody look for what might go more than once a second."""
        self.fill(1, *range(self.ALONE + 5))
        looked_at: list[int] = []

        def answers_for(record: Record) -> bool:
            looked_at.append(record.key)
            return True

        self.answers_for = answers_for
        refused = self.offer(self.store, *(self.one(n, 1) for n in range(200, 230)), now=NOW + 2)
        self.assertEqual(refused, [REFUSED] * 30)
        self.assertLessEqual(len(looked_at), EVICTION_TRIES)

    def test_overwritten(self) -> None:
        """What another writer replaces counts for that one."""
        self.fill(1, *range(self.ALONE + 5))
        self.assertEqual(self.offer(self.store, self.one(5, 2, version=2)), [HELD])
        tables = self.store._tables
        assert tables is not None
        with tables.env.begin() as txn:
            (share,) = (tables.share(txn, tag) for tag in self.store._format.tags(2, b""))
        self.assertEqual(share, self.TAKES)

    def test_copy(self) -> None:
        """A copy that lives longer stays its first writer's: who republishes it needs no share."""
        first = self.one(500, 1, b"abc")
        self.offer(self.store, first)
        self.fill(2, *range(self.ALONE + 5))
        copy = evolve(first, expires_at=NOW + 90, writer=2, writer_subnet=b"xyz")
        self.assertEqual(self.offer(self.store, copy), [HELD])
        held = self.store.get(500, NOW + 80)
        self.assertEqual(held and (held.writer, held.writer_subnet), (1, b"abc"))

    def test_churn(self) -> None:
        """However records come, grow, change hands, expire and are evicted, the table of writers is exact."""
        rng = random.Random(1)
        self.answers_for = lambda record: record.key < 40
        parties: list[dict[str, Any]] = [
            {"writer": writer, "writer_subnet": subnet}
            for writer, subnet in [(0, b""), (OWN, b""), (1, b"abc"), (2, b"abc"), (3, bytes(6))]
        ]
        now = NOW
        for step in range(30):
            offers = [
                Record(
                    key=rng.randrange(60),
                    value=rng.randbytes(rng.choice([10, 1000, 3000, 20_000])),
                    version=version_at(now) + rng.randrange(5),
                    expires_at=now + rng.choice([1.0, 5.0, 60.0]),
                    replication=8,
                    **rng.choice(parties),
                )
                for _ in range(rng.randint(1, 20))
            ]
            self.offer(self.store, *offers, now=now)
            self.store.check_invariants()
            now += rng.choice([0.0, 2.0])
            if step % 5 == 4:
                self.store.expire(now)
                self.run_until(lambda: not self.store._sweep_until)
                self.store.check_invariants()

    def test_invariants_are_looked_at(self) -> None:
        """A table of writers that is not that of the records is found out."""
        self.fill(1, 5)
        tables = self.store._tables
        assert tables is not None
        with tables.env.begin(write=True) as txn:
            (tag,) = self.store._format.tags(1, b"")
            packed = txn.pop(tag, db=tables.writers)
        self.assertRaises(AssertionError, self.store.check_invariants)
        with tables.env.begin(write=True) as txn:
            txn.put(tag, packed, db=tables.writers)


class FloodTests(DiskTestCase):
    """8 MiB, and writers that cost 5 s of proof of work: 16 ids."""

    def left_for_others(self, subnets: list[bytes]) -> tuple[int, int]:
        """After 16 writers in these subnets have written all that is taken from them: how many of 200 honest STOREs
        from elsewhere are held, and of 200 of the node's own clients."""
        store, rng = self.open(8 << 20), random.Random(1)

        def held(writer: int, subnet: bytes, count: int) -> int:
            records = (record(rng.getrandbits(256), rng.randbytes(1000), writer=writer) for _ in range(count))
            return self.offer(store, *(evolve(one, writer_subnet=subnet) for one in records)).count(HELD)

        self.answers_for = lambda record: True
        for writer in range(1, 17):
            while held(1000 + writer, subnets[writer % len(subnets)], 500):
                pass
        store.check_invariants()
        honest = self.offer(
            store,
            *(
                evolve(
                    record(rng.getrandbits(256), rng.randbytes(1000), writer=2000 + n),
                    writer_subnet=bytes([9, n, 0]),
                )
                for n in range(200)
            ),
        ).count(HELD)
        return honest, held(OWN, b"", 200)

    def test_one_host(self) -> None:
        """Of one host they leave half of the store."""
        self.assertEqual(self.left_for_others([b"abc"]), (200, 200))

    def test_many_subnets(self) -> None:
        """Nor do they shut others out where each has a subnet of its own, and all they can get before others come."""
        honest, own = self.left_for_others([bytes([8, n, 0]) for n in range(16)])
        self.assertGreater(honest, 30)
        self.assertEqual(own, 200)

    def test_one_gateway(self) -> None:
        """Of a gateway 1,200 of the longest values are held, which is what it offers each of five nodes."""
        store = self.open()
        self.answers_for = lambda record: True
        for start in range(0, 1_200, 100):
            offers = (record(start + n, os.urandom(MAX_VALUE), writer=1) for n in range(100))
            self.assertEqual(
                set(self.offer(store, *(evolve(one, writer_subnet=bytes([127, 0, 0, 1])) for one in offers))),
                {HELD},
            )


class OpeningTests(DiskTestCase):
    def test_early(self) -> None:
        """Offers made before it is open are answered when it is, in order; reads find nothing until then."""
        store = self.database()
        self.addCleanup(self.close, store)
        told: list[Verdict] = []
        for n in (2, 1):
            store.offer(record(version=n), NOW, told.append)
        self.assertIsNone(store.get(5, NOW))
        store.open(lambda: None)
        self.run_until(lambda: len(told) == 2)
        self.assertEqual([verdict.outcome for verdict in told], [HELD, OUTRANKED])

    def test_many_early(self) -> None:
        """Not without limit, though."""
        store = self.database()
        told: list[Verdict] = []
        for n in range(MAX_EARLY_OFFERS + 1):
            store.offer(record(n), NOW, told.append)
        self.assertEqual([verdict.outcome for verdict in told], [REFUSED])

    def test_told(self) -> None:
        """The watcher hears how many records there are."""
        store = self.open()
        self.offer(store, record(1), record(2))
        self.reopen(store)
        self.assertEqual(self.notes.heard, [("opened", 0), ("opened", 2)])


class DamageTests(DiskTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.store = self.open()
        self.offer(self.store, *(record(n, b"value" * 100) for n in range(9)))

    def change(self, key: int, at: int) -> None:
        """Flip a bit of a record's entry, as it lies in the file."""
        self.close(self.store)
        raw = bytearray(self.path.read_bytes())
        entry = self.store._format.place(key) + version(1).to_bytes(8, "big")
        found = -1
        # LMDB leaves earlier states of a page behind: all that look like the entry are changed.
        while (found := raw.find(entry, found + 1)) >= 0:
            raw[found + PLACE_BYTES + at] ^= 1
        self.path.write_bytes(raw)
        self.store = self.open()

    def test_record(self) -> None:
        """A damaged record is not served, and counts once; the others are there, and a good copy heals it."""
        self.change(5, at=100)
        for _ in range(2):
            self.assertIsNone(self.store.get(5, NOW))
        self.assertEqual(
            [heard for heard in self.notes.heard if heard[0] == "record damaged"], [("record damaged", 1)]
        )
        self.assertTrue(all(self.store.get(n, NOW) for n in range(9) if n != 5))
        self.assertEqual(self.offer(self.store, record(5, version=0)), [HELD])
        self.assertEqual(self.store.get(5, NOW), record(5, version=0))
        self.store.check_invariants()

    def test_head(self) -> None:
        """So is one whose version, time or tag has changed; a sweep clears it away, index and all."""
        for key, at in ((3, 7), (4, 15), (5, 20)):
            self.change(key, at)
            self.assertIsNone(self.store.get(key, NOW))
        self.store.expire(NOW + 1e6)
        self.run_until(lambda: not self.store._sweep_until)
        self.assertEqual(len(self.store), 0)
        self.store.check_invariants()

    def test_file(self) -> None:
        """A damaged file is renamed, never deleted; the database begins anew, and says so."""
        self.close(self.store)
        for number, damage in enumerate((b"x" * 100, self.path.read_bytes()[:9000], b"\xff" * 20_000), 1):
            self.path.write_bytes(damage)
            self.notes.heard.clear()
            store = self.open()
            aside = f"{self.path}.damaged-{number}"
            self.assertEqual(self.notes.heard, [("set aside", aside), ("opened", 0)])
            with open(aside, "rb") as file:
                self.assertEqual(file.read(), damage)
            self.assertEqual(self.offer(store, record()), [HELD])
            self.close(store)

    def test_strange_database(self) -> None:
        """A whole LMDB file of somebody else is no database of ours: set aside, not touched."""
        self.close(self.store)
        self.path.unlink()
        lmdb.open(str(self.path), subdir=False).close()
        self.open()
        self.assertEqual(self.notes.names, ["opened", "set aside", "opened"])

    def test_lock_file(self) -> None:
        """What is in the lock file beside it does not matter: nobody else has the directory."""
        self.close(self.store)
        lock = self.path.with_name("db-lock")
        lock.write_bytes(os.urandom(lock.stat().st_size))
        self.store = self.open()
        self.assertEqual(len(self.store), 9)


def error(kind: type[lmdb.Error], text: str, code: int) -> lmdb.Error:
    """An error as LMDB raises it."""
    raised = kind(text)
    raised.code = code  # type: ignore[misc]
    return raised


FULL = error(lmdb.Error, "No space left on device", 28)
PANIC = error(lmdb.PanicError, "MDB_PANIC", -30795)
CORRUPTED = error(lmdb.CorruptedError, "MDB_CORRUPTED", -30796)


@frozen
class Refusing:
    """An LMDB environment that lets nobody read."""

    error: lmdb.Error

    def begin(self, *options: object) -> None:
        raise self.error


class RefusingDiskTests(DiskTestCase):
    """A disk that refuses, played by tables whose writes fail."""

    def setUp(self) -> None:
        super().setUp()
        self.store = self.open()
        self.offer(self.store, record(1))
        self.error: Exception | None = None
        write = Tables.write

        def fails(tables: Tables, changes: Any) -> Any:
            if self.error is not None:
                raise self.error
            return write(tables, changes)

        self.patch(Tables, "write", fails)

    def test_full_disk(self) -> None:
        """PUTs are refused, reads go on, and the first that can be written is; both are told once."""
        self.error = FULL
        for _ in range(3):
            self.assertEqual(self.offer(self.store, record(2)), [REFUSED])
            self.assertEqual(self.store.get(1, NOW), record(1))
        self.error = None
        self.assertEqual(self.offer(self.store, record(2)), [HELD])
        self.assertEqual(self.notes.names, ["opened", "writing failed"])
        self.assertEqual(self.offer(self.store, record(3), now=NOW + CALM), [HELD])
        self.assertEqual(self.notes.names, ["opened", "writing failed", "writing resumed"])

    def test_nobody_writes(self) -> None:
        """Where nobody writes, a probe tells that the disk has room again, and leaves nothing behind."""
        self.error = FULL
        self.offer(self.store, record(2))
        self.store.look(NOW + PROBE_CALM - 1)
        self.store.look(NOW + PROBE_CALM)
        self.run_until(lambda: self.notes.names[-1] == "writing resumed")
        self.assertEqual(sorted(os.listdir(self.path.parent)), ["db", "db-lock"])

    def test_file_is_gone(self) -> None:
        """What is written into a file that was removed or moved is not held; it is told once, unasked too."""
        moved = self.path.with_name("moved")
        self.path.rename(moved)
        for _ in range(2):
            self.assertEqual(self.offer(self.store, record(2)), [REFUSED])
            self.store.look(NOW)
        self.assertEqual(self.notes.heard[1:], [("writing failed", GONE)])
        self.assertEqual(self.offer(self.store, record(1)), [REFUSED])
        self.assertEqual(self.store.get(1, NOW), record(1))
        moved.rename(self.path)
        self.store.look(NOW)
        self.assertEqual(self.offer(self.store, record(2), now=NOW + CALM), [HELD])
        self.assertEqual(self.notes.names[-1], "writing resumed")
        self.path.unlink()
        self.store.look(NOW)
        self.assertEqual(self.notes.heard[-1], ("writing failed", GONE))

    def test_waiting_ones(self) -> None:
        """What is judged by a record on its way is refused with it: nothing of it is on disk."""
        self.error = FULL
        self.assertEqual(self.offer(self.store, record(2, version=2), record(2, version=1)), [REFUSED] * 2)

    def test_panic(self) -> None:
        """Where LMDB trusts itself no more it is opened anew, and goes on; readers miss nothing."""
        self.error = PANIC
        self.assertEqual(self.offer(self.store, record(2)), [REFUSED])
        self.assertEqual(self.store.get(1, NOW), record(1))
        self.error = None
        self.assertEqual(self.offer(self.store, record(2)), [HELD])
        self.assertEqual(self.store.get(1, NOW), record(1))

    def test_damage(self) -> None:
        """Damage under a running node is answered by a check of the file; one that is whole stays in use."""
        self.error = CORRUPTED
        self.assertEqual(self.offer(self.store, record(2)), [REFUSED])
        self.error = None
        self.assertEqual(self.offer(self.store, record(2)), [HELD])
        self.assertNotIn("set aside", self.notes.names)

    def test_readers(self) -> None:
        """Where LMDB lets nobody read before it is opened anew, that is done, and the reader notices nothing."""
        tables = self.store._tables
        assert tables is not None
        self.store._tables = evolve(tables, env=Refusing(PANIC))
        self.assertEqual(self.store.get(1, NOW), record(1))
        self.assertEqual(self.offer(self.store, record(2)), [HELD])

    def test_damaged_pages(self) -> None:
        """A reader that meets damage finds nothing; the file is checked, and what is whole is there again."""
        tables = self.store._tables
        assert tables is not None
        self.store._tables = evolve(tables, env=Refusing(CORRUPTED))
        self.assertIsNone(self.store.get(1, NOW))
        self.run_until(lambda: self.notes.names.count("opened") == 2)
        self.assertEqual(self.store.get(1, NOW), record(1))

    def test_bug(self) -> None:
        """An error of ours costs the batch in which it comes, and is told; it does not end the thread."""
        self.error = ZeroDivisionError("a bug")
        self.assertEqual(self.offer(self.store, record(2)), [REFUSED])
        self.error = None
        self.assertEqual(self.offer(self.store, record(2)), [HELD])
        self.assertIn("a bug", str(self.notes.heard))
