import contextlib
import random
from itertools import permutations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from dht14.errors import Malformed
from dht14.security.hello_limiter import HELLO_WINDOW, HELLOS_PER_ADDRESS
from dht14.security.shares import TIERS, Priority
from dht14.session import handshake as hs
from dht14.session.acceptor import CHALLENGES_PER_SECOND, FINISHES_PER_SUBNET, PREKEY_ROTATION, Limits
from dht14.session.encrypted import MAX_HANDSHAKES
from dht14.session.initiator import HANDSHAKE_TIMEOUT
from dht14.session.layer import Target
from dht14.session.session import ACCEPT_REPEAT_TIME, MAX_ACCEPT_REPEATS, MAX_AGE, REKEY_AFTER, REKEY_PACKETS
from tests.session.pair import Pair, Side

HELLO, CHALLENGE, FINISH, ACCEPT, DATA = hs.HELLO[0], hs.CHALLENGE[0], hs.FINISH[0], hs.ACCEPT[0], hs.DATA[0]


class LoseFirst:
    """A wire that loses the first datagram of a kind."""

    def __init__(self, kind: int) -> None:
        self.kind: int | None = kind

    def __call__(self, datagram: bytes) -> bool:
        if datagram[0] != self.kind:
            return True
        self.kind = None
        return False


