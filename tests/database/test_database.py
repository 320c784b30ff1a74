"""The database of a node: offers, pages, and its opening."""

import os
import random

from dht14.database.database import Database
from dht14.database.group_commit import MAX_BATCH_PUTS, MAX_EARLY_OFFERS, WAITING_PUTS_LIMIT
from dht14.kademlia.keyspace import hash_id
from dht14.records.record import Record
from dht14.records.store import BEGINNING, PAGE_BYTES, PAGE_RECORDS, Outcome, Page, Verdict
from dht14.sim.memory_store import MemoryStore
from tests.database.disk import NOW, DiskTestCase, record, version

HELD, OUTRANKED, REFUSED = Outcome.HELD, Outcome.OUTRANKED, Outcome.REFUSED
CONTENT = b"content"
CONTENT_KEY = hash_id(CONTENT)


class OfferTests(DiskTestCase):
    CHECKED = True

    def setUp(self) -> None:
        super().setUp()
        self.store = self.open()

    def test_held(self) -> None:
        """A record whose verdict was HELD is found, and again after a restart."""
        self.assertEqual(self.verdicts(self.store, record()), [Verdict(HELD, version(1), replication=8)])
        self.assertEqual((self.store.get(5, NOW), self.store.get(6, NOW)), (record(), None))
        self.store = self.reopen(self.store)
        self.assertEqual((self.store.get(5, NOW), len(self.store)), (record(), 1))

    def test_told_after_commit(self) -> None:
        """No verdict is reported before the record is on disk, and nobody can read what is not on disk."""
        verdicts: list[Verdict] = []
        self.store.offer(record(), NOW, verdicts.append)
        self.store.offer(record(), NOW, verdicts.append)
        self.assertEqual((verdicts, self.store.get(5, NOW)), ([], None))
        self.run_until(lambda: len(verdicts) == 2)
        self.assertEqual(self.store.get(5, NOW), record())

    def test_in_any_order(self) -> None:
        """Of several pending records of one key the newest stays; each is judged against those before it."""
        offers = [record(version=n) for n in (2, 1, 3, 3)]
        self.assertEqual(self.offer(self.store, *offers), [HELD, OUTRANKED, HELD, HELD])
        self.assertEqual((self.store.get(5, NOW), len(self.store)), (record(version=3), 1))

    def test_outranked(self) -> None:
        """A newer record replaces an older one, never the reverse, and the verdict has its version."""
        self.offer(self.store, record(version=2))
        self.assertEqual(self.verdicts(self.store, record(version=1)), [Verdict(OUTRANKED, version(2))])
        self.assertEqual(self.offer(self.store, record(version=3)), [HELD])
        self.assertEqual(self.store.get(5, NOW), record(version=3))

    def test_overruled(self) -> None:
        """A greater version that is to count no more gives way, on the way to the disk, on it, and when it
        has expired, also after a restart; an owner's never does."""
        verdicts: list[Verdict] = []
        self.store.offer(record(version=9), NOW, verdicts.append)
        self.store.overrule(record(version=2), NOW, version(5), verdicts.append)
        self.run_until(lambda: len(verdicts) == 2)
        self.assertEqual(self.store.get(5, NOW), record(version=2))
        self.offer(self.store, record(version=9))
        self.store.overrule(record(version=3), NOW, version(5), verdicts.append)
        self.run_until(lambda: len(verdicts) == 3)
        self.store = self.reopen(self.store)
        self.assertEqual((self.store.get(5, NOW), len(self.store)), (record(version=3), 1))
        self.offer(self.store, record(version=9, ttl=10.0))
        later = record(version=4, ttl=90.0)
        self.store.overrule(later, NOW + 20, version(5), verdicts.append)
        self.run_until(lambda: len(verdicts) == 4)
        self.assertEqual(self.store.get(5, NOW + 20), later)
        self.assertEqual({verdict.outcome for verdict in verdicts}, {HELD})

    def test_read_before(self) -> None:
        """A record that was read is no longer found once another one, or a longer life, has replaced it."""
        for one in (record(version=1), record(version=2), record(version=2, ttl=90.0)):
            self.offer(self.store, one)
            self.assertEqual([self.store.get(5, NOW), self.store.get(5, NOW)], [one, one])
        self.assertIsNone(self.store.get(5, NOW + 95))

    def test_longer_life(self) -> None:
        """A copy that lives longer replaces the same record with a shorter life, and its expiry counts."""
        self.offer(self.store, record(ttl=60.0))
        self.assertEqual(self.offer(self.store, record(ttl=90.0), record(ttl=30.0)), [HELD, HELD])
        self.assertIsNotNone(self.store.get(5, NOW + 80))

    def test_expired_on_the_way(self) -> None:
        """A record that has expired before it arrives is refused."""
        self.assertEqual(self.offer(self.store, record(ttl=0.0)), [REFUSED])

    def test_sizes(self) -> None:
        """Values of every size come back, also those with pages of their own."""
        sizes = (1, 1000, 1870, 1950, 2040, 4096, 65_495)
        records = [record(n, os.urandom(size)) for n, size in enumerate(sizes)]
        self.assertEqual(set(self.offer(self.store, *records)), {HELD})
        self.assertEqual([self.store.get(n, NOW) for n in range(len(sizes))], records)

    def test_grouped(self) -> None:
        """Offers that arrive while a batch is written share the next one; each batch is one commit."""
        before = self.last_transaction()
        self.offer(self.store, *(record(n) for n in range(MAX_BATCH_PUTS)))
        self.assertEqual(self.last_transaction() - before, 2)

    def last_transaction(self) -> int:
        assert self.store._tables is not None
        number: int = self.store._tables.env.info()["last_txnid"]
        return number

    def test_backlog(self) -> None:
        """When the disk falls too far behind, offers are refused and do not pile up."""
        count = 1 + WAITING_PUTS_LIMIT
        outcomes = self.offer(self.store, *(record(n) for n in range(count + 7)))
        self.assertEqual(
            [n for n, outcome in enumerate(outcomes) if outcome is REFUSED], [*range(count, count + 7)]
        )

    def test_closing_writes(self) -> None:
        """Records that are pending when the database is closed are written."""
        for n in range(700):
            self.store.offer(record(n), NOW, lambda verdict: None)
        self.store = self.reopen(self.store)
        self.assertEqual(len(self.store), 700)

    def test_like_memory(self) -> None:
        """While nothing expires the database decides exactly as the store in memory, in batches and over
        restarts."""
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


