from hashlib import sha256
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from dht14.database.limits import RESERVE
from dht14.kademlia.contact import Contact
from dht14.kademlia.keyspace import hash_id
from dht14.kademlia.neighbourhood import Neighbourhood
from dht14.kademlia.parameters import REPLICATION, K
from dht14.kademlia.ping_order import DISPUTE_SPACING
from dht14.node.network_clock import TOLERANCE
from dht14.node.republish_times import RepublishTimes
from dht14.node.responder import Responder
from dht14.node.write_responder import MAX_CACHE_TTL, cache_lifetime
from dht14.records.record import Record, version_at
from dht14.records.signing import verify_signature
from dht14.records.store import Outcome, Refusal, Verdict
from dht14.security.subnets import public_subnet
from dht14.sim.memory_store import RECORD_OVERHEAD, MemoryStore
from dht14.wire.inventory import MAX_ENTRIES
from dht14.wire.messages import (
    FindValue,
    Inventory,
    InventoryEntry,
    Lacking,
    Offer,
    Outranked,
    Refused,
    Reply,
    Store,
    Stored,
    Value,
    fingerprint,
    mark_of,
)
from tests.fakes import contact, contact_at
from tests.node.responder_case import (
    ASKER,
    CONTENT,
    CONTENT_KEY,
    INVALID,
    NOW,
    OWN,
    RECEIPT,
    VERSION,
    VERSIONS,
    LateStore,
    ResponderTestCase,
)
from tests.owners import Owner


class CacheLifetimeTests(SynchronousTestCase):
    def test_halved(self) -> None:
        """An hour at the most, halved for each node that is nearer and does not hold the record anyway."""
        lifetimes = [cache_lifetime(1e6, nearer, holders=8) for nearer in (0, 8, 9, 11)]
        self.assertEqual(lifetimes, [MAX_CACHE_TTL / n for n in (1, 1, 2, 8)])

    def test_never_longer(self) -> None:
        """No cached copy outlives its record."""
        self.assertEqual(cache_lifetime(5.0, 0, holders=8), 5.0)


