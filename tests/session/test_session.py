from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from dht14.errors import Malformed
from dht14.kademlia.contact import Contact
from dht14.kademlia.parameters import MAX_DATAGRAM
from dht14.security.rate_limiter import TokenBucket
from dht14.session.handshake import ACCEPT, DATA, SessionKeys
from dht14.session.ready_ciphers import MAX_READY
from dht14.session.replay_window import WINDOW
from dht14.session.session import MAX_AGE, MIN_DATA_BYTES, PACKETS_TO_KEEP, Session

KEYS = SessionKeys(bytes(32), bytes(range(32)))
INITIATOR_CID, RESPONDER_CID = b"initiate", b"responds"


class SessionTests(SynchronousTestCase):
    """The two ends of one session."""

    def setUp(self) -> None:
        bucket = TokenBucket(0, 1, 0.0)
        self.initiator = Session.of_initiator(Contact(2, ("192.0.2.2", 2)), bucket, INITIATOR_CID, KEYS, 0.0)
        self.responder = Session.of_responder(
            Contact(1, ("192.0.2.1", 1)),
            bucket,
            KEYS,
            0.0,
            initiator_cid=INITIATOR_CID,
            own_cid=RESPONDER_CID,
        )

    def establish(self) -> None:
        opened = self.initiator.open(self.responder.seal(b"", 0.0), 0.0)
        assert opened is not None
        self.assertEqual(self.initiator.accepted(opened), b"")
        self.assertEqual(self.responder.open(self.initiator.seal(b"", 0.0), 0.0), b"")
        self.responder.confirmed()

    def test_accepts(self) -> None:
        """Before the first DATA the responder sends ACCEPTs, with its connection id and the address that it
        sees."""
        accept = self.responder.seal(b"response", 0.0)
        self.assertEqual(accept[:9], ACCEPT + INITIATOR_CID)
        opened = self.initiator.open(accept, 0.0)
        assert opened is not None
        self.assertEqual(opened[:8] + opened[20:], RESPONDER_CID + bytes([192, 0, 2, 1, 0, 1]) + b"response")

    def test_data(self) -> None:
        """Afterwards both send DATA to the connection id of the other."""
        self.establish()
        self.assertEqual(self.initiator.seal(b"x", 0.0)[:9], DATA + RESPONDER_CID)
        self.assertEqual(self.responder.seal(b"x", 0.0)[:9], DATA + INITIATOR_CID)

    def test_counters(self) -> None:
        """No counter is used twice, by ACCEPT and DATA together."""
        self.establish()
        counters = [self.responder.seal(b"x", 0.0)[9:17] for _ in range(20)]
        self.assertEqual(counters, [number.to_bytes(8, "big") for number in range(1, 21)])

    def test_others_are_busy(self) -> None:
        """A session whose ciphers made way for those of others goes on unchanged, its counters above all."""
        released: list[Session] = []

        class Watched(Session):
            """Notes when it makes way."""

            def release_ciphers(self) -> None:
                released.append(self)
                super().release_ciphers()

        self.establish()
        first = self.responder.seal(b"first", 0.0)
        self.assertEqual(self.initiator.open(first, 0.0), b"first")
        bucket = TokenBucket(0, 1, 0.0)
        others = [
            Watched.of_initiator(Contact(3, ("192.0.2.3", 3)), bucket, INITIATOR_CID, KEYS, 0.0)
            for _ in range(MAX_READY + 1)
        ]
        for other in others:
            for _ in range(PACKETS_TO_KEEP):
                other.seal(b"", 0.0)
        self.assertEqual(released, others[:1])
        second = self.responder.seal(b"second", 0.0)
        self.assertNotEqual(first[9:17], second[9:17])
        self.assertEqual(self.initiator.open(second, 0.0), b"second")
        self.assertIsNone(self.initiator.open(first, 0.0))

    def test_not_back(self) -> None:
        """A side does not open its own packets."""
        self.establish()
        self.assertIsNone(self.initiator.open(self.initiator.seal(b"x", 0.0), 0.0))

    @settings(derandomize=True, deadline=None)
    @given(st.permutations(range(12)))
    def test_any_order(self, order: list[int]) -> None:
        """Each packet is taken once, in any order."""
        self.setUp()
        self.establish()
        packets = [self.initiator.seal(b"%d" % number, 0.0) for number in range(12)]
        for number in order:
            self.assertEqual(self.responder.open(packets[number], 0.0), b"%d" % number)
        self.assertEqual([self.responder.open(packet, 0.0) for packet in packets], [None] * 12)

    def test_window(self) -> None:
        """A packet that is a window behind is not taken; one that is less behind is."""
        self.establish()
        packets = [self.initiator.seal(b"%d" % number, 0.0) for number in range(WINDOW + 1)]
        self.responder.open(packets[-1], 0.0)
        self.assertIsNone(self.responder.open(packets[0], 0.0))
        self.assertEqual(self.responder.open(packets[1], 0.0), b"1")

    def test_refused(self) -> None:
        """After two hours nothing is opened, however busy the session was."""
        self.establish()
        packet = self.initiator.seal(b"x", 0.0)
        self.assertIsNone(self.responder.open(packet, MAX_AGE))
        self.assertTrue(self.responder.is_over(MAX_AGE))

    def test_short_accept(self) -> None:
        """An authentic ACCEPT that is too short for its prefix is refused."""
        self.assertRaises(Malformed, self.initiator.accepted, bytes(25))

    def test_long(self) -> None:
        """What is longer than any datagram is not taken, however authentic."""
        self.establish()
        longest = bytes(MAX_DATAGRAM - MIN_DATA_BYTES)
        self.assertIsNone(self.responder.open(self.initiator.seal(longest + b"x", 0.0), 0.0))
        self.assertEqual(self.responder.open(self.initiator.seal(longest, 0.0), 0.0), longest)