class HandshakeTests(SynchronousTestCase):
    """From the first datagram to a session."""

    def setUp(self) -> None:
        self.pair = Pair()
        self.one, self.two = self.pair.one, self.pair.two

    def test_two_round_trips(self) -> None:
        """The first exchange takes HELLO, CHALLENGE, FINISH and ACCEPT; the last two carry request and
        reply."""
        self.assertTrue(self.pair.exchange(self.one))
        self.assertEqual(self.pair.kinds(), bytes([HELLO, CHALLENGE, FINISH, ACCEPT]))
        self.assertEqual([len(datagram) for datagram in self.pair.wire[:2]], [256, 181])

    def test_one_round_trip(self) -> None:
        """Every further exchange, of either side, takes two datagrams of 33 bytes more than the payload."""
        self.pair.exchange(self.one)
        self.pair.wire.clear()
        self.assertTrue(self.pair.exchange(self.one))
        self.assertTrue(self.pair.exchange(self.two))
        self.assertEqual(self.pair.kinds(), bytes([DATA] * 4))
        self.assertEqual(len(self.pair.wire[0]), 33 + len(b"request"))

    def test_who(self) -> None:
        """Each side learns id, address and proof of the other."""
        self.pair.exchange(self.one)
        for side, other in ((self.one, self.two), (self.two, self.one)):
            assert side.peer is not None
            self.assertEqual(side.peer.contact, other.contact)

    def test_address_alone(self) -> None:
        """Where only the address is known, the node there is reached."""
        sent = self.one.layer.reach(Target(self.two.address, None, True), b"request", self.one.now)
        self.pair.carry(self.one, sent)
        self.pair.answer(self.two, b"reply")
        self.assertEqual((self.two.received, self.one.received), ([b"request"], [b"reply"]))
        assert self.one.peer is not None
        self.assertEqual(self.one.peer.contact, self.two.contact)

    def test_another_node(self) -> None:
        """A node with another id than the sought one gets no FINISH and no request."""
        sent = self.one.layer.reach(Target(self.two.address, 77, False), b"request", self.one.now)
        self.pair.carry(self.one, sent)
        self.assertEqual(self.pair.kinds(), bytes([HELLO, CHALLENGE]))
        self.assertEqual(self.two.received, [])

    def test_first_valid_wins(self) -> None:
        """Forged CHALLENGEs and those of other nodes do not end the wait for the right one."""
        (greeting,) = self.pair.to_send(self.one, b"request")
        third = Side(3, self.two.address)
        (other,) = third.take(greeting, self.one.address)
        (right,) = self.two.take(greeting, self.one.address)
        self.assertEqual(self.one.take(other, self.two.address), ())
        with self.assertRaises(Malformed):
            self.one.take(right[:-1] + bytes([right[-1] ^ 1]), self.two.address)
        self.assertEqual(self.one.take(right, ("192.0.2.9", 8000)), ())
        self.assertEqual(len(self.one.take(right, self.two.address)), 1)

    def test_second_challenge(self) -> None:
        """One HELLO gets one FINISH, however many CHALLENGEs come: its key seals one message."""
        (greeting,) = self.pair.to_send(self.one, b"request")
        (first,) = self.two.take(greeting, self.one.address)
        self.pair.wait(5)
        self.one.now -= 5
        (second,) = self.two.take(greeting, self.one.address)
        self.assertNotEqual(first, second)
        (finish,) = self.one.take(first, self.two.address)
        self.assertEqual(self.one.take(second, self.two.address), ())
        self.assertEqual(len(self.two.take(finish, self.one.address)), 0)
        self.assertEqual(self.two.received, [b"request"])

    def test_many_requests(self) -> None:
        """Requests during a handshake wait for it: the FINISH carries one, the others follow at once."""
        requests = [b"request %d" % number for number in range(10)]
        greeting = [self.pair.to_send(self.one, request) for request in requests]
        self.assertEqual([len(sent) for sent in greeting], [1] + [0] * 9)
        self.pair.carry(self.one, greeting[0])
        self.pair.answer(self.two, b"reply")
        self.assertEqual(self.two.received, requests)

    def test_large_request(self) -> None:
        """A request that does not fit a FINISH follows the ACCEPT, which comes without a response."""
        request = bytes(hs.MAX_FINISH_REQUEST_BYTES + 1)
        self.pair.send(self.one, request)
        self.assertEqual(self.pair.kinds(), bytes([HELLO, CHALLENGE, FINISH, ACCEPT, DATA]))
        self.assertEqual(self.two.received, [request])

    def test_largest_in_finish(self) -> None:
        """A FINISH may be as long as a datagram can be."""
        self.pair.send(self.one, bytes(hs.MAX_FINISH_REQUEST_BYTES))
        self.assertEqual(
            (len(self.pair.wire[-1]), self.two.received), (1200, [bytes(hs.MAX_FINISH_REQUEST_BYTES)])
        )

    def test_responder_sends_first(self) -> None:
        """Until DATA came from the initiator, the responder sends ACCEPTs only, which the initiator can
        open."""
        self.pair.send(self.one, b"request")
        for number in range(3):
            self.pair.send(self.two, b"call %d" % number)
        self.assertEqual(self.pair.kinds()[3:], bytes([ACCEPT] * 3))
        self.assertEqual(self.one.received, [b"call 0", b"call 1", b"call 2"])
        self.pair.send(self.one, b"first DATA")
        self.pair.send(self.two, b"no ACCEPT any more")
        self.assertEqual(self.pair.kinds()[-1], DATA)

    def test_itself(self) -> None:
        """A node that calls itself learns its own id from the session."""
        sent = list(self.one.layer.reach(Target(self.one.address, None, True), b"request", self.one.now))
        while sent:
            sent += self.one.take(sent.pop(0), self.one.address)
        assert self.one.peer is not None
        self.assertEqual(self.one.received, [b"request"])
        sent = [self.one.peer.seal(b"reply", self.one.now)]
        self.one.take(sent[0], self.one.address)
        self.assertEqual(self.one.received, [b"request", b"reply"])
        self.assertEqual(self.one.peer.contact.node_id, self.one.identity.node_id)

    def test_clocks(self) -> None:
        """A node whose clock is wrong, however far, gets sessions like any other, whichever side begins."""
        for error in (-1e9, -90_000.0, 90_000.0, 1e9):
            for first in (0, 1):
                pair = Pair()
                pair.one.wrong_by = error
                sides = [pair.one, pair.two]
                self.assertTrue(pair.exchange(sides[first]) and pair.exchange(sides[1 - first]), error)

    def test_clock_set(self) -> None:
        """When a clock is set, sessions go on, new ones are made, and pre-keys are renewed in time."""
        pair = Pair()
        for step in (0.0, -3600.0, 90_000.0, -90_000.0, 3600.0):
            pair.one.wrong_by += step
            self.assertTrue(pair.exchange(pair.one) and pair.exchange(pair.two), step)
            pair.wait(MAX_AGE)
            self.assertTrue(pair.exchange(pair.two) and pair.exchange(pair.one), step)


