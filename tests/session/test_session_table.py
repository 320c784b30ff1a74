import random

from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.contact import Contact
from dht14.security.rate_limiter import TokenBucket
from dht14.session.handshake import SessionKeys
from dht14.session.session import INITIATOR_IDLE, RESPONDER_IDLE, Session
from dht14.session.session_table import (
    EVICTED_AT_ONCE,
    MAX_SESSIONS,
    RESERVED_SESSIONS,
    REST_AFTER,
    SIMULTANEOUS_WINDOW,
    SessionTable,
)

OWN = 100
KEYS = SessionKeys(bytes(32), bytes(range(32)))


class SessionTableTests(SynchronousTestCase):
    """Which sessions are kept, and in which one a node sends."""

    def setUp(self) -> None:
        self.contacts: set[Contact] = set()
        self.sessions = SessionTable(OWN, self.contacts.__contains__)
        self.rng = random.Random(1)

    def make(self, node_id: int, number: int, now: float = 0.0, initiator: bool = True) -> Session:
        contact = Contact(node_id, (f"10.0.{number >> 8}.{number & 255}", 8000))
        bucket, cid = TokenBucket(0, 1, now), self.rng.randbytes(8)
        if initiator:
            return Session.of_initiator(contact, bucket, cid, KEYS, now)
        other_cid = self.rng.randbytes(8)
        return Session.of_responder(contact, bucket, KEYS, now, initiator_cid=other_cid, own_cid=cid)

    def add(self, node_id: int, number: int, now: float = 0.0, initiator: bool = True) -> Session:
        session = self.make(node_id, number, now, initiator)
        self.sessions.add(session, now)
        self.sessions.check_invariants()
        return session

    def test_latest(self) -> None:
        """A node sends in the latest session with an address, and still takes packets in the one before."""
        sessions = [self.add(7, 1, now) for now in (0.0, 10.0, 20.0)]
        self.assertIs(self.sessions.by_address[sessions[0].contact.address], sessions[2])
        self.assertEqual(set(self.sessions.by_cid), {session.own_cid for session in sessions[1:]})

    def test_simultaneous(self) -> None:
        """Of two simultaneous sessions a node sends in the one whose initiator has the lower id, in whatever
        order they completed."""
        for node_id, own_wins in ((OWN - 1, False), (OWN + 1, True)):
            for order in ((True, False), (False, True)):
                self.setUp()
                made = [
                    self.add(node_id, 1, SIMULTANEOUS_WINDOW / 2 * n, initiator)
                    for n, initiator in enumerate(order)
                ]
                self.assertEqual(self.sessions.by_address[made[0].contact.address].is_initiator, own_wins)
                self.assertEqual(len(self.sessions.by_cid), 2)

    def test_not_simultaneous(self) -> None:
        """Of two sessions one after the other, a node sends in the later one: its initiator may have
        restarted."""
        for node_id in (OWN - 1, OWN + 1):
            self.setUp()
            first = self.add(node_id, 1, 0.0, True)
            second = self.add(node_id, 1, SIMULTANEOUS_WINDOW, False)
            self.assertIs(self.sessions.by_address[first.contact.address], second)

    def test_over(self) -> None:
        """Sessions that are over are forgotten; where the newer one is over, a node sends in the older
        one."""
        newer = [self.add(7, 1, 0.0, False), self.add(7, 1, 10.0, True)]
        self.sessions.tidy(INITIATOR_IDLE + 10)
        self.sessions.check_invariants()
        self.assertIs(self.sessions.by_address[newer[0].contact.address], newer[0])
        self.sessions.tidy(RESPONDER_IDLE)
        self.sessions.check_invariants()
        self.assertEqual((len(self.sessions.by_address), len(self.sessions.by_cid)), (0, 0))

    def test_rests(self) -> None:
        """A session that released its ciphers goes on unchanged, its counters above all."""
        session, other = (self.make(7, number, 0.0, number == 1) for number in (1, 2))
        for one in (session, other):
            self.sessions.add(one, 0.0)
        first = other.seal(b"first", 0.0)
        session.accepted(session.open(first, 0.0) or b"")
        self.sessions.tidy(REST_AFTER)
        second = other.seal(b"second", REST_AFTER)
        self.assertNotEqual(first[9:17], second[9:17])
        opened = session.open(second, REST_AFTER)
        assert opened is not None
        self.assertEqual(opened[-6:], b"second")
        self.assertIsNone(session.open(first, REST_AFTER))

    def fill(self, first: int, count: int, now: float) -> list[Session]:
        made = []
        for number in range(first, first + count):
            made.append(self.make(1000 + number, number, now))
            self.sessions.add(made[-1], now)
        return made

    def kept(self, sessions: list[Session]) -> list[Session]:
        return [session for session in sessions if session.own_cid in self.sessions.by_cid]

    def test_bounded(self) -> None:
        """At most MAX_SESSIONS are kept, the most recently used ones."""
        old = self.fill(0, MAX_SESSIONS - 100, 0.0)
        old[0].used_at = 2.0
        new = self.fill(MAX_SESSIONS, 200, 1.0)
        self.sessions.check_invariants()
        self.assertEqual(self.kept(new), new)
        self.assertEqual(len(self.sessions.by_cid), MAX_SESSIONS + 1 - EVICTED_AT_ONCE + 99)
        self.assertIn(old[0].own_cid, self.sessions.by_cid)

    def test_reserved(self) -> None:
        """Half of them are reserved for contacts: no number of unknown peers takes them away."""
        contacts = self.fill(0, RESERVED_SESSIONS, 0.0)
        self.contacts.update(session.contact for session in contacts)
        self.fill(RESERVED_SESSIONS, 3 * MAX_SESSIONS, 1.0)
        self.sessions.check_invariants()
        self.assertEqual(self.kept(contacts), contacts)

    def test_reserved_for_addresses(self) -> None:
        """A contact that calls from ever new addresses takes nothing away from the others."""
        contacts = self.fill(0, 100, 0.0)
        self.contacts.update(session.contact for session in contacts)
        hostile = contacts[0].contact.node_id
        for number in range(100, 100 + 2 * MAX_SESSIONS):
            self.sessions.add(self.make(hostile, number, 1.0), 1.0)
        self.assertEqual(self.kept(contacts), contacts)

    def test_reserved_for_so_many(self) -> None:
        """More contacts than that compete with unknown peers."""
        contacts = self.fill(0, RESERVED_SESSIONS + 500, 0.0)
        self.contacts.update(session.contact for session in contacts)
        self.fill(RESERVED_SESSIONS + 500, MAX_SESSIONS, 1.0)
        self.assertEqual(len(self.kept(contacts)), RESERVED_SESSIONS)
