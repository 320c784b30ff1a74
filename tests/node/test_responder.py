import random
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from dht14.database.limits import RESERVE
from dht14.kademlia.contact import Contact
from dht14.kademlia.keyspace import hash_id
from dht14.kademlia.parameters import MAX_INLINE_VALUE, REPLICATION, K
from dht14.kademlia.routing_table import RoutingTable
from dht14.node.network_time import TOLERANCE, NetworkTime
from dht14.node.responder import CACHE_SECONDS, Responder, cache_lifetime
from dht14.node.transfers import Download, Transfer, Upload
from dht14.records.record import Kind, Record, version_at
from dht14.records.signing import verify_signature
from dht14.records.store import Outcome, Refusal, Verdict
from dht14.records.version_floors import NO_FLOOR, Floor
from dht14.security.identity import public_key_in
from dht14.security.subnets import public_subnet
from dht14.security.tickets import Tickets
from dht14.sim.memory_store import RECORD_OVERHEAD, MemoryStore
from dht14.wire.messages import (
    NO_TICKET,
    FindNode,
    FindValue,
    Lapsed,
    LargeValue,
    Nodes,
    Offer,
    Outranked,
    Ping,
    Pong,
    Refused,
    Reply,
    Request,
    Resync,
    Resynced,
    Store,
    Stored,
    Value,
    Wanted,
    fingerprint,
    view_of,
)
from tests.fakes import BEGINNING, contact, contact_at
from tests.owners import Owner

OWN = 1 << 200
ASKER = contact(1 << 255, 99)
NOW = BEGINNING
VERSION = version_at(NOW)
VERSIONS = NetworkTime(lambda: NOW, lambda: NOW)
CONTENT = b"content"
CONTENT_KEY = hash_id(CONTENT)
RECEIPT = Stored((), replication=3)
INVALID = Refused((), Refusal.INVALID)


class LateStore:
    """A store that knows only later what became of a record."""

    def __init__(self) -> None:
        self.offers: list[Callable[[Verdict], None]] = []

    def offer(self, record: Record, now: float, on_verdict: Callable[[Verdict], None]) -> None:
        self.offers.append(on_verdict)

    def get(self, key: int, now: float) -> Record | None:
        return None

    def floor(self, key: int, now: float) -> Floor:
        return NO_FLOOR

    def expire(self, now: float) -> int:
        return 0


class ResponderTestCase(SynchronousTestCase):
    """A node that holds values, and one that does not."""

    def setUp(self) -> None:
        self.table = RoutingTable(OWN)
        self.store = MemoryStore(OWN, 100_000, lambda record: True)
        self.tickets: Tickets[Transfer] = Tickets(random.Random(1))
        self.node = Responder(self.table, self.store, 100, self.tickets, VERSIONS)
        self.bootstrap = Responder(self.table, None, 100, self.tickets, VERSIONS)

    def ask(self, request: Request, asker: Contact = ASKER, responder: Responder | None = None) -> Reply:
        replies: list[Reply] = []
        (responder or self.node).answer(request, asker, NOW, replies.append)
        (reply,) = replies
        return reply

    def meet(self, *ids: int) -> list[Contact]:
        met = [contact(node_id, number) for number, node_id in enumerate(ids, 1)]
        for one in met:
            self.table.confirmed(one, NOW, 0.01)
        return met

    def store_request(self, key: int, value: bytes = b"value", version: int = VERSION, **other: Any) -> Store:
        parts = {"ttl_ms": 50_000, "replication": 3, "neighbours": 0} | other
        return Store(key, version, value=value, **parts)

    def held(self, key: int) -> Record:
        record = self.store.get(key, NOW)
        assert record is not None
        return record