class LossTests(SynchronousTestCase):
    """One resend repairs the loss of any one datagram."""

    def test_each_message(self) -> None:
        """Any one datagram of a handshake may be lost: the resend of the request completes it."""
        for kind in (HELLO, CHALLENGE, FINISH):
            pair = Pair(passes=LoseFirst(kind))
            pair.send(pair.one, b"request")
            self.assertEqual(pair.two.received, [])
            pair.send_again(pair.one, b"request")
            self.assertEqual(pair.two.received, [b"request"])
            pair.answer(pair.two, b"reply")
            self.assertEqual(pair.one.received, [b"reply"])

    def test_accept(self) -> None:
        """A lost ACCEPT is repeated for the repeated FINISH, and the request is not carried out twice."""
        pair = Pair(passes=LoseFirst(ACCEPT))
        pair.send(pair.one, b"request")
        pair.answer(pair.two, b"reply")
        self.assertEqual(pair.one.received, [])
        pair.send_again(pair.one, b"request")
        self.assertEqual((pair.one.received, pair.two.received), ([b"reply"], [b"request"]))
        self.assertEqual(pair.wire[-1], pair.wire[-3])

    def test_accepts_end(self) -> None:
        """One FINISH gets its ACCEPT three times more at most, and for 30 s at most."""
        pair = Pair()
        pair.exchange(pair.one)
        finish = pair.wire[2]
        repeats = [pair.two.take(finish, pair.one.address) for _ in range(MAX_ACCEPT_REPEATS + 2)]
        self.assertEqual([len(sent) for sent in repeats], [1] * MAX_ACCEPT_REPEATS + [0, 0])
        self.assertEqual(repeats[0], (pair.wire[3],))
        late = Pair()
        late.exchange(late.one)
        late.wait(ACCEPT_REPEAT_TIME)
        self.assertEqual(late.two.take(late.wire[2], late.one.address), ())

    def test_data(self) -> None:
        """After a lost DATA the resend is answered in the old session, and the new handshake is given up."""
        pair = Pair()
        pair.exchange(pair.one)
        pair.passes = LoseFirst(DATA)
        pair.send(pair.one, b"request")
        pair.wait(0.25)
        again = pair.one.layer.resend(
            Target(pair.two.address, pair.two.identity.node_id, False), b"request", pair.one.now
        )
        self.assertEqual([datagram[0] for datagram in again], [DATA, HELLO])
        pair.two.take(again[0], pair.one.address)
        pair.answer(pair.two, b"reply")
        (challenge,) = pair.two.take(again[1], pair.one.address)
        self.assertEqual(pair.one.received[-1], b"reply")
        self.assertEqual(pair.one.take(challenge, pair.two.address), ())

    def test_any_order(self) -> None:
        """Packets of one session arrive in any order, each once."""
        for order in permutations(range(4)):
            pair = Pair()
            pair.exchange(pair.one)
            sent = [pair.to_send(pair.one, b"%d" % number)[0] for number in range(4)]
            pair.two.received.clear()
            for number in order:
                pair.two.take(sent[number], pair.one.address)
                pair.two.take(sent[number], pair.one.address)
            self.assertEqual(pair.two.received, [b"%d" % number for number in order])

    def test_chaos(self) -> None:
        """On a wire that loses, repeats and reorders, most payloads arrive, and none twice or changed."""
        payloads = [b"%d" % number for number in range(10)]
        answered = 0
        for seed in range(40):
            rng = random.Random(seed)
            pair = Pair(passes=lambda datagram, rng=rng: rng.random() > 0.2)  # type: ignore[misc]
            for payload in payloads:
                for send in (pair.send, pair.send_again):
                    if payload not in pair.one.received:
                        send(pair.one, payload, by_address=True)
                    if payload in pair.two.received:
                        pair.answer(pair.two, payload)
                    pair.carry(pair.one, rng.choices(pair.wire, k=2))
                    pair.carry(pair.two, rng.choices(pair.wire, k=2))
                pair.wait(1)
            self.assertTrue(set(pair.one.received) | set(pair.two.received) <= set(payloads))
            answered += len(set(pair.one.received))
        self.assertGreater(answered, 340)


