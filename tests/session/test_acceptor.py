import random
from collections import Counter

from twisted.trial.unittest import SynchronousTestCase

from dht14.errors import Malformed
from dht14.kademlia.contact import Address
from dht14.security.identity import Identity
from dht14.security.prekey_clock import PrekeyClock
from dht14.security.shares import TIERS, Priority
from dht14.security.subnets import Scope
from dht14.session import handshake as hs
from dht14.session.acceptor import (
    CHALLENGES_PER_PARTY,
    COOKIE_LIFETIME,
    FINISHES_PER_SECOND,
    PREKEY_ROTATION,
    Acceptor,
    Limits,
)
from dht14.session.initiator import Initiator
from dht14.session.layer import Target
from dht14.session.metrics import SessionMetrics
from tests.session.pair import BEGINNING, PUZZLE

CALLER = ("10.0.0.1", 8000)
UNKNOWN = Priority.UNKNOWN


class AcceptorTestCase(SynchronousTestCase):
    """One acceptor, and an initiator that calls."""

    def setUp(self) -> None:
        self.identity = Identity.made_up(PUZZLE, random.Random(1))
        self.caller = Identity.made_up(PUZZLE, random.Random(2))
        self.metrics = SessionMetrics()
        self.wall = BEGINNING
        self.acceptor = self.new_acceptor()
        self.rng = random.Random(3)

    def new_acceptor(self, limits: Limits | None = None) -> Acceptor:
        limits = limits or Limits()
        rng = random.Random(4)
        return Acceptor(
            identity=self.identity,
            verify_proof=PUZZLE.verify_proof,
            rng=rng,
            limits=limits,
            now=BEGINNING,
            prekey_clock=PrekeyClock(lambda: self.wall),
            metrics=self.metrics,
        )

    def finish(
        self,
        began: float = BEGINNING,
        node_id: int | None = None,
        caller: Address = CALLER,
        request: bytes = b"request",
    ) -> bytes:
        """Return a FINISH whose HELLO came at `began`."""
        initiator = Initiator.begin(
            Target(caller, node_id, False), self.rng.randbytes(8), self.rng.randbytes(32), began
        )
        initiator.enqueue(request)
        challenge = self.acceptor.challenge(initiator.datagram, caller, UNKNOWN, began)
        assert challenge is not None
        initiator.finish(hs.Challenge.parse(challenge), self.caller, self.identity.node_id, began)
        return initiator.datagram