class QuestionTests(ResponderTestCase):
    def test_ping(self) -> None:
        """PING is answered by everybody, with what its clock says."""
        for responder in (self.node, self.bootstrap):
            self.assertEqual(self.ask(Ping(), responder=responder), Pong(int(NOW * 1000)))

    def test_find_node(self) -> None:
        """FIND_NODE is answered with the k nearest known, nearest first, without the asker."""
        met = self.meet(*range(1, 40))
        self.table.confirmed(ASKER, NOW, 0.01)
        target = ASKER.node_id
        for responder in (self.node, self.bootstrap):
            reply = self.ask(FindNode(target), responder=responder)
            assert isinstance(reply, Nodes)
            nearest = sorted(met, key=lambda c: c.node_id ^ target)[:K]
            self.assertEqual(list(reply.contacts), nearest)

    def test_nobody_known(self) -> None:
        """Who knows nobody says so."""
        self.assertEqual(self.ask(FindNode(1)), Nodes(()))
        self.assertEqual(self.ask(FindValue(1)), Nodes(()))

    def test_suspects(self) -> None:
        """Contacts that did not answer lately are not passed on."""
        dead, alive = self.meet(1, 2)
        self.table.failed(dead, NOW)
        self.assertEqual(self.ask(FindNode(0)), Nodes((alive,)))

    def test_find_value(self) -> None:
        """FIND_VALUE is answered with the record and the milliseconds it still has to live."""
        self.store.offer(
            Record(key=7, value=b"value", version=VERSION, expires_at=NOW + 12.5, replication=4),
            NOW,
            lambda verdict: None,
        )
        self.assertEqual(self.ask(FindValue(7)), Value(VERSION, 12_500, 4, True, b"value"))

    def test_lapsed(self) -> None:
        """Where the record has expired, FIND_VALUE is answered with what is not to come back, and contacts."""
        near = self.meet(8)
        self.store.offer(
            Record(key=7, value=b"value", version=VERSION, expires_at=NOW - 1 + 5, replication=4),
            NOW - 10,
            lambda verdict: None,
        )
        replies: list[Reply] = []
        self.node.answer(FindValue(7), ASKER, NOW + 5, replies.append)
        self.assertEqual(replies, [Lapsed(tuple(near), Kind.OPEN, VERSION)])

    def test_current(self) -> None:
        """A holder says whether it has missed writes, until the others have brought them; so do its receipts."""
        self.ask(self.store_request(0))
        self.node._freshness.missed_writes((5, 6), NOW)
        for sender, current in ((5, False), (6, True)):
            reply, receipt = self.ask(FindValue(0)), self.ask(self.store_request(7))
            assert isinstance(reply, Value) and isinstance(receipt, Stored)
            self.assertEqual((reply.current, receipt.current), (False, False))
            self.assertIsInstance(self.ask(Resynced(), contact(sender, sender)), Pong)
            self.assertIs(self.node._freshness.is_current, current)

    def test_resync(self) -> None:
        """Who asks for what it missed is heard; a node that holds no values has nothing to give."""
        self.assertIsInstance(self.ask(Resync()), Pong)
        self.assertEqual(self.node._freshness.askers((ASKER.node_id,), NOW), {ASKER.node_id: ASKER})
        self.assertEqual(self.ask(Resync(), responder=self.bootstrap), Refused((), Refusal.NO_VALUES))

    def test_nearer(self) -> None:
        """A holder names the nodes of its group that the asker does not know, the nearest first."""
        met = self.meet(*range(1, 7))
        self.ask(self.store_request(0))
        for known, expected in (
            ((1, 2, 3, 4, 5), ()),
            ((1, 2, 4, 5), (met[2],)),
            ((), tuple(met[:5])),
            ((1, 2, 3, 4, OWN), (met[4],)),
        ):
            reply = self.ask(FindValue(0, view_of(known)))
            assert isinstance(reply, Value)
            self.assertEqual(reply.nearer, expected, known)
        self.assertEqual(self.value_for(met[2], (1, 2, 4, 5)).nearer, (), "not the asker itself")

    def value_for(self, asker: Contact, known: tuple[int, ...]) -> Value:
        reply = self.ask(FindValue(0, view_of(known)), asker)
        assert isinstance(reply, Value)
        return reply

    def test_nearer_that_fit(self) -> None:
        """Beside a value of the greatest length one of them is named: it knows the others."""
        met = self.meet(*range(1, 7))
        self.ask(self.store_request(0, bytes(MAX_INLINE_VALUE)))
        reply = self.ask(FindValue(0))
        assert isinstance(reply, Value)
        self.assertEqual(reply.nearer, tuple(met[:1]))

    def test_expired(self) -> None:
        """A record that has expired is not there any more, nor is one with no whole millisecond left."""
        self.meet(1)
        near = (contact(1, 1),)
        lapsed = Lapsed(near, Kind.OPEN, VERSION - 1)
        for key, expires_at, reply in ((7, NOW + 0.0004, Nodes(near)), (8, NOW, lapsed)):
            self.store.offer(
                Record(key=key, value=b"value", version=VERSION - 1, expires_at=expires_at, replication=4),
                NOW - 10,
                lambda verdict: None,
            )
            self.assertEqual(self.ask(FindValue(key)), reply)

    def test_bootstrap_values(self) -> None:
        """A bootstrap node answers FIND_VALUE with contacts."""
        self.meet(1)
        self.assertEqual(
            self.ask(FindValue(7), responder=self.bootstrap), Nodes((contact(1, 1),), holds_values=False)
        )


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

    def test_versioned_content(self) -> None:
        """Content has version 0: with another one its copies would not be the same to everybody."""
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

    def test_copies_replaced(self) -> None:
        """A receipt tells how many copies the record had that it replaced, where those were more."""
        self.ask(self.store_request(7, replication=20))
        reply = self.ask(self.store_request(7, b"new", VERSION + 1))
        self.assertEqual(reply, Stored((), replication=20))
        self.assertEqual(self.held(7).replication, 3)

    def test_full(self) -> None:
        """A full node refuses."""
        self.store.limit = 1
        self.assertIsInstance(self.ask(self.store_request(7)), Refused)

    def test_share(self) -> None:
        """A writer that holds its share of the store is refused, and turns to others; other writers are not."""
        self.store.limit = 8 * (RECORD_OVERHEAD + 100) * RESERVE // (RESERVE - 1) + 1
        replies = [self.ask(self.store_request(key, bytes(100))) for key in range(1, 6)]
        self.assertEqual(replies, [RECEIPT] * 4 + [Refused((), Refusal.SHARE)])
        self.assertEqual(self.ask(self.store_request(5), contact(3, 3)), RECEIPT)

    def test_stray(self) -> None:
        """A STORE is refused where twice as many as shall hold the record are nearer, and as many as a read asks;
        one fewer, and it is held."""
        for replication, limit in ((5, 10), (4, 8), (1, REPLICATION)):
            self.setUp()
            self.meet(*range(1, limit))
            self.assertIsInstance(self.ask(self.store_request(0, replication=replication)), Stored)
            self.meet(*range(1, limit + 1))
            late = self.store_request(0, version=VERSION + 1, replication=replication)
            self.assertIsInstance(self.ask(late), Refused)
            self.assertEqual(self.held(0).version, VERSION)

    def test_leaving(self) -> None:
        """A node that is about to leave takes no more, and tells what it has."""
        self.ask(self.store_request(0))
        self.node.store_no_more()
        self.assertIsInstance(self.ask(self.store_request(1)), Refused)
        self.assertIsInstance(self.ask(FindValue(0)), Value)

    def test_noted(self) -> None:
        """What others bring is noted as seen to; a cached copy is not."""
        self.ask(self.store_request(0))
        self.ask(self.store_request(CONTENT_KEY, CONTENT, replication=0))
        self.assertEqual([self.node._diary.knows(key) for key in (0, CONTENT_KEY)], [True, False])

    def test_bootstrap(self) -> None:
        """A bootstrap node refuses, and tells who may hold the value all the same."""
        met = self.meet(1, 2, 4, 8)
        reply = self.ask(self.store_request(0), responder=self.bootstrap)
        self.assertEqual(reply, Refused(tuple(met[:3]), Refusal.NO_VALUES))

    def test_receipt_comes_later(self) -> None:
        """The receipt is given when the store says so, not before."""
        store = LateStore()
        replies: list[Reply] = []
        Responder(self.table, store, 100, self.tickets, VERSIONS).answer(
            self.store_request(7), ASKER, NOW, replies.append
        )
        self.assertEqual(replies, [])
        (tell,) = store.offers
        tell(Verdict(Outcome.HELD, VERSION))
        self.assertEqual(replies, [Stored(())])