class RestartTests(SynchronousTestCase):
    """A side that restarted."""

    def test_responder(self) -> None:
        """A request to a restarted node takes one resend; it arrives once and is answered."""
        for restarted in ("one", "two"):
            pair = Pair()
            pair.exchange(pair.one)
            side = getattr(pair, restarted)
            other = pair.other(side)
            side.begin()
            side.received.clear()
            pair.send(other, b"request")
            self.assertEqual(side.received, [])
            pair.send_again(other, b"request")
            self.assertEqual(side.received, [b"request"])
            pair.answer(side, b"reply")
            self.assertEqual(other.received[-1], b"reply")
            self.assertTrue(pair.exchange(other) and pair.exchange(side))

    def test_restarted_calls(self) -> None:
        """A restarted node makes a new session at once, and the other side uses it from then on."""
        pair = Pair()
        pair.exchange(pair.one)
        pair.wait(10)
        pair.one.begin()
        self.assertTrue(pair.exchange(pair.one))
        pair.wire.clear()
        self.assertTrue(pair.exchange(pair.two))
        self.assertEqual(len(pair.wire), 2)

    def test_another_identity(self) -> None:
        """A node at the address of another one does not get the session of that one."""
        pair = Pair()
        pair.exchange(pair.one)
        third = Side(3, pair.two.address)
        pair.two = third
        self.assertTrue(pair.exchange(pair.one))
        assert pair.one.peer is not None
        self.assertEqual(pair.one.peer.contact, third.contact)


class SimultaneousTests(SynchronousTestCase):
    """Both sides begin at the same time."""

    def test_both_complete(self) -> None:
        """Both handshakes complete; from then on both send in the session of the lower id's HELLO."""
        pair = Pair()
        one, two = pair.one, pair.two
        sent = [(one, self.only(pair, one)), (two, self.only(pair, two))]
        while sent:
            side, datagram = sent.pop(0)
            other = pair.other(side)
            replies = list(other.take(datagram, side.address))
            if datagram[0] == FINISH:
                assert other.peer is not None
                replies.append(other.peer.seal(b"reply", other.now))
            sent += [(other, reply) for reply in replies]
        for side in (one, two):
            self.assertEqual(sorted(side.received), [b"reply", b"request"])
            self.assertEqual(len(side.layer.sessions.by_cid), 2)
            side.layer.sessions.check_invariants()
            session = side.layer.sessions.by_address[pair.other(side).address]
            lower = min((one, two), key=lambda side: side.identity.node_id)
            self.assertEqual(session.is_initiator, side is lower)
        self.assertTrue(pair.exchange(one) and pair.exchange(two))

    def only(self, pair: Pair, side: Side) -> bytes:
        (datagram,) = pair.to_send(side, b"request")
        return datagram