class AcceptorTests(AcceptorTestCase):
    """The responder's side, step by step."""

    def test_admitted(self) -> None:
        """With a hint or without one, a FINISH gives the initiator and its request."""
        for node_id in (None, self.identity.node_id):
            finish = self.finish(node_id=node_id)
            self.assertTrue(self.acceptor.may_open(finish, CALLER, UNKNOWN, BEGINNING))
            accepted = self.acceptor.accept(finish, b"cid of it", BEGINNING)
            self.assertEqual((accepted.node_id, accepted.proof), (self.caller.node_id, self.caller.proof))
            self.assertEqual(accepted.request, b"request")
            self.assertEqual(self.acceptor.cid_of_repeated(finish), b"cid of it")

    def test_sizes(self) -> None:
        """A FINISH that is shorter than one without a request, or longer than a datagram, is malformed."""
        longest = self.finish(request=bytes(hs.MAX_FINISH_REQUEST_BYTES))
        self.assertTrue(self.acceptor.may_open(longest, CALLER, UNKNOWN, BEGINNING))
        for wrong in (longest + b"\0", self.finish(request=b"")[:-1]):
            with self.assertRaises(Malformed):
                self.acceptor.may_open(wrong, CALLER, UNKNOWN, BEGINNING)

    def test_cookie_life(self) -> None:
        """A CHALLENGE may be answered for two minutes, also across a rotation of pre-keys."""
        begun = BEGINNING + PREKEY_ROTATION - 1
        self.finish(BEGINNING)
        finish = self.finish(begun)
        self.finish(begun + 2)
        self.assertTrue(self.acceptor.may_open(finish, CALLER, UNKNOWN, begun + COOKIE_LIFETIME))
        self.assertEqual(
            self.acceptor.accept(finish, b"12345678", begun + COOKIE_LIFETIME).request, b"request"
        )
        self.assertFalse(self.acceptor.may_open(finish, CALLER, UNKNOWN, begun + COOKIE_LIFETIME + 1))

    def test_clock_set_back(self) -> None:
        """Cookies from the future are not taken; new ones work at once."""
        finish = self.finish(BEGINNING)
        self.assertFalse(self.acceptor.may_open(finish, CALLER, UNKNOWN, BEGINNING - 3600))
        self.assertTrue(
            self.acceptor.may_open(self.finish(BEGINNING - 3600), CALLER, UNKNOWN, BEGINNING - 3600)
        )

    def test_clock_wrong(self) -> None:
        """A new pre-key replaces one with a wrong date as soon as that shows; the old one still serves those
        who have it."""
        self.wall = BEGINNING - 1e9
        finish = self.finish()
        self.wall = BEGINNING
        (exp,) = {hs.Challenge.parse(self.challenge()).made_at for _ in range(3)}
        self.assertApproximates(exp, BEGINNING, 60)
        self.assertTrue(self.acceptor.may_open(finish, CALLER, UNKNOWN, BEGINNING))

    def test_prekeys_end(self) -> None:
        """A pre-key is in memory for twenty minutes at most, also when no HELLO comes."""
        finish = self.finish()
        self.acceptor.tidy(BEGINNING + 2 * PREKEY_ROTATION - 1)
        self.assertTrue(self.acceptor.may_open(finish, CALLER, UNKNOWN, BEGINNING))
        self.acceptor.tidy(BEGINNING + 2 * PREKEY_ROTATION)
        self.assertFalse(self.acceptor.may_open(finish, CALLER, UNKNOWN, BEGINNING))

    def challenge(self) -> bytes:
        challenge = self.acceptor.challenge(hs.hello(bytes(8), bytes(32), None), CALLER, UNKNOWN, BEGINNING)
        assert challenge is not None
        return challenge

    def test_cookies(self) -> None:
        """A cookie with any changed byte is refused, and so is the cookie of another acceptor."""
        finish = self.finish()
        for index in range(9, 33):
            forged = finish[:index] + bytes([finish[index] ^ 1]) + finish[index + 1 :]
            self.assertFalse(self.acceptor.may_open(forged, CALLER, UNKNOWN, BEGINNING))
        other = Acceptor(
            identity=self.identity,
            verify_proof=PUZZLE.verify_proof,
            rng=random.Random(5),
            limits=Limits(),
            now=BEGINNING,
            prekey_clock=PrekeyClock(lambda: BEGINNING),
            metrics=self.metrics,
        )
        other.challenge(hs.hello(bytes(8), bytes(32), None), CALLER, UNKNOWN, BEGINNING)
        self.assertFalse(other.may_open(finish, CALLER, UNKNOWN, BEGINNING))

    def test_refused_leave_nothing(self) -> None:
        """A FINISH that does not open is not remembered: nobody can fill the memory, or lock out another
        initiator."""
        finish = self.finish()
        forged = finish[:-1] + bytes([finish[-1] ^ 1])
        self.assertRaises(Malformed, self.acceptor.accept, forged, b"12345678", BEGINNING)
        self.assertIsNone(self.acceptor.cid_of_repeated(finish))

    def test_identity_of_another(self) -> None:
        """An initiator without the key of its proof is refused."""
        thief = Identity(
            Identity.made_up(PUZZLE, self.rng).private_key, self.caller.proof, self.caller.node_id
        )
        self.caller = thief
        finish = self.finish()
        self.assertTrue(self.acceptor.may_open(finish, CALLER, UNKNOWN, BEGINNING))
        self.assertRaises(Malformed, self.acceptor.accept, finish, b"12345678", BEGINNING)

    def test_all_of_them(self) -> None:
        """FINISHES_PER_SECOND are taken a second in all, and half as many from unknown addresses."""
        for priority, part in ((UNKNOWN, TIERS[0]), (Priority.CONTACT, 1.0)):
            self.setUp()
            finishes = [self.finish(caller=(f"10.0.{n}.1", 8000)) for n in range(20)]
            taken = 0
            for turn in range(2 * FINISHES_PER_SECOND):
                finish, number = finishes[turn % 20], turn % 20
                taken += self.acceptor.may_open(finish, (f"10.0.{number}.1", 8000), priority, BEGINNING)
            self.assertEqual(taken, part * FINISHES_PER_SECOND + 2 * (priority is UNKNOWN))
            self.assertEqual(self.metrics.finish_over_limit, 2 * FINISHES_PER_SECOND - taken)

    def test_hellos_of_a_host(self) -> None:
        """A private host gets no more CHALLENGEs than its rate, from any number of ports."""
        self.acceptor = self.new_acceptor(Limits(peer_rate=10, peer_burst=20))
        hello = hs.hello(bytes(8), bytes(32), None)
        answered = [
            self.acceptor.challenge(hello, ("10.0.0.1", port), UNKNOWN, BEGINNING) for port in range(100)
        ]
        self.assertEqual(len([one for one in answered if one]), 20)
        self.assertIsNotNone(self.acceptor.challenge(hello, ("10.0.0.2", 1), UNKNOWN, BEGINNING))

    def test_hellos_of_a_subnet(self) -> None:
        """A subnet, and an IPv6 provider with all its subnets, gets its share of CHALLENGEs; others get
        theirs."""
        hello = hs.hello(bytes(8), bytes(32), None)
        for host, scope in (("198.51.100.{}", Scope.SUBNET), ("2001:db8:{}::1", Scope.PROVIDER)):
            hosts = [host.format(n % 200) for n in range(4_000)]
            sent = sum(
                self.acceptor.challenge(hello, (each, 1), UNKNOWN, BEGINNING) is not None for each in hosts
            )
            self.assertEqual(sent, 2 * CHALLENGES_PER_PARTY[scope])
        self.assertIsNotNone(self.acceptor.challenge(hello, ("203.0.113.1", 1), UNKNOWN, BEGINNING))