class StoreTests(ResponderTestCase):
    def test_held(self) -> None:
        """A record is held as it was sent, and its writer gets a receipt; once more, and it gets another."""
        for _ in range(2):
            self.assertIsInstance(self.ask(self.store_request(7)), Stored)
        self.assertEqual(
            self.held(7), Record(key=7, value=b"value", version=VERSION, expires_at=NOW + 50, replication=3)
        )
        self.assertEqual(self.held(7).writer, ASKER.node_id)

    def test_subnet(self) -> None:
        """A record is held with the subnet of its writer, or the host where it is a private one."""
        self.table.subnet_of = public_subnet
        for key, host, subnet in (
            (7, "198.51.100.9", bytes([198, 51, 100])),
            (8, "10.0.0.9", bytes([10, 0, 0, 9])),
            (9, "2001:db8:7::1", bytes.fromhex("20010db80007")),
        ):
            self.ask(self.store_request(key), contact_at(99, (host, 8000)))
            self.assertEqual(self.held(key).writer_subnet, subnet)

    def test_ttl_bounds(self) -> None:
        """No record lives longer than this node's max_ttl; a short life is the writer's affair."""
        self.ask(self.store_request(7, ttl_ms=3_600_000))
        self.ask(self.store_request(8, ttl_ms=1500))
        self.assertEqual([self.held(key).expires_at - NOW for key in (7, 8)], [100.0, 1.5])

    def test_outranked(self) -> None:
        """A record older than the one held is refused with the version to surpass."""
        self.ask(self.store_request(7, b"new", VERSION + 5))
        self.assertEqual(self.ask(self.store_request(7, b"old")), Outranked(VERSION + 5, ()))
        self.assertEqual(self.held(7).value, b"new")

    def test_content(self) -> None:
        """Under the hash of a value no other value is held beside it, however new it is."""
        key = hash_id(b"content")
        self.ask(self.store_request(key, b"content", version=0))
        self.assertIsInstance(self.ask(self.store_request(key, b"other")), Outranked)
        self.assertEqual(self.held(key).value, b"content")

    def test_failed_write(self) -> None:
        """A node whose disk fails tells the writer that readers still get the older record from it."""
        self.ask(self.store_request(1, b"older"))
        failed = Verdict(Outcome.REFUSED, 0)
        self.patch(MemoryStore, "offer", lambda store, record, now, decided: decided(failed))
        refused = self.ask(self.store_request(1, b"newer", version=VERSION + 1))
        self.assertEqual(refused, Refused((), Refusal.NO_ROOM, holds_older=True))
        self.assertEqual(
            self.ask(self.store_request(2, b"new")), Refused((), Refusal.NO_ROOM, holds_older=False)
        )

    def test_versioned_content(self) -> None:
        """Content has version 0: with another one its copies would differ between nodes."""
        key = hash_id(b"content")
        self.assertEqual(self.ask(self.store_request(key, b"content", version=1)), INVALID)
        self.ask(self.store_request(key, b"content", version=0))
        again = self.ask(self.store_request(key, b"content", version=1))
        self.assertEqual(again, Refused((), Refusal.INVALID, holds_older=True))
        self.assertEqual(self.held(key).version, 0)

    def test_from_the_future(self) -> None:
        """A version too far ahead of our clock is refused."""
        ahead = version_at(NOW + TOLERANCE + 1)
        self.assertEqual(self.ask(self.store_request(7, version=ahead)), Refused((), Refusal.VERSION))

    def test_above_what_is_held(self) -> None:
        """What is held can be surpassed, whatever its version: no version holds a key hostage."""
        ahead = version_at(NOW + TOLERANCE)
        self.ask(self.store_request(7, version=ahead))
        self.assertIsInstance(self.ask(self.store_request(7, b"new", ahead + 2)), Refused)
        self.assertIsInstance(self.ask(self.store_request(7, b"new", ahead + 1)), Stored)

    def test_above_what_has_expired(self) -> None:
        """Nor does one that has expired, and is remembered."""
        ahead = version_at(NOW + TOLERANCE + 1)
        expired = Record(key=7, value=b"old", version=ahead, expires_at=NOW - 1, replication=3)
        self.store.offer(expired, NOW - 10, lambda verdict: None)
        self.store.expire(NOW)
        self.assertIsInstance(self.ask(self.store_request(7, b"new", ahead + 2)), Refused)
        self.assertIsInstance(self.ask(self.store_request(7, b"new", ahead + 1)), Stored)

    def test_copies_replaced(self) -> None:
        """A receipt says how many copies the replaced record had, if those were more."""
        self.ask(self.store_request(7, replication=20))
        reply = self.ask(self.store_request(7, b"new", VERSION + 1))
        self.assertEqual(reply, Stored((), replication=20))
        self.assertEqual(self.held(7).replication, 3)

    def test_full(self) -> None:
        """A full node refuses."""
        self.store.limit = 1
        self.assertIsInstance(self.ask(self.store_request(7)), Refused)

    def test_share(self) -> None:
        """A writer that holds its share of the store is refused, and turns to others; other writers are
        not."""
        self.store.limit = 8 * (RECORD_OVERHEAD + 100) * RESERVE // (RESERVE - 1) + 1
        replies = [self.ask(self.store_request(key, bytes(100))) for key in range(1, 6)]
        self.assertEqual(replies, [RECEIPT] * 4 + [Refused((), Refusal.SHARE)])
        self.assertEqual(self.ask(self.store_request(5), contact(3, 3)), RECEIPT)

    def test_too_far(self) -> None:
        """A STORE is refused if twice as many as should hold the record are nearer, and as many as a read
        asks; one fewer, and it is held."""
        for replication, limit in ((5, 10), (4, 8), (1, REPLICATION)):
            self.setUp()
            self.meet(*range(1, limit))
            self.assertIsInstance(self.ask(self.store_request(0, replication=replication)), Stored)
            self.meet(*range(1, limit + 1))
            late = self.store_request(0, version=VERSION + 1, replication=replication)
            self.assertIsInstance(self.ask(late), Refused)
            self.assertEqual(self.held(0).version, VERSION)

    def test_dispute(self) -> None:
        """A node that a contact takes for a holder, though it knows too many nearer ones, asks these whether
        they are alive. It does not for a stranger."""
        near = self.meet(*range(1, 9))
        later = NOW + DISPUTE_SPACING
        self.assertIsInstance(self.ask(self.store_request(0)), Refused)
        self.assertLess(len(self.table.contacts_to_ping(later, 3600)), 5)
        self.table.confirmed(ASKER, NOW, 0.01)
        self.assertIsInstance(self.ask(self.store_request(0)), Refused)
        self.assertLessEqual({*near}, {*self.table.contacts_to_ping(later, 3600)})

    def test_gone(self) -> None:
        """A node whose database file was removed can still read its records. It does not call them stored,
        nor outranked by what it holds."""
        self.ask(self.store_request(5))
        self.patch(MemoryStore, "is_in_place", lambda store: False)
        for version in (VERSION - 1, VERSION, VERSION + 1):
            offer = Offer(5, version, 50_000, 3, 0, False, 5, sha256(b"value").digest(), copy=True)
            self.assertEqual(self.ask(offer), Refused((), Refusal.NO_ROOM, holds_older=True))

    def test_leaving(self) -> None:
        """A node that is about to leave takes no more records, and still answers reads."""
        self.ask(self.store_request(0))
        self.node.stop_storing()
        self.assertIsInstance(self.ask(self.store_request(1)), Refused)
        self.assertIsInstance(self.ask(FindValue(0)), Value)

    def test_noted(self) -> None:
        """What others bring is noted as seen to; a cached copy is not."""
        self.ask(self.store_request(0))
        self.ask(self.store_request(CONTENT_KEY, CONTENT, replication=0))
        self.assertEqual(
            [self.node._republish_times.was_republished(key) for key in (0, CONTENT_KEY)], [True, False]
        )

    def test_bootstrap(self) -> None:
        """A bootstrap node refuses, and still names the nodes that may hold the value."""
        met = self.meet(1, 2, 4, 8)
        reply = self.ask(self.store_request(0), responder=self.bootstrap)
        self.assertEqual(reply, Refused(tuple(met[:3]), Refusal.NO_VALUES))

    def test_receipt_comes_later(self) -> None:
        """The receipt is given when the store says so, not before."""
        store = LateStore()
        replies: list[Reply] = []
        Responder(Neighbourhood(self.table), store, 100, self.tickets, VERSIONS).answer(
            self.store_request(7), ASKER, NOW, replies.append
        )
        self.assertEqual(replies, [])
        (on_verdict,) = store.offers
        on_verdict(Verdict(Outcome.HELD, VERSION))
        self.assertEqual(replies, [Stored(())])


