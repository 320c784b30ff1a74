import random
from itertools import permutations

from twisted.trial.unittest import SynchronousTestCase

from dht14.database.limits import EVICTION_TRIES
from dht14.kademlia.keyspace import hash_id, id_to_bytes
from dht14.records.record import Kind, Record, version_at
from dht14.records.store import BEGINNING, PAGE_RECORDS, Outcome, Page, Refusal, Verdict
from dht14.records.version_floors import FLOOR_MARGIN, NO_FLOOR, Floor
from dht14.sim.memory_store import RECORD_OVERHEAD, MemoryStore
from tests.owners import Owner

NOW = 1_700_000_000.0
CONTENT = b"content"
CONTENT_KEY = hash_id(CONTENT)


def record(
    key: int = 5,
    value: bytes = b"v",
    version: int = 1,
    ttl: float = 60.0,
    copies: int = 8,
    writer: int = 0,
    subnet: bytes = b"",
) -> Record:
    return Record(
        key=key,
        value=value,
        version=version,
        expires_at=NOW + ttl,
        replication=copies,
        writer=writer,
        writer_subnet=subnet,
    )


def room_for(count: int, value_size: int = 1) -> int:
    return count * (RECORD_OVERHEAD + value_size)


class StoreTestCase(SynchronousTestCase):
    """A store of the node 0: the distance of a key is the key. It answers for keys below 1000."""

    def setUp(self) -> None:
        self.store = MemoryStore(0, 1 << 20, lambda record: record.key < 1000)

    def tearDown(self) -> None:
        self.store.check_invariants()

    def offer(self, record: Record, now: float = NOW) -> Outcome:
        return self.verdict(record, now).outcome

    def verdict(self, record: Record, now: float = NOW) -> Verdict:
        verdicts: list[Verdict] = []
        self.store.offer(record, now, verdicts.append)
        (verdict,) = verdicts
        return verdict

    def limit(self, limit: int) -> None:
        self.store.limit = limit


class HoldTests(StoreTestCase):
    def test_held(self) -> None:
        """A record that is held is found, and counts with its overhead."""
        self.assertEqual(self.verdict(record(value=b"abc")), Verdict(Outcome.HELD, 1, replication=8))
        self.assertEqual(self.store.get(5, NOW), record(value=b"abc"))
        self.assertIsNone(self.store.get(6, NOW))
        self.assertEqual((len(self.store), self.store.size), (1, RECORD_OVERHEAD + 3))

    def test_overwritten(self) -> None:
        """A newer record replaces an older one, never the reverse."""
        self.offer(record(version=1, value=b"long before"))
        self.assertEqual(self.verdict(record(version=2)), Verdict(Outcome.HELD, 2, replication=8))
        self.assertEqual(self.verdict(record(version=1)), Verdict(Outcome.OUTRANKED, 2))
        self.assertEqual((self.store.get(5, NOW), len(self.store)), (record(version=2), 1))

    def test_again(self) -> None:
        """The same record again changes nothing."""
        self.offer(record())
        self.assertEqual(self.verdict(record()), Verdict(Outcome.HELD, 1, replication=8))
        self.assertEqual(self.store.size, RECORD_OVERHEAD + 1)

    def test_longest_life(self) -> None:
        """Of copies of one write the one with the longest life is kept, in any order."""
        copies = [record(ttl=60.0), record(ttl=90.0), record(ttl=90.0, copies=9), record(ttl=30.0)]
        for order in permutations(copies):
            store = MemoryStore(0, 1 << 20, lambda record: True)
            for one in order:
                store.offer(one, NOW, lambda verdict: self.assertIs(verdict.outcome, Outcome.HELD))
            self.assertEqual(store.get(5, NOW), record(ttl=90.0, copies=9))

    def test_content_again(self) -> None:
        """Content that is put again lives on, whatever version is claimed for it."""
        self.offer(record(CONTENT_KEY, CONTENT, version=version_at(NOW), ttl=60.0))
        self.assertIs(self.offer(record(CONTENT_KEY, CONTENT, version=0, ttl=900.0)), Outcome.HELD)
        self.assertIsNotNone(self.store.get(CONTENT_KEY, NOW + 800))

    def test_content_stays(self) -> None:
        """No other value replaces content, and content replaces any other value."""
        self.offer(record(CONTENT_KEY, b"squatter", version=9))
        self.assertIs(self.offer(record(CONTENT_KEY, CONTENT, version=0)), Outcome.HELD)
        self.assertIs(self.offer(record(CONTENT_KEY, b"squatter", version=10)), Outcome.OUTRANKED)

    def test_versions_are_no_times(self) -> None:
        """A store does not compare versions with the time of day: the highest one is held."""
        for number in (1, version_at(2 * NOW), version_at(2 * NOW) + 1):
            self.assertIs(self.offer(record(version=number)), Outcome.HELD)