class FloodTests(AcceptorTestCase):
    """Handshakes at random moments (seeded) during a flood: known senders get in."""

    CALLERS = 100

    def anywhere(self) -> Address:
        return f"{self.rng.randrange(20, 120)}.{self.rng.randrange(256)}.{self.rng.randrange(256)}.1", 8000

    def callers(self) -> list[tuple[float, Priority, Address]]:
        """100 initiators of each priority, in the second after the first."""
        return [
            (BEGINNING + 1 + self.rng.random(), priority, self.anywhere())
            for priority in Priority
            for _ in range(self.CALLERS)
        ]

    def test_hellos(self) -> None:
        """20,000 HELLOs a second (41 Mbit/s), each from a new address."""
        flood = [(BEGINNING + 2 * self.rng.random(), None, self.anywhere()) for _ in range(40_000)]
        hello, got_in = hs.hello(bytes(8), bytes(32), None), Counter[Priority]()
        for now, priority, address in sorted([*flood, *self.callers()], key=lambda event: event[0]):
            challenge = self.acceptor.challenge(hello, address, priority or UNKNOWN, now)
            if priority is not None:
                got_in[priority] += challenge is not None
        self.assertGreaterEqual(got_in[Priority.CONTACT], 0.9 * self.CALLERS)
        self.assertGreaterEqual(got_in[Priority.PROVEN], 0.9 * self.CALLERS)
        self.assertGreaterEqual(got_in[UNKNOWN], 0.25 * self.CALLERS)

    def test_finishes(self) -> None:
        """FINISHes from 250 subnets, 500 a second in all and 5,000."""
        for rate in (500, 5_000):
            self.setUp()
            floods = [(f"{60 + n // 200}.{n % 200}.1.1", 8000) for n in range(250)]
            finishes = {address: self.finish(BEGINNING, caller=address) for address in floods}
            callers = self.callers()
            finishes |= {address: self.finish(BEGINNING, caller=address) for _, _, address in callers}
            flood = [
                (BEGINNING + 2 * self.rng.random(), None, self.rng.choice(floods)) for _ in range(2 * rate)
            ]
            got_in = Counter[Priority]()
            for now, priority, address in sorted([*flood, *callers], key=lambda event: event[0]):
                finish = finishes[address]
                may_open = self.acceptor.may_open(finish, address, priority or UNKNOWN, now)
                if priority is not None:
                    got_in[priority] += may_open
            self.assertGreaterEqual(got_in[Priority.CONTACT], 0.9 * self.CALLERS)
            self.assertGreaterEqual(got_in[Priority.PROVEN], 0.9 * self.CALLERS)