class NeighbourhoodTests(ResponderTestCase):
    """What a writer learns of the key's neighbourhood."""

    KEY = 0

    def nearer(self, ids: list[int], replication: int = 3, writer: Contact = ASKER) -> tuple[Contact, ...]:
        request = self.store_request(self.KEY, neighbours=fingerprint(ids), replication=replication)
        reply = self.ask(request, writer)
        assert isinstance(reply, Stored)
        return reply.nearer

    def test_same(self) -> None:
        """A writer that names the same nodes gets no contacts: the three nearest of all, us and it
        included."""
        self.meet(1, 2, OWN + 1)
        self.assertEqual(self.nearer([2, OWN, 1]), ())

    def test_writer_is_near(self) -> None:
        """A writer that is itself one of the nearest counts."""
        writer = contact(3, 3)
        self.meet(1, 2, OWN + 1)
        self.assertEqual(self.nearer([1, 2, 3], writer=writer), ())

    def test_differs(self) -> None:
        """A writer that lacks a nearer node gets the nearest ones, without itself."""
        one, two, far = self.meet(1, 2, OWN + 1)
        self.assertEqual(self.nearer([1, OWN, OWN + 1]), (one, two, far))
        self.table.confirmed(ASKER, NOW, 0.01)
        self.assertEqual(self.nearer([1], replication=20), (one, two, far))

    def test_knows_less(self) -> None:
        """A node without contacts names none, whatever the writer names."""
        self.assertEqual(self.nearer([5, 6, 7]), ())