class ExpiryTests(StoreTestCase):
    def test_never_served(self) -> None:
        """An expired record is not served, swept or not, and a record that has expired is not held."""
        self.offer(record(ttl=60.0))
        self.assertIsNotNone(self.store.get(5, NOW + 59.9))
        self.assertIsNone(self.store.get(5, NOW + 60))
        self.assertEqual(len(self.store), 1)
        self.assertIs(self.offer(record(6, ttl=0.0)), Outcome.REFUSED)

    def test_older_copy(self) -> None:
        """An older copy with a longer life does not come back, swept or not; a newer record is held."""
        for sweep in (True, False):
            self.setUp()
            self.offer(record(version=9, ttl=60.0))
            if sweep:
                self.assertEqual(self.store.expire(NOW + 60), 1)
            for version in (1, 9):
                late = self.verdict(record(version=version, ttl=900.0), NOW + 60)
                self.assertEqual(late, Verdict(Outcome.OUTRANKED, 9))
            self.assertIs(self.offer(record(version=10, ttl=900.0), NOW + 60), Outcome.HELD)
            self.assertIs(self.offer(record(version=8, ttl=999.0), NOW + 901), Outcome.OUTRANKED)

    def test_older_copy_below_an_owner(self) -> None:
        """When an owner's record has expired, no open record and no older one of the owner comes back."""
        owner = Owner(1)
        self.offer(owner.record(b"", 9, NOW + 60))
        for late in (record(owner.key, ttl=900.0), owner.record(b"older", 8, NOW + 900)):
            self.assertIs(self.offer(late, NOW + 60), Outcome.OUTRANKED)
        self.assertIs(self.offer(owner.record(b"newer", 10, NOW + 900), NOW + 60), Outcome.HELD)

    def test_lapsed(self) -> None:
        """A record that is over for others is dropped, and leaves their floor; not what has replaced it."""
        held = record(version=3, ttl=900.0)
        self.offer(held)
        self.store.lapse(record(version=2, ttl=900.0), Floor(Kind.OPEN, 9), NOW)
        self.assertEqual(self.store.get(5, NOW), held)
        self.store.lapse(held, Floor(Kind.OPEN, 9), NOW)
        self.assertIsNone(self.store.get(5, NOW))
        self.assertEqual(self.store.floor(5, NOW), Floor(Kind.OPEN, 9))
        self.assertEqual(self.verdict(record(version=8, ttl=900.0)), Verdict(Outcome.OUTRANKED, 9))
        self.assertIs(self.offer(record(version=10)), Outcome.HELD)

    def test_floor(self) -> None:
        """The floor of an expired record, swept or not, has its kind and version."""
        self.offer(record(version=9, ttl=60.0))
        self.assertEqual(self.store.floor(5, NOW + 59), NO_FLOOR)
        self.assertEqual(self.store.floor(6, NOW + 60), NO_FLOOR)
        for _ in range(2):
            self.assertEqual(self.store.floor(5, NOW + 60), Floor(Kind.OPEN, record(version=9).version))
            self.store.expire(NOW + 60)

    def test_brief(self) -> None:
        """A record that arrives with seconds to live is brief; one that has lived longer is not, even if a
        copy arrives near its end."""
        self.offer(record(5, ttl=29.0))
        self.offer(record(6, ttl=31.0))
        self.assertEqual([self.held(key).is_brief for key in (5, 6)], [True, False])
        self.offer(record(6, ttl=32.0), NOW + 10)
        self.assertFalse(self.held(6, NOW + 10).is_brief)
        self.offer(record(5, ttl=300.0))
        self.assertFalse(self.held(5).is_brief)

    def held(self, key: int, now: float = NOW) -> Record:
        found = self.store.get(key, now)
        assert found is not None
        return found

    def test_below_content(self) -> None:
        """Content comes back whenever it is put, and does not change the floor of open values."""
        self.offer(record(CONTENT_KEY, b"open", version=9, ttl=10.0))
        for seconds in (20.0, 40.0):
            self.assertIs(
                self.offer(record(CONTENT_KEY, CONTENT, 0, ttl=seconds + 10), NOW + seconds), Outcome.HELD
            )
        self.assertIs(self.offer(record(CONTENT_KEY, b"older", 8, ttl=900.0), NOW + 60), Outcome.OUTRANKED)

    def test_floor_is_forgotten(self) -> None:
        """Once no older copy can be alive, floors are forgotten."""
        self.store = MemoryStore(0, 1 << 20, lambda record: True, max_ttl=100.0)
        self.offer(record(version=9, ttl=60.0))
        after = NOW + 60 + 100 + FLOOR_MARGIN
        self.assertEqual(
            [self.store.floor(5, after - 1) == NO_FLOOR, self.store.floor(5, after)], [False, NO_FLOOR]
        )
        self.assertIs(self.offer(record(version=1, ttl=9e9), after - 1), Outcome.OUTRANKED)
        self.assertIs(self.offer(record(version=1, ttl=9e9), after), Outcome.HELD)

    def test_evicted_comes_back(self) -> None:
        """A record that is evicted before it expires leaves no floor."""
        self.limit(room_for(1))
        self.offer(record(1500, version=9))
        self.offer(record(5))
        self.limit(room_for(2))
        self.assertIs(self.offer(record(1500, version=1)), Outcome.HELD)

    def test_swept(self) -> None:
        """A sweep drops exactly the expired records, and returns their number."""
        for key in range(10):
            self.offer(record(key, ttl=10.0 * key + 1))
        self.assertEqual(self.store.expire(NOW + 45), 5)
        self.assertEqual((len(self.store), self.store.size), (5, room_for(5)))
        self.assertEqual(self.store.expire(NOW + 45), 0)

    def test_overwritten_lives(self) -> None:
        """The deadline of a replaced record does not apply to the new one, nor the reverse."""
        self.offer(record(version=1, ttl=10.0))
        self.offer(record(version=2, ttl=100.0))
        self.assertEqual(self.store.expire(NOW + 50), 0)
        self.offer(record(version=3, ttl=60.0), NOW + 50)
        self.assertEqual(self.store.expire(NOW + 70), 1)

    def test_overwriting_costs_no_memory(self) -> None:
        """A client that overwrites one key for ever uses the space of one record."""
        for version in range(1000):
            self.offer(record(version=version, ttl=1e6 + version % 7))
            self.store.check_invariants()
        self.assertLess(len(self.store._deadlines), 100)
        self.assertEqual(self.store.expire(NOW + 2e6), 1)

    def test_lapsing_costs_no_memory(self) -> None:
        """Records that an offer finds expired leave no deadlines behind."""
        for key in range(200):
            self.offer(record(key, ttl=60.0))
        for key in range(200):
            self.offer(record(key, ttl=60.0), NOW + 61)
            self.store.check_invariants()
        self.assertEqual(len(self.store), 0)


