"""The shares of the writers in a database."""

import os
import random
from typing import Any

from attrs import evolve

from dht14.database.limits import EVICTION_TRIES
from dht14.database.tables import estimated_size
from dht14.kademlia.parameters import MAX_VALUE
from dht14.records.record import Record, version_at
from dht14.records.store import Outcome, Refusal, Verdict
from tests.database.disk import NOW, OWN, DiskTestCase, record, version

HELD, REFUSED = Outcome.HELD, Outcome.REFUSED


class ShareTests(DiskTestCase):
    """A database of 1 MiB: other nodes may fill 49 parts in 64, and each record takes four pages."""

    CHECKED = True

    LIMIT = 1 << 20
    TAKES = estimated_size(4 * 4096)
    ALONE = (LIMIT * 49 // 64) // TAKES // 2
    """About the bytes that one writer may hold. Pages of the tables are in use as well."""

    def setUp(self) -> None:
        super().setUp()
        self.store = self.open(self.LIMIT)

    def tearDown(self) -> None:
        self.store.check_invariants()

    def one(self, key: int, writer: int, subnet: bytes = b"", **parts: Any) -> Record:
        return evolve(record(key, os.urandom(16_000), writer=writer, **parts), writer_subnet=subnet)

    def fill(self, writer: int, *keys: int, subnet: bytes = b"") -> list[int]:
        """Offer a record under each key, one after the other; return those that were held."""
        return [key for key in keys if self.offer(self.store, self.one(key, writer, subnet)) == [HELD]]

    def assert_about(self, held: int, expected: float) -> None:
        self.assertTrue(0.8 * expected <= held <= expected + 1, f"{held}, not about {expected}")

    def test_alone(self) -> None:
        """A single writer gets half of what others may fill, the next one a part of the rest; this node
        may fill all."""
        self.answers_for = lambda record: True
        for start, writer, held in ((100, 1, self.ALONE), (300, 2, 0.36 * self.ALONE)):
            self.assert_about(len(self.fill(writer, *range(start, start + self.ALONE + 5))), held)
        self.assertEqual(self.verdicts(self.store, self.one(99, 1))[0].refusal, Refusal.SHARE)
        self.assertEqual(len(self.fill(OWN, *range(500, 512))), 12)

    def test_told_once(self) -> None:
        """The event of a used-up share comes with the first refusal after a pause, with their number so
        far."""
        self.answers_for = lambda record: True
        for key in range(100, 100 + self.ALONE + 5):
            self.offer(self.store, self.one(key, 1, ttl=600.0))
        self.assertEqual(self.share_events(), [1])
        for later, count in ((5.0, 1), (70.0, 2)):
            (verdict,) = self.verdicts(self.store, self.one(99, 1, ttl=600.0), now=NOW + later)
            self.assertEqual((verdict.refusal, len(self.share_events())), (Refusal.SHARE, count))

    def share_events(self) -> list[object]:
        return [heard[1] for heard in self.notes.heard if heard[0] == "share used up"]

    def test_reserve(self) -> None:
        """However many others write, the reserved part is kept for this node's own clients."""
        self.answers_for = lambda record: True
        for writer in range(1, 12):
            keys = range(1000 * writer, 1000 * writer + self.ALONE + 1)
            self.offer(self.store, *(self.one(key, writer, b"%d" % writer) for key in keys))
        self.assertEqual(self.verdicts(self.store, self.one(1, 50))[0].refusal, Refusal.NO_ROOM)
        self.assertGreater(len(self.fill(OWN, *range(100_000, 100_020))), self.LIMIT // 10 // self.TAKES)

    def test_subnet(self) -> None:
        """Writers of one subnet together have the share of one of them, also after a restart."""
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
        """The subnets of one IPv6 provider together have one share."""
        counts = [
            len(self.fill(n, *range(100 * n, 100 * n + 5), subnet=bytes([32, 1, 0, 7, 0, n])))
            for n in range(1, 8)
        ]
        self.assert_about(sum(counts), self.ALONE)

    def test_at_once(self) -> None:
        """Pending records count: no share is exceeded however fast the offers come."""
        offers = [self.one(key, 1) for key in range(2 * self.ALONE)]
        self.assert_about(self.offer(self.store, *offers).count(HELD), self.ALONE)

    def test_kept(self) -> None:
        """After a restart a share is the same, and the records still have their writers."""
        self.fill(1, *range(self.ALONE + 5))
        self.close(self.store)
        self.store = self.open(self.LIMIT)
        held = self.store.get(5, NOW)
        self.assertEqual((self.fill(1, 200), held and held.writer), ([], 1))

    def test_own_record(self) -> None:
        """A writer that has used up its share can replace its records; if the new one is larger the old
        one stays."""
        self.fill(1, *range(self.ALONE + 5))
        self.assertEqual(self.offer(self.store, self.one(5, 1, version=2)), [HELD])
        larger = record(5, os.urandom(60_000), version=3, writer=1)
        self.assertEqual(self.verdicts(self.store, larger), [Verdict(REFUSED, version(2), Refusal.SHARE)])

    def test_expired(self) -> None:
        """Expired records are given back, swept or not: the next offer can use their space."""
        self.offer(self.store, *(self.one(900 + n, 1, ttl=1.0) for n in range(5)))
        self.fill(1, *range(self.ALONE + 5))
        self.assertEqual(self.fill(1, 99), [])
        self.offer(self.store, self.one(99, 1), now=NOW + 1)
        self.run_until(lambda: self.store.get(900, NOW) is None)
        self.assertEqual(self.offer(self.store, self.one(100, 1), now=NOW + 1), [HELD])

    def test_evicted(self) -> None:
        """For a new writer records that others hold are evicted, until its share has space."""
        self.answers_for = lambda record: record.key < 1 << 20
        self.fill(OWN, *((1 << 200) + key for key in range(60)))
        full = len(self.store)
        self.assertEqual(self.fill(1, 1), [1])
        gone = full + 1 - len(self.store)
        self.assert_about(gone, 12)
        self.assertEqual(self.fill(OWN, *range(10, 14)), list(range(10, 14)))

    def test_looks_at_few(self) -> None:
        """Refusals for want of share cause at most one search for evictable records a second."""
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
        """A record that another writer replaces uses that writer's share."""
        self.fill(1, *range(self.ALONE + 5))
        self.assertEqual(self.offer(self.store, self.one(5, 2, version=2)), [HELD])
        tables = self.store._tables
        assert tables is not None
        with tables.env.begin() as txn:
            (share,) = (tables.share(txn, tag) for tag in self.store._format.tags(2, b""))
        self.assertEqual(share, self.TAKES)

    def test_copy(self) -> None:
        """A copy with a longer life uses the share of the first writer: the node that republishes needs
        none."""
        first = self.one(500, 1, b"abc")
        self.offer(self.store, first)
        self.fill(2, *range(self.ALONE + 5))
        copy = evolve(first, expires_at=NOW + 90, writer=2, writer_subnet=b"xyz")
        self.assertEqual(self.offer(self.store, copy), [HELD])
        held = self.store.get(500, NOW + 80)
        self.assertEqual(held and (held.writer, held.writer_subnet), (1, b"abc"))

    def test_churn(self) -> None:
        """However records come, grow, change writers, expire and are evicted, the table of writers is
        exact."""
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
        """The invariants detect a table of writers that does not match the records."""
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
        """After 16 writers in these subnets have written as much as is accepted: how many of 200 honest
        STOREs from elsewhere are held, and of 200 of the node's own clients."""
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
        """Writers on one host leave half of the store."""
        self.assertEqual(self.left_for_others([b"abc"]), (200, 200))

    def test_many_subnets(self) -> None:
        """Writers in a subnet each do not shut others out, either, even if they fill all they can first."""
        honest, own = self.left_for_others([bytes([8, n, 0]) for n in range(16)])
        self.assertGreater(honest, 30)
        self.assertEqual(own, 200)

    def test_one_gateway(self) -> None:
        """Of one gateway 1,200 of the longest values are held, as many as it offers each of five nodes."""
        store = self.open()
        self.answers_for = lambda record: True
        for start in range(0, 1_200, 100):
            offers = (record(start + n, os.urandom(MAX_VALUE), writer=1) for n in range(100))
            self.assertEqual(
                set(self.offer(store, *(evolve(one, writer_subnet=bytes([127, 0, 0, 1])) for one in offers))),
                {HELD},
            )