class CacheTests(ResponderTestCase):
    """Cached copies."""

    def cache(self, ttl: float = 7200.0, value: bytes = CONTENT, key: int = CONTENT_KEY) -> Reply:
        self.node = Responder(Neighbourhood(self.table), self.store, 86_400, self.tickets, VERSIONS)
        version = 0 if value == CONTENT else VERSION
        return self.ask(self.store_request(key, value, version, replication=0, ttl_ms=int(ttl * 1000)))

    def meet_nearer(self, count: int) -> None:
        self.meet(*(CONTENT_KEY ^ n for n in range(1, count + 1)))

    def test_lifetime(self) -> None:
        """It lives an hour at most, half as long for each node nearer beyond the holders, and no longer than
        the record."""
        for nearer, ttl, lifetime in (
            (REPLICATION, 7200.0, MAX_CACHE_TTL),
            (REPLICATION + 1, 7200.0, MAX_CACHE_TTL / 2),
            (REPLICATION + 3, 7200.0, MAX_CACHE_TTL / 8),
            (REPLICATION, 100.0, 100.0),
        ):
            self.setUp()
            self.meet_nearer(nearer)
            self.assertEqual(self.cache(ttl), Stored(()))
            self.assertEqual(self.held(CONTENT_KEY).expires_at, NOW + lifetime)

    def test_far(self) -> None:
        """A node far away from the key keeps none."""
        self.meet_nearer(K)
        self.assertEqual(self.cache(), INVALID)

    def test_content_only(self) -> None:
        """Of what can change no copy is kept: it would be read after it has."""
        self.assertEqual(self.cache(key=7), INVALID)

    def test_told_apart(self) -> None:
        """A reader sees that it is a cached copy, and a real copy replaces it."""
        self.cache()
        reply = self.ask(FindValue(CONTENT_KEY))
        assert isinstance(reply, Value)
        self.assertEqual(reply.replication, 0)
        self.ask(self.store_request(CONTENT_KEY, CONTENT, 0, ttl_ms=7_200_000))
        self.assertEqual(self.held(CONTENT_KEY).replication, 3)
        self.cache()
        self.assertEqual(self.held(CONTENT_KEY).replication, 3)


class OwnerTests(ResponderTestCase):
    """Records that only one may write."""

    owner = Owner(1)

    def write(self, payload: bytes, seq: int, cas: int | None = None, **other: Any) -> Reply:
        value = self.owner.says(payload, seq, cas)
        return self.ask(self.store_request(self.owner.key, value, **{"version": seq} | other))

    def test_held(self) -> None:
        """A record that its owner has signed is held, and given to readers; a tombstone too."""
        for seq, payload in ((1, b"payload"), (2, b"")):
            self.assertEqual(self.write(payload, seq), RECEIPT)
            value = self.owner.says(payload, seq)
            self.assertEqual(self.ask(FindValue(self.owner.key)), Value(seq, 50_000, 3, True, value))

    def test_forged(self) -> None:
        """What is not signed for this key, with this version, is refused, under whatever key."""
        value = self.owner.says(b"payload", 5)
        for request in (
            self.store_request(self.owner.key, value[:-1] + b"?", 5),
            self.store_request(self.owner.key, value, 6),
            self.store_request(7, value, 5),
            self.store_request(hash_id(value), value, 5),
            self.store_request(self.owner.key, b"DHT14OWN and so on", 5),
            self.store_request(7, b"DHT14OWN", 5),
        ):
            self.assertEqual(self.ask(request), INVALID)
        self.assertEqual(len(self.store), 0)

    def test_numbers(self) -> None:
        """A number that is not above the one held is refused with that; the same bytes again are not."""
        self.assertIsInstance(self.write(b"one", 5), Stored)
        self.assertIsInstance(self.write(b"one", 5), Stored)
        for payload in (b"other", b"another", b"third"):
            self.assertEqual(self.write(payload, 5), Outranked(5, ()))
        self.assertEqual(self.write(b"older", 4), Outranked(5, ()))
        self.assertIsInstance(self.write(b"newer", 6), Stored)

    def test_compare(self) -> None:
        """A write that replaces an older version than the one held is refused, however high its number."""
        self.assertIsInstance(self.write(b"first", 5, cas=4), Stored, "nothing is held")
        self.assertEqual(self.write(b"late", 7, cas=4), Outranked(5, ()))
        self.assertEqual(self.write(b"late", 7, cas=0), Outranked(5, ()))
        self.assertIsInstance(self.write(b"next", 6, cas=5), Stored)
        self.assertIsInstance(self.write(b"later", 9, cas=8), Stored, "what the holder has missed")
        held = self.store.get(self.owner.key, NOW)
        self.assertEqual(held and held.version, 9)

    def test_copies(self) -> None:
        """Of copies only the order decides: of one number the greater hash, in whatever order they come."""
        ends = set()
        for payloads in ((b"x", b"y"), (b"y", b"x")):
            self.setUp()
            for payload in payloads:
                self.write(payload, 5, cas=4, copy=True)
            ends.add(self.ask(FindValue(self.owner.key)))
        self.assertEqual(len(ends), 1)
        self.assertIsInstance(self.write(b"newer", 7, cas=1, copy=True), Stored)

    def test_open(self) -> None:
        """An open value neither replaces an owner's, nor keeps it out."""
        self.ask(self.store_request(self.owner.key))
        self.assertIsInstance(self.write(b"payload", 1), Stored)
        self.assertEqual(self.ask(self.store_request(self.owner.key)), Outranked(1, ()))

    def test_too_far_first(self) -> None:
        """The signature of a stray is not even looked at: it costs more than all the rest."""
        self.meet(*(self.owner.key ^ n for n in range(1, 9)))
        verify_signature.cache_clear()
        self.assertIsInstance(self.write(b"payload", 1), Refused)
        self.assertEqual(verify_signature.cache_info().misses, 0)