class FullStoreTests(StoreTestCase):
    """A store for ten records of one byte."""

    def setUp(self) -> None:
        super().setUp()
        self.limit(room_for(10))

    def fill(self, *keys: int) -> None:
        for key in keys:
            self.assertIs(self.offer(record(key)), Outcome.HELD)

    def keys(self) -> list[int]:
        return [key for key in range(2000) if self.store.get(key, NOW)]

    def test_refused(self) -> None:
        """A store full of records that the node answers for refuses new ones, and says why."""
        self.fill(*range(10))
        self.assertEqual(self.verdict(record(10)), Verdict(Outcome.REFUSED, 0))
        self.assertEqual(self.keys(), list(range(10)))

    def test_expired_go_first(self) -> None:
        """Expired records are dropped before any other."""
        self.fill(*range(8), 1500)
        self.offer(record(9, ttl=1.0))
        self.assertIs(self.offer(record(10), NOW + 2), Outcome.HELD)
        self.assertEqual(self.keys(), [*range(8), 10, 1500])

    def test_farthest_goes(self) -> None:
        """Then the records that the node does not answer for are dropped, the farthest first."""
        self.fill(*range(7), 1500, 1900, 1700)
        self.fill(8)
        self.assertEqual(self.keys(), [*range(7), 8, 1500, 1700])
        self.fill(9, 10)
        self.assertEqual(self.keys(), [*range(7), 8, 9, 10])
        self.assertIs(self.offer(record(11)), Outcome.REFUSED)

    def test_large_one(self) -> None:
        """A larger record evicts as many as it needs."""
        self.fill(*range(4), *range(1100, 1106))
        self.assertIs(self.offer(record(7, b"x" * (RECORD_OVERHEAD + 2))), Outcome.HELD)
        self.assertEqual(self.keys(), [*range(4), 7, *range(1100, 1104)])

    def test_overwriting_when_full(self) -> None:
        """A record that replaces one of its size needs no space."""
        self.fill(*range(10))
        self.assertIs(self.offer(record(3, b"w", version=2)), Outcome.HELD)

    def test_growing_when_full(self) -> None:
        """A record that grows evicts others; if it cannot, the old one stays, and the verdict has its
        version."""
        self.fill(*range(9), 1500)
        self.assertIs(self.offer(record(3, b"ww", version=2)), Outcome.HELD)
        self.assertEqual(self.keys(), list(range(9)))
        self.assertEqual(self.verdict(record(3, b"w" * 1000, version=3)), Verdict(Outcome.REFUSED, 2))
        self.assertEqual(self.store.get(3, NOW), record(3, b"ww", version=2))

    def test_growing_in_the_place_of_itself(self) -> None:
        """A growing record is not evicted for itself, however far it is: the limit would be exceeded."""
        self.fill(*range(9), 1500)
        self.assertEqual(self.verdict(record(1500, b"w" * 300, version=2)), Verdict(Outcome.REFUSED, 1))
        self.assertEqual(self.store.get(1500, NOW), record(1500))

    def test_tries(self) -> None:
        """The number of records considered for eviction is limited: a full store stays fast."""
        looked_at: list[int] = []

        def answers_for(record: Record) -> bool:
            looked_at.append(record.key)
            return record.key > 100

        self.store = MemoryStore(0, room_for(200), answers_for)
        self.fill(*range(200))
        self.assertIs(self.offer(record(500)), Outcome.REFUSED)
        self.assertEqual(looked_at, list(range(199, 199 - EVICTION_TRIES, -1)))

    def test_cached_first(self) -> None:
        """Cached records are dropped before farther ones, and no record is dropped for a cached one."""
        self.limit(room_for(3))
        self.fill(1, 3000)
        self.offer(record(2000, copies=0))
        self.assertIs(self.offer(record(4000, copies=0)), Outcome.REFUSED)
        self.assertIs(self.offer(record(2)), Outcome.HELD)
        self.assertIsNone(self.store.get(2000, NOW))
        self.assertEqual(self.store.get(3000, NOW), record(3000))