class OwnerTests(ResponderTestCase):
    """Records that only one may write."""

    owner = Owner(1)

    def write(self, payload: bytes, seq: int, cas: int | None = None, **other: Any) -> Reply:
        value = self.owner.says(payload, seq, cas)
        return self.ask(self.store_request(self.owner.key, value, **{"version": seq} | other))

    def test_held(self) -> None:
        """What its owner has signed is held, and told to who asks; a tombstone too."""
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

    def test_stray_first(self) -> None:
        """The signature of a stray is not even looked at: it costs more than all the rest."""
        self.meet(*(self.owner.key ^ n for n in range(1, 9)))
        verify_signature.cache_clear()
        self.assertIsInstance(self.write(b"payload", 1), Refused)
        self.assertEqual(verify_signature.cache_info().misses, 0)


class CacheTests(ResponderTestCase):
    """Copies that nobody counts on."""

    def cache(self, ttl: float = 7200.0, value: bytes = CONTENT, key: int = CONTENT_KEY) -> Reply:
        self.node = Responder(self.table, self.store, 86_400, self.tickets, VERSIONS)
        version = 0 if value == CONTENT else VERSION
        return self.ask(self.store_request(key, value, version, replication=0, ttl_ms=int(ttl * 1000)))

    def meet_nearer(self, count: int) -> None:
        self.meet(*(CONTENT_KEY ^ n for n in range(1, count + 1)))

    def test_lifetime(self) -> None:
        """It lives an hour at most, half as long for each node nearer beyond the holders, and no longer than the record."""
        for nearer, ttl, lifetime in (
            (REPLICATION, 7200.0, CACHE_SECONDS),
            (REPLICATION + 1, 7200.0, CACHE_SECONDS / 2),
            (REPLICATION + 3, 7200.0, CACHE_SECONDS / 8),
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
        """A reader sees that it is a cached copy, and a real one takes its place."""
        self.cache()
        reply = self.ask(FindValue(CONTENT_KEY))
        assert isinstance(reply, Value)
        self.assertEqual(reply.replication, 0)
        self.ask(self.store_request(CONTENT_KEY, CONTENT, 0, ttl_ms=7_200_000))
        self.assertEqual(self.held(CONTENT_KEY).replication, 3)
        self.cache()
        self.assertEqual(self.held(CONTENT_KEY).replication, 3)


class NeighbourhoodTests(ResponderTestCase):
    """What a writer learns of the key's neighbourhood."""

    KEY = 0

    def nearer(self, ids: list[int], replication: int = 3, writer: Contact = ASKER) -> tuple[Contact, ...]:
        request = self.store_request(self.KEY, neighbours=fingerprint(ids), replication=replication)
        reply = self.ask(request, writer)
        assert isinstance(reply, Stored)
        return reply.nearer

    def test_same(self) -> None:
        """A writer that means the same nodes is told nothing: the three nearest of all, us and it included."""
        self.meet(1, 2, OWN + 1)
        self.assertEqual(self.nearer([2, OWN, 1]), ())

    def test_writer_is_near(self) -> None:
        """A writer that is itself one of the nearest counts."""
        writer = contact(3, 3)
        self.meet(1, 2, OWN + 1)
        self.assertEqual(self.nearer([1, 2, 3], writer=writer), ())

    def test_differs(self) -> None:
        """A writer that does not know somebody nearer is told of the nearest ones, without itself."""
        one, two, far = self.meet(1, 2, OWN + 1)
        self.assertEqual(self.nearer([1, OWN, OWN + 1]), (one, two, far))
        self.table.confirmed(ASKER, NOW, 0.01)
        self.assertEqual(self.nearer([1], replication=20), (one, two, far))

    def test_knows_less(self) -> None:
        """A node that knows nobody tells nothing new, whatever the writer means."""
        self.assertEqual(self.nearer([5, 6, 7]), ())


class LargeValueTests(ResponderTestCase):
    """Values that fit no datagram: what is told of them, and what tickets are worth."""

    VALUE = bytes(range(250)) * 20

    def offer(self, value: bytes = VALUE, key: int = 5, version: int = VERSION, copy: bool = False) -> Offer:
        neighbours = fingerprint(sorted({ASKER.node_id, OWN}, key=key.__xor__)[:3])
        digest = sha256(value).digest()
        return Offer(key, version, 60_000, 3, neighbours, False, len(value), digest, copy)

    def redeemed(self, reply: Reply, asker: Contact = ASKER) -> Transfer | None:
        assert isinstance(reply, (Wanted, LargeValue))
        return self.node.redeem(reply.ticket, public_key_in(asker.proof), NOW)

    def take(self, value: bytes, later: float = 0.0, offer: Offer | None = None) -> Reply:
        """The answer to a value that was offered and comes so much later."""
        errand = self.redeemed(self.ask(offer or self.offer()))
        assert isinstance(errand, Upload)
        replies: list[Reply] = []
        self.node.take(errand, value, NOW + later, replies.append)
        return replies[0]

    def test_wanted(self) -> None:
        """What is not held is wanted, with a ticket if it fits no STORE."""
        self.assertEqual(self.ask(self.offer(b"small")), Wanted((), NO_TICKET))
        reply = self.ask(self.offer())
        self.assertEqual(self.redeemed(reply), Upload(self.offer(), ASKER, NOW))

    def test_not_wanted(self) -> None:
        """For what is held, what has lost, and what is for others to hold no ticket is given out."""
        self.take(self.VALUE)
        self.assertEqual(self.ask(self.offer(copy=True)), RECEIPT)
        self.assertEqual(self.ask(self.offer(version=VERSION - 1)), Outranked(VERSION, ()))
        self.assertEqual(self.ask(self.offer(), responder=self.bootstrap), Refused((), Refusal.NO_VALUES))
        self.assertEqual(len(self.tickets), 0)

    def test_taken(self) -> None:
        """A value that comes is held as it was offered; its time has run since."""
        self.assertEqual(self.take(self.VALUE, later=20), RECEIPT)
        held = self.store.get(5, NOW)
        assert held is not None
        self.assertEqual((held.value, held.version, held.replication), (self.VALUE, VERSION, 3))
        self.assertEqual((held.expires_at, held.writer), (NOW + 60, ASKER.node_id))

    def test_not_taken(self) -> None:
        """Not so another value, and one whose time is over."""
        self.assertEqual(self.take(self.VALUE[::-1]), INVALID)
        self.assertEqual(self.take(self.VALUE, later=60), INVALID)
        self.assertIsNone(self.store.get(5, NOW))

    def test_versioned_content(self) -> None:
        """Content of a version other than 0 is refused when it is offered, and given no ticket; where it cannot be told
        without the value, when that comes."""
        key = hash_id(self.VALUE)
        self.assertEqual(self.ask(self.offer(key=key, version=1)), INVALID)
        self.assertEqual(len(self.tickets), 0)
        self.assertEqual(self.take(self.VALUE, offer=self.offer(key=key, version=0)), RECEIPT)
        name = b"dht14/own" + bytes(32)
        self.assertEqual(self.ask(self.offer(name, hash_id(name))), Wanted((), NO_TICKET))
        disguised = bytes(len(name))
        self.assertEqual(self.ask(self.offer(disguised, hash_id(disguised))), Wanted((), NO_TICKET))
        self.assertEqual(self.ask(self.store_request(hash_id(disguised), disguised)), INVALID)

    def test_conflicts(self) -> None:
        """An owner's envelope is judged as in a STORE: verified, and no other one overwritten by it."""
        owner = Owner()
        # The second wins the order of copies, and so is wanted at first.
        both = [owner.says(payload, 2) for payload in (self.VALUE, self.VALUE[::-1])]
        envelopes = sorted(both, key=lambda envelope: sha256(envelope).digest())
        offers = [attrs.evolve(self.offer(e, owner.key, 2), owned=True) for e in envelopes]
        self.assertIsInstance(self.take(envelopes[0], offer=offers[0]), Stored)
        self.assertIsInstance(self.take(envelopes[1], offer=attrs.evolve(offers[1], version=3)), Refused)
        self.assertIsInstance(self.take(envelopes[1], offer=offers[1]), Outranked)

    def test_told(self) -> None:
        """Of a large value its asker is told what it is, and given a ticket for it."""
        self.take(self.VALUE)
        reply = self.ask(FindValue(5))
        assert isinstance(reply, LargeValue)
        digest = sha256(self.VALUE).digest()
        expected = LargeValue(VERSION, 60_000, 3, True, False, len(self.VALUE), digest, reply.ticket)
        self.assertEqual(reply, expected)
        errand = self.redeemed(reply)
        assert isinstance(errand, Download)
        self.assertEqual(self.node.give(errand, NOW), self.VALUE)

    def test_not_given(self) -> None:
        """What has been overwritten since, or has expired, is not given."""
        self.take(self.VALUE)
        errand = self.redeemed(self.ask(FindValue(5)))
        assert isinstance(errand, Download)
        self.assertIsNone(self.node.give(errand, NOW + 60))
        self.take(self.VALUE[::-1], offer=self.offer(self.VALUE[::-1], version=VERSION + 1))
        self.assertIsNone(self.node.give(errand, NOW))


class CacheLifetimeTests(SynchronousTestCase):
    def test_halved(self) -> None:
        """An hour at the most, halved for each node that is nearer and does not hold the record anyway."""
        lifetimes = [cache_lifetime(1e6, nearer, holders=8) for nearer in (0, 8, 9, 11)]
        self.assertEqual(lifetimes, [CACHE_SECONDS / n for n in (1, 1, 2, 8)])

    def test_never_longer(self) -> None:
        """No cached copy outlives its record."""
        self.assertEqual(cache_lifetime(5.0, 0, holders=8), 5.0)