class PageTests(DiskTestCase):
    def met(self, store: Database, now: float = NOW) -> tuple[list[Record], int]:
        """All records in the order of the scan, and the number of pages."""
        met: list[Record] = []
        pages = 0
        mark: bytes | None = BEGINNING
        while mark is not None:
            page = store.page(mark, now)
            met += page.records
            pages, mark = pages + 1, page.mark
        return met, pages

    def test_all(self) -> None:
        """A scan finds all records once each, near keys together and the nearest first."""
        store = self.open()
        records = [record(1 << shift | low) for shift in range(10, 200) for low in range(2)]
        self.offer(store, *records, record(7, ttl=5))
        met, pages = self.met(store, NOW + 10)
        self.assertEqual(sorted(met, key=lambda r: r.key), records)
        self.assertEqual([r.key.bit_length() for r in met], [r.key.bit_length() for r in records])
        self.assertEqual(pages, len(records) // PAGE_RECORDS + 1)

    def test_large(self) -> None:
        """A page is not much larger than its limit of bytes, however large the values are."""
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
        """A full database drops cached records before farther ones, and drops nothing for a cached copy."""
        store = self.open(limit=1 << 20)
        value = bytes(30_000)
        self.answers_for = lambda record: False
        farther = [record(1 << shift, value) for shift in range(100, 200)]
        outcomes = self.offer(store, record(1 << 50, value, copies=0), *farther[:20])
        self.assertEqual(set(outcomes), {HELD})
        while self.offer(store, record(1 << len(store), value, copies=0)) == [HELD]:
            pass
        self.assertEqual([r for r in self.met(store)[0] if not r.is_cached], farther[:20])


class OpeningTests(DiskTestCase):
    def test_early(self) -> None:
        """Offers that are made before the database is open are answered afterwards, in order; reads find
        nothing until then."""
        store = self.database()
        self.addCleanup(self.close, store)
        verdicts: list[Verdict] = []
        for n in (2, 1):
            store.offer(record(version=n), NOW, verdicts.append)
        self.assertIsNone(store.get(5, NOW))
        store.open(lambda: None)
        self.run_until(lambda: len(verdicts) == 2)
        self.assertEqual([verdict.outcome for verdict in verdicts], [HELD, OUTRANKED])

    def test_many_early(self) -> None:
        """The number of offers that wait for the opening is limited."""
        store = self.database()
        verdicts: list[Verdict] = []
        for n in range(MAX_EARLY_OFFERS + 1):
            store.offer(record(n), NOW, verdicts.append)
        self.assertEqual([verdict.outcome for verdict in verdicts], [REFUSED])

    def test_told(self) -> None:
        """The event of the opening has the number of records."""
        store = self.open()
        self.offer(store, record(1), record(2))
        self.reopen(store)
        self.assertEqual(self.notes.heard, [("opened", 0), ("opened", 2)])