class PageTests(StoreTestCase):
    def test_all(self) -> None:
        """A scan finds all records that have not expired, once each, nearest first."""
        keys = [key * 7 for key in range(3 * PAGE_RECORDS + 5)]
        for key in keys:
            self.offer(record(key))
        self.offer(record(3, ttl=5))
        met: list[int] = []
        pages = 0
        mark: bytes | None = BEGINNING
        while mark is not None:
            page = self.store.page(mark, NOW + 10)
            met += [held.key for held in page.records]
            pages, mark = pages + 1, page.mark
        self.assertEqual((met, pages), (keys, 4))

    def test_empty(self) -> None:
        """An empty store is one empty page, and a full page with nothing after it is the last."""
        self.assertEqual(self.store.page(BEGINNING, NOW), Page([], None))
        for key in range(PAGE_RECORDS):
            self.offer(record(key))
        self.assertIsNone(self.store.page(BEGINNING, NOW).mark)

    def test_changing(self) -> None:
        """Records that stay are found, whatever comes and goes during the scan."""
        for key in range(2 * PAGE_RECORDS):
            self.offer(record(key, ttl=5 if key % 2 else 60))
        page = self.store.page(BEGINNING, NOW)
        assert page.mark is not None
        self.store.expire(NOW + 10)
        self.offer(record(1 << 20), NOW + 10)
        rest = self.store.page(page.mark, NOW + 10)
        even = range(PAGE_RECORDS, 2 * PAGE_RECORDS, 2)
        self.assertEqual([held.key for held in rest.records], [*even, 1 << 20])


