from hashlib import sha256

import attrs

from dht14 import __version__
from dht14.kademlia.contact import Contact
from dht14.kademlia.keyspace import hash_id
from dht14.kademlia.neighbourhood import Neighbourhood
from dht14.node.network_clock import READ_TOLERANCE
from dht14.node.responder import Responder
from dht14.node.transfers import Download, Transfer, Upload
from dht14.node.write_responder import RENEWALS_PER_PARTY
from dht14.records.record import Record, version_at
from dht14.records.store import Outcome, Refusal, Verdict
from dht14.security.identity import public_key_in
from dht14.security.subnets import Scope
from dht14.sim.memory_store import MemoryStore
from dht14.wire.messages import (
    NO_TICKET,
    Describe,
    Described,
    FindValue,
    LargeValue,
    Offer,
    Outranked,
    Ping,
    Pong,
    Refused,
    Reply,
    Resync,
    Stored,
    Wanted,
    fingerprint,
)
from tests.fakes import contact
from tests.node.responder_case import (
    ASKER,
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


class PingTests(ResponderTestCase):
    def test_ping(self) -> None:
        """Every node answers PING with the time of its clock."""
        for responder in (self.node, self.bootstrap):
            self.assertEqual(self.ask(Ping(), responder=responder), Pong(int(NOW * 1000)))

    def test_describe(self) -> None:
        """Every node says which software it runs."""
        for responder in (self.node, self.bootstrap):
            described = self.ask(Describe(), responder=responder)
            self.assertEqual(described, Described(f"dht14/{__version__}".encode()))

    def test_resync(self) -> None:
        """RESYNC is noted; a node that holds no values, or is about to leave, gives nothing."""
        self.assertIsInstance(self.ask(Resync()), Pong)
        self.assertEqual(self.node._resync_state.take_requests((ASKER.node_id,), NOW), {ASKER.node_id: ASKER})
        self.assertEqual(self.ask(Resync(), responder=self.bootstrap), Refused((), Refusal.NO_VALUES))
        self.node.stop_storing()
        self.assertEqual(self.ask(Resync()), Refused((), Refusal.LEAVING))


class LateRenewals(LateStore):
    """Holds what another store holds, and has not written yet what it is offered."""

    def __init__(self, held: MemoryStore) -> None:
        super().__init__()
        self.get = held.get  # type: ignore[method-assign]


class LargeValueTests(ResponderTestCase):
    """Values that do not fit a datagram: how they are advertised, and what tickets are good for."""

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
        transfer = self.redeemed(self.ask(offer or self.offer()))
        assert isinstance(transfer, Upload)
        replies: list[Reply] = []
        self.node.take(transfer, value, NOW + later, replies.append)
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

    def test_over(self) -> None:
        """What is not above the floor of a record that has expired is not wanted; what is above is. A floor
        from the future keeps nothing away."""
        ahead = version_at(NOW + 2 * READ_TOLERANCE)
        for key, version in ((5, VERSION + 2), (6, ahead)):
            expired = Record(key=key, value=b"v", version=version, expires_at=NOW - 1, replication=3)
            self.store.offer(expired, NOW - 10, lambda verdict: None)
        for later in range(3):
            offer = self.offer(b"small", version=VERSION + later)
            self.assertEqual(self.ask(offer), Outranked(VERSION + 2, ()))
        self.assertEqual(self.ask(self.offer(b"small", version=VERSION + 3)), Wanted((), NO_TICKET))
        self.assertEqual(self.ask(self.offer(b"small", key=6)), Wanted((), NO_TICKET))

    def test_taken(self) -> None:
        """A value that comes is held as it was offered; its time has run since."""
        self.assertEqual(self.take(self.VALUE, later=20), RECEIPT)
        held = self.store.get(5, NOW)
        assert held is not None
        self.assertEqual((held.value, held.version, held.replication), (self.VALUE, VERSION, 3))
        self.assertEqual((held.expires_at, held.writer), (NOW + 60, ASKER.node_id))

    def test_renewed(self) -> None:
        """An OFFER of the very value that is held renews it: for as long, and with as many copies, as it
        says. The value need not come again, and goes on using the share of its first writer."""
        self.take(self.VALUE)
        other = contact(1 << 254, 98)
        longer = attrs.evolve(self.offer(), ttl_ms=90_000, neighbours=0)
        self.assertIsInstance(self.ask(longer, other), Stored)
        self.assertEqual((self.held(5).expires_at, self.held(5).writer), (NOW + 90, ASKER.node_id))
        self.assertEqual(self.ask(attrs.evolve(self.offer(), replication=4)), Stored((), replication=4))
        self.assertEqual((self.held(5).expires_at, self.held(5).replication), (NOW + 90, 4))
        self.assertIsInstance(self.ask(attrs.evolve(longer, digest=bytes([255] * 32))), Wanted)
        self.ask(attrs.evolve(longer, ttl_ms=10_000_000))
        self.assertEqual(self.held(5).expires_at, NOW + 100)

    def test_renewed_exactly(self) -> None:
        """What a client puts again lives for as long as that says, also if that is seconds longer. Of copies,
        which travel, such a difference does not count."""
        self.take(self.VALUE)
        copy = attrs.evolve(self.offer(copy=True), ttl_ms=63_000)
        self.assertIsInstance(self.ask(copy), Stored)
        self.assertEqual(self.held(5).expires_at, NOW + 60)
        self.assertIsInstance(self.ask(attrs.evolve(copy, copy=False)), Stored)
        self.assertEqual(self.held(5).expires_at, NOW + 63)

    def test_renewed_late(self) -> None:
        """The receipt of a renewal comes when the store has it."""
        late = LateRenewals(self.store)
        self.take(self.VALUE)
        node = Responder(Neighbourhood(self.table), late, 100, self.tickets, VERSIONS)
        replies: list[Reply] = []
        node.answer(attrs.evolve(self.offer(), ttl_ms=90_000), ASKER, NOW, replies.append)
        self.assertEqual(replies, [])
        late.offers[0](Verdict(Outcome.HELD, VERSION, replication=3))
        self.assertEqual(replies, [RECEIPT])

    def test_renewals_limited(self) -> None:
        """Nobody makes the disk work by offers alone: beyond the share of its host the value is wanted."""
        self.take(self.VALUE)
        node = Responder(Neighbourhood(self.table), self.store, 86_400, self.tickets, VERSIONS)
        longer = (attrs.evolve(self.offer(), ttl_ms=ttl) for ttl in range(100_000, 1_100_000, 10_000))
        replies = [self.ask(offer, responder=node) for offer in longer]
        share = 2 * RENEWALS_PER_PARTY[Scope.PRIVATE_HOST]
        self.assertEqual([isinstance(reply, Stored) for reply in replies], [i < share for i in range(100)])
        self.assertIsInstance(replies[-1], Wanted)

    def test_not_taken(self) -> None:
        """Not so another value, and one whose time is over."""
        self.assertEqual(self.take(self.VALUE[::-1]), INVALID)
        self.assertEqual(self.take(self.VALUE, later=60), INVALID)
        self.assertIsNone(self.store.get(5, NOW))

    def test_versioned_content(self) -> None:
        """Content of a version other than 0 is refused when it is offered, and given no ticket; where it
        cannot be known without the value, when that comes."""
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
        """A reader of a large value gets its metadata and a ticket."""
        self.take(self.VALUE)
        reply = self.ask(FindValue(5))
        assert isinstance(reply, LargeValue)
        digest = sha256(self.VALUE).digest()
        expected = LargeValue(VERSION, 60_000, 3, True, False, len(self.VALUE), digest, reply.ticket)
        self.assertEqual(reply, expected)
        transfer = self.redeemed(reply)
        assert isinstance(transfer, Download)
        self.assertEqual(self.node.give(transfer, NOW), self.VALUE)

    def test_not_given(self) -> None:
        """What has been overwritten since, or has expired, is not given."""
        self.take(self.VALUE)
        transfer = self.redeemed(self.ask(FindValue(5)))
        assert isinstance(transfer, Download)
        self.assertIsNone(self.node.give(transfer, NOW + 60))
        self.take(self.VALUE[::-1], offer=self.offer(self.VALUE[::-1], version=VERSION + 1))
        self.assertIsNone(self.node.give(transfer, NOW))