class AgeTests(SynchronousTestCase):
    """Sessions end."""

    def setUp(self) -> None:
        self.pair = Pair()
        self.pair.exchange(self.pair.one)
        self.pair.wire.clear()

    def keep_busy(self, seconds: float) -> None:
        for _ in range(int(seconds / 300)):
            self.pair.wait(300)
            self.assertTrue(self.pair.exchange(self.pair.two))

    def test_rekey(self) -> None:
        """After an hour the sender makes a new session, and uses the old one meanwhile."""
        self.keep_busy(REKEY_AFTER - 300)
        self.assertNotIn(HELLO, self.pair.kinds())
        self.pair.wait(300)
        self.assertTrue(self.pair.exchange(self.pair.one))
        self.assertEqual(self.pair.kinds().count(HELLO), 1)
        self.pair.wire.clear()
        self.assertTrue(self.pair.exchange(self.pair.one) and self.pair.exchange(self.pair.two))
        self.assertNotIn(HELLO, self.pair.kinds())

    def test_rekey_by_packets(self) -> None:
        """The sender makes a new session after 2^24 packets too."""
        self.pair.one.layer.sessions.by_address[self.pair.two.address].sent = REKEY_PACKETS
        self.assertTrue(self.pair.exchange(self.pair.one))
        self.assertEqual(self.pair.kinds().count(HELLO), 1)

    def test_refused(self) -> None:
        """After two hours neither side uses a session, even if the new handshake failed."""
        self.pair.passes = lambda datagram: datagram[0] != HELLO
        self.keep_busy(MAX_AGE - 300)
        late = self.pair.one.layer.sessions.by_address[self.pair.two.address].seal(b"late", self.pair.one.now)
        self.pair.wait(300)
        self.pair.two.received.clear()
        self.pair.carry(self.pair.one, [late])
        self.pair.send(self.pair.one, b"request")
        self.assertEqual(self.pair.two.received, [])

    def test_idle(self) -> None:
        """A session without packets is forgotten, by its initiator after 10 min, by the other after 15."""
        one, two = self.pair.one.layer, self.pair.two.layer
        for seconds, left in ((590, (1, 1)), (20, (0, 1)), (280, (0, 1)), (20, (0, 0))):
            self.pair.wait(seconds)
            one.tidy(self.pair.one.now)
            two.tidy(self.pair.two.now)
            self.assertEqual((len(one.sessions.by_cid), len(two.sessions.by_cid)), left)
        self.assertTrue(self.pair.exchange(self.pair.two))

    def test_prekeys(self) -> None:
        """A pre-key is handed out for 10 min, and serves those who have it for as long again."""
        third = Side(3, ("203.0.113.3", 8000), now=self.pair.one.now)
        pair = Pair(one=third, two=self.pair.two)
        (greeting,) = pair.to_send(third, b"request")
        (first,) = pair.two.take(greeting, third.address)
        pair.wait(PREKEY_ROTATION + 10)
        (second,) = pair.two.take(greeting, third.address)
        self.assertNotEqual(first[33 + 48 : 33 + 80], second[33 + 48 : 33 + 80])
        self.assertEqual(first[33 : 33 + 48], second[33 : 33 + 48])