class ShareTests(StoreTestCase):
    """A store of the node 77 for 64 records of one byte, 56 of them of others."""

    def setUp(self) -> None:
        self.store = MemoryStore(77, room_for(64), lambda record: record.key < 1000)

    def fill(self, writer: int, *keys: int, subnet: bytes = b"") -> list[int]:
        """Offer a record under each key; return those that were held."""
        return [key for key in keys if self.offer(record(key, writer=writer, subnet=subnet)) is Outcome.HELD]

    def test_alone(self) -> None:
        """A single writer gets half of what others may fill and no more; with another share another part."""
        for share, held in ((1.0, 28), (3.0, 37), (1 / 3, 14)):
            self.setUp()
            self.store.writer_share = share
            self.assertEqual(len(self.fill(1, *range(60))), held)
            self.assertEqual(self.verdict(record(99, writer=1)), Verdict(Outcome.REFUSED, 0, Refusal.SHARE))

    def test_others(self) -> None:
        """Each later writer gets a part of what is left then; the first one cannot grow any more."""
        counts = [len(self.fill(writer, *range(100 * writer, 100 * writer + 60))) for writer in range(1, 6)]
        self.assertEqual(counts, [28, 10, 5, 3, 2])
        self.assertEqual(self.fill(1, 99), [])

    def test_reserve(self) -> None:
        """However many others write, the last eighth is kept for this node's own clients, who have no
        share."""
        for writer in range(1, 30):
            self.fill(writer, *range(30 * writer, 30 * writer + 30))
        self.assertLessEqual(self.store.size, room_for(56))
        self.assertGreaterEqual(self.store.size, room_for(49))
        self.assertEqual(self.verdict(record(990, writer=30)), Verdict(Outcome.REFUSED, 0, Refusal.NO_ROOM))
        self.assertEqual(self.verdict(record(990, writer=1)), Verdict(Outcome.REFUSED, 0, Refusal.SHARE))
        self.assertGreaterEqual(len(self.fill(77, *range(900, 960))), 8)
        self.assertEqual(len(self.store), 64)

    def test_own_clients(self) -> None:
        """This node itself may fill all; others get what remains."""
        self.assertEqual(len(self.fill(77, *range(45))), 45)
        self.assertEqual(len(self.fill(1, *range(100, 120))), 2)
        self.assertEqual(len(self.fill(77, *range(200, 220))), 17)

    def test_subnet(self) -> None:
        """Writers of one subnet together have the share of one of them; those of other subnets have
        theirs."""
        counts = [
            len(self.fill(writer, *range(10 * writer, 10 * writer + 10), subnet=b"abc"))
            for writer in range(1, 6)
        ]
        self.assertEqual((sum(counts), counts[-1]), (28, 0))
        self.assertEqual(len(self.fill(9, *range(100, 160), subnet=b"xyz")), 10)

    def test_provider(self) -> None:
        """The subnets of one IPv6 provider together have one share."""
        counts = [
            len(self.fill(n, *range(10 * n, 10 * n + 10), subnet=bytes([32, 1, 0, 7, 0, n])))
            for n in range(1, 7)
        ]
        self.assertEqual(sum(counts), 28)
        self.assertEqual(len(self.fill(9, *range(100, 160), subnet=bytes([32, 1, 0, 8, 0, 1]))), 10)

    def test_own_record(self) -> None:
        """A writer that has used up its share can replace its records; if the new one is larger the old
        one stays."""
        self.fill(1, *range(28))
        self.assertIs(self.offer(record(4, b"w", version=2, writer=1)), Outcome.HELD)
        larger = record(4, b"ww", version=3, writer=1)
        self.assertEqual(self.verdict(larger), Verdict(Outcome.REFUSED, 2, Refusal.SHARE))
        self.assertEqual(self.store.get(4, NOW), record(4, b"w", version=2))

    def test_expired(self) -> None:
        """Expired records are given back, swept or not."""
        self.fill(1, *range(26))
        for key in (30, 31):
            self.offer(record(key, ttl=key - 27, writer=1))
        self.assertEqual(self.fill(1, 40), [])
        self.assertIs(self.offer(record(40, writer=1), NOW + 3), Outcome.HELD)
        self.assertIs(self.offer(record(41, writer=1), NOW + 3), Outcome.REFUSED)
        self.store.expire(NOW + 4)
        self.assertEqual(self.fill(1, 41, 42), [41])

    def test_evicted(self) -> None:
        """For a new writer records that others hold are evicted, until its share has space; for the
        largest writer nothing is evicted that it could not use."""
        self.fill(77, *range(2000, 2064))
        self.assertEqual(self.fill(1, 1), [1])
        self.assertEqual(len(self.store), 50)
        self.assertIs(self.offer(record(2, bytes(23_000), writer=1)), Outcome.REFUSED)
        self.assertEqual(len(self.store), 50)

    def test_overwritten(self) -> None:
        """A record that another writer replaces uses that writer's share."""
        self.fill(1, *range(28))
        self.assertIs(self.offer(record(4, version=2, writer=2)), Outcome.HELD)
        self.assertEqual((self.fill(1, 50, 51), len(self.fill(2, *range(100, 160)))), ([], 10))
        self.assertEqual(self.store._shares, {id_to_bytes(1): room_for(27), id_to_bytes(2): room_for(11)})

    def test_copy(self) -> None:
        """A copy with a longer life uses the share of the first writer: the node that republishes needs
        none."""
        self.fill(1, 1, subnet=b"abc")
        self.fill(2, *range(10, 60))
        self.assertEqual(self.fill(2, 70), [])
        self.assertIs(self.offer(record(1, ttl=90.0, writer=2)), Outcome.HELD)
        held = self.store.get(1, NOW + 80)
        self.assertEqual(held and (held.writer, held.writer_subnet), (1, b"abc"))

    def test_copies_of_others(self) -> None:
        """A holder that sends the records of many writers, after a neighbour has died, is refused none of
        them while most of the store is free."""
        store = MemoryStore(77, 1 << 30, lambda record: True)
        verdicts: list[Verdict] = []
        for key in range(5_000):
            store.offer(record(key, bytes(60_000), writer=1, subnet=b"abc"), NOW, verdicts.append)
        self.assertEqual({verdict.outcome for verdict in verdicts}, {Outcome.HELD})