class InventoryTests(ResponderTestCase):
    """What this node says to an INVENTORY: entry 0 is a record that it holds."""

    def setUp(self) -> None:
        super().setUp()
        for key in (7, 8):
            self.ask(self.store_request(key))
        self.entry = InventoryEntry(7, mark_of(VERSION, sha256(b"value").digest()), 50, 3)

    def lacking(self, *entries: InventoryEntry) -> list[int]:
        """The indexes of the entries that it wants to be offered."""
        reply = self.ask(Inventory(entries))
        assert isinstance(reply, Lacking)
        return [index for index in range(MAX_ENTRIES) if reply.wants(index)]

    def test_held(self) -> None:
        """It lacks neither the very record, nor a copy that lives a little longer, or has fewer holders."""
        for entry in (
            self.entry,
            evolve(self.entry, ttl_seconds=0),
            evolve(self.entry, ttl_seconds=54),
            evolve(self.entry, replication=1),
        ):
            self.assertEqual(self.lacking(entry), [])

    def test_wanted(self) -> None:
        """It wants other records, older or newer, unknown ones, and copies that add something."""
        self.assertEqual(
            self.lacking(
                self.entry,
                evolve(self.entry, key=9),
                evolve(self.entry, mark=bytes(8)),
                evolve(self.entry, key=8),
                evolve(self.entry, ttl_seconds=60),
                evolve(self.entry, replication=4),
            ),
            [1, 2, 4, 5],
        )

    def test_cached(self) -> None:
        """A cached copy is none of those that the network needs."""
        self.ask(Store(CONTENT_KEY, 0, 50_000, 0, 0, CONTENT))
        entry = InventoryEntry(CONTENT_KEY, mark_of(0, sha256(CONTENT).digest()), 50, 3)
        self.assertEqual(self.lacking(entry), [0])

    def test_large_values(self) -> None:
        """It reads about as much for an inventory as for a FIND_VALUE: the rest must be offered."""
        large, held = bytes(60_000), self.held(7)
        store = MemoryStore(OWN, 1_000_000, lambda record: True)
        for key in (10, 11, 12):
            store.offer(evolve(held, key=key, value=large), NOW, lambda verdict: None)
        self.node = Responder(Neighbourhood(self.table), store, 100, self.tickets, VERSIONS)
        mark = mark_of(VERSION, sha256(large).digest())
        self.assertEqual(self.lacking(*(InventoryEntry(key, mark, 50, 3) for key in (10, 11, 12))), [2])

    def test_refused(self) -> None:
        """A bootstrap node holds nothing, and a node that stops takes nothing."""
        inventory = Inventory((self.entry,))
        self.assertEqual(self.ask(inventory, responder=self.bootstrap), Refused((), Refusal.NO_VALUES))
        self.node.stop_storing()
        self.assertEqual(self.ask(inventory), Refused((), Refusal.LEAVING))

    def test_republished(self) -> None:
        """A record that a peer lists needs no republish of this node: a peer takes care of it."""
        times = RepublishTimes()
        self.node = Responder(Neighbourhood(self.table), self.store, 100, self.tickets, VERSIONS, times)
        self.lacking(self.entry, evolve(self.entry, key=8, mark=bytes(8)))
        self.assertEqual([times.was_republished(key) for key in (7, 8)], [True, False])