class HostileTests(SynchronousTestCase):
    """What hostile peers can cause."""

    def setUp(self) -> None:
        self.pair = Pair()
        self.one, self.two = self.pair.one, self.pair.two

    def test_tampering(self) -> None:
        """A datagram of a handshake with any changed byte has no effect and no answer but a CHALLENGE; with
        the right bytes the handshake goes on."""
        pair = self.pair = Pair(Side(1, ("10.0.0.1", 8000)), Side(2, ("10.0.0.2", 8000)))
        self.one, self.two = pair.one, pair.two
        (greeting,) = pair.to_send(self.one, b"request")
        (challenge,) = self.two.take(greeting, self.one.address)
        (finish,) = self.one.take(challenge, self.two.address)
        self.refuses(self.two, self.one, finish)
        self.two.take(finish, self.one.address)
        self.assertEqual(self.two.received, [b"request"])
        assert self.two.peer is not None
        accept = self.two.peer.seal(b"reply", self.two.now)
        self.refuses(self.one, self.two, accept)
        self.one.take(accept, self.two.address)
        (data,) = pair.to_send(self.one, b"more")
        self.refuses(self.two, self.one, data)
        self.two.take(data, self.one.address)
        self.assertEqual((self.two.received, self.one.received), ([b"request", b"more"], [b"reply"]))

    def test_tampered_challenge(self) -> None:
        """A CHALLENGE with a byte changed is refused, or leads to a FINISH that is."""
        for index in range(1, hs.CHALLENGE_BYTES):
            pair = Pair()
            (greeting,) = pair.to_send(pair.one, b"request")
            challenge = bytearray(pair.two.take(greeting, pair.one.address)[0])
            challenge[index] ^= 1 << index % 8
            with contextlib.suppress(Malformed):
                pair.carry(pair.one, pair.one.take(bytes(challenge), pair.two.address))
            self.assertEqual(pair.two.received, [])

    def refuses(self, side: Side, source: Side, datagram: bytes) -> None:
        before = list(side.received)
        rng = random.Random(5)
        for index in range(len(datagram)):
            changed = bytearray(datagram)
            changed[index] ^= 1 << rng.randrange(8)
            if changed[:1] == hs.HELLO:
                continue
            with contextlib.suppress(Malformed):
                self.assertEqual(side.take(bytes(changed), source.address), ())
        for cut in range(len(datagram)):
            with contextlib.suppress(Malformed):
                self.assertEqual(side.take(datagram[:cut], source.address), ())
        self.assertEqual(side.received, before)

    def test_replays(self) -> None:
        """Replays of all datagrams between two nodes, from any address, change nothing."""
        pair = self.pair
        pair.exchange(self.one)
        pair.exchange(self.two)
        received = [list(self.one.received), list(self.two.received)]
        for source in (self.one.address, self.two.address, ("203.0.113.9", 1)):
            for datagram in pair.wire:
                for side in (self.one, self.two):
                    replies = side.take(datagram, source)
                    self.assertTrue({reply[0] for reply in replies} <= {CHALLENGE, ACCEPT})
        self.assertEqual([self.one.received, self.two.received], received)
        self.assertTrue(pair.exchange(self.one))

    def test_old_finish(self) -> None:
        """A FINISH after the end of its cookie, or after a restart, is dropped."""
        self.pair.send(self.one, b"request")
        finish = self.pair.wire[2]
        self.pair.wait(121)
        self.assertEqual(self.two.take(finish, self.one.address), ())
        self.pair.wait(-121)
        self.two.begin()
        self.assertEqual(self.two.take(finish, self.one.address), ())
        self.assertEqual(self.two.received, [b"request"])

    def test_cookie_of_another(self) -> None:
        """A FINISH from another address than the HELLO is dropped."""
        (greeting,) = self.pair.to_send(self.one, b"request")
        (challenge,) = self.two.take(greeting, self.one.address)
        (finish,) = self.one.take(challenge, self.two.address)
        for elsewhere in (("192.0.2.1", 8001), ("192.0.2.2", 8000)):
            self.assertEqual(self.two.take(finish, elsewhere), ())
        self.assertEqual(self.two.received, [])

    def test_moved(self) -> None:
        """A session is bound to an address: packets in it from another one are dropped."""
        self.pair.exchange(self.one)
        (data,) = self.pair.to_send(self.one, b"more")
        self.two.take(data, ("203.0.113.9", 1))
        self.assertNotIn(b"more", self.two.received)
        self.two.take(data, self.one.address)
        self.assertIn(b"more", self.two.received)

    def test_unknown_senders(self) -> None:
        """Of all datagrams of an unknown sender, only a HELLO of 256 bytes gets an answer, of 181 bytes."""
        rng = random.Random(7)
        for size in [*range(300), 1200, 1400]:
            for kind in range(0x40, 0x52):
                datagram = bytes([kind]) + rng.randbytes(size)
                try:
                    replies = self.two.take(datagram, ("203.0.113.9", size))
                except Malformed:
                    replies = ()
                expected = [181] if kind == HELLO and len(datagram) == 256 else []
                self.assertEqual([len(reply) for reply in replies], expected)

    @settings(derandomize=True, deadline=None)
    @given(st.binary(max_size=300))
    def test_junk(self, datagram: bytes) -> None:
        """Any bytes are Malformed, or have no effect."""
        try:
            replies = self.two.take(datagram, ("203.0.113.9", 1))
        except Malformed:
            return
        self.assertTrue(not replies or (len(datagram) == 256 and len(replies[0]) == 181))

    def test_unproven_address(self) -> None:
        """An address where no node ever answered gets two HELLOs in 10 min, for any number of ids."""
        victim = ("203.0.113.5", 53)

        def hellos() -> int:
            sent = 0
            for node_id in range(1, 30):
                sent += len(self.one.layer.reach(Target(victim, node_id, False), b"x", self.one.now))
                self.one.now += 1
                sent += len(self.one.layer.resend(Target(victim, node_id, False), b"x", self.one.now))
            return sent

        self.assertEqual(hellos(), HELLOS_PER_ADDRESS)
        self.one.now += HELLO_WINDOW
        self.assertEqual(hellos(), HELLOS_PER_ADDRESS)
        self.assertEqual(self.one.layer.metrics.hellos_withheld, 2 * (58 - HELLOS_PER_ADDRESS))
        self.assertEqual(len(self.one.layer.reach(Target(victim, None, True), b"x", self.one.now)), 1)

    def test_proven_address(self) -> None:
        """An address where any node answered gets as many HELLOs as needed."""
        for node_id in (71, 72, 73, 74):
            sent = self.one.layer.reach(Target(self.two.address, node_id, False), b"x", self.one.now)
            self.assertEqual(len(sent), 1)
            self.pair.carry(self.one, sent)
        self.assertTrue(self.pair.exchange(self.one))

    def test_challenge_limit(self) -> None:
        """No more CHALLENGEs than the limit go out in a second; half of them to unknown addresses, wherever
        they are."""
        hello = hs.hello(bytes(8), bytes(32), None)
        sent = sum(
            len(self.two.take(hello, (f"203.{n >> 8}.{n & 255}.1", 9))) for n in range(CHALLENGES_PER_SECOND)
        )
        self.assertEqual(sent, CHALLENGES_PER_SECOND * TIERS[0] + 2)
        self.assertFalse(self.two.take(hello, self.one.address))
        self.two.known[self.one.address] = Priority.PROVEN
        self.assertTrue(self.pair.exchange(self.one))

    def test_finish_limit(self) -> None:
        """Few handshakes a second are taken from one subnet; from private ranges as many as come, unless
        `diversity_private`."""
        for subnet, diversity_private, limited in (
            ("203.0.113", False, True),
            ("10.1.1", False, False),
            ("10.1.1", True, True),
        ):
            two = Side(2, ("198.51.100.2", 8000), Limits(diversity_private=diversity_private))
            for number in range(100):
                one = Side(100 + number, (f"{subnet}.{number}", 8000))
                Pair(one, two).send(one, b"request")
            if limited:
                self.assertLess(len(two.received), 3 * FINISHES_PER_SUBNET)
                self.assertGreaterEqual(len(two.received), FINISHES_PER_SUBNET)
            else:
                self.assertEqual(len(two.received), 100)

    def test_bucket(self) -> None:
        """The bucket of a peer is that of its id: a new session does not fill it again."""
        self.pair.exchange(self.one)
        assert self.two.peer is not None
        while self.two.peer.bucket.take(self.two.now):
            pass
        self.one.begin()
        self.pair.exchange(self.one)
        self.assertFalse(self.two.peer.bucket.take(self.two.now))

    def test_bucket_of_host(self) -> None:
        """Many ids on one host get as much as two; on a private host each id has its own limit."""
        for host, expected in (("198.51.100.7", 2 * 20), ("10.0.0.7", 5 * 20)):
            two = Side(2, ("203.0.113.2", 8000), Limits(peer_rate=10, peer_burst=20))
            granted = 0
            for number in range(5):
                pair = Pair(Side(100 + number, (host, 8000 + number)), two)
                pair.send(pair.one, b"request")
                assert two.peer is not None
                granted += sum(two.peer.bucket.take(two.now) for _ in range(100))
            self.assertEqual(granted, expected)

    def test_initiators_are_bounded(self) -> None:
        """Handshakes under way are bounded; unanswered ones are forgotten."""
        for number in range(MAX_HANDSHAKES + 100):
            address = (f"203.0.{number >> 8}.{number & 255}", 9)
            self.one.layer.reach(Target(address, number + 1, False), b"x", self.one.now)
        self.assertEqual(len(self.one.layer._initiators), MAX_HANDSHAKES)
        self.one.layer.tidy(self.one.now + HANDSHAKE_TIMEOUT)
        self.assertEqual(len(self.one.layer._initiators), 0)
        self.assertEqual(len(self.one.layer._initiators_by_cid), 0)