class FloodTests(SynchronousTestCase):
    """8 MiB, and writers that cost 5 s of proof of work: 16 ids."""

    def left_for_others(self, subnets: list[bytes]) -> tuple[int, int]:
        """After 16 writers in these subnets have written as much as is accepted: how many of 200 honest
        STOREs from elsewhere are held, and of 200 of the node's own clients."""
        store, rng = MemoryStore(77, 8 << 20, lambda record: True), random.Random(1)
        value = bytes(1_000)

        def held(writer: int, subnet: bytes) -> bool:
            verdicts: list[Verdict] = []
            one = Record(
                key=rng.getrandbits(256),
                value=value,
                version=1,
                expires_at=NOW + 60,
                replication=8,
                writer=writer,
                writer_subnet=subnet,
            )
            store.offer(one, NOW, verdicts.append)
            return verdicts[0].outcome is Outcome.HELD

        for writer in range(1, 17):
            while held(1000 + writer, subnets[writer % len(subnets)]):
                pass
        store.check_invariants()
        honest = sum(held(2000 + n, bytes([9, n, 0])) for n in range(200))
        return honest, sum(held(77, b"") for _ in range(200))

    def test_one_host(self) -> None:
        """Writers on one host leave half of the store."""
        self.assertEqual(self.left_for_others([b"abc"]), (200, 200))

    def test_many_subnets(self) -> None:
        """Writers in a subnet each do not shut others out, either, even if they fill all they can first."""
        honest, own = self.left_for_others([bytes([8, n, 0]) for n in range(16)])
        self.assertGreater(honest, 50)
        self.assertEqual(own, 200)
