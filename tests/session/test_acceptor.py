import random
from collections import Counter

from twisted.trial.unittest import SynchronousTestCase

from dht14.errors import Malformed
from dht14.kademlia.contact import Address
from dht14.security.agreed_time import AgreedTime
from dht14.security.identity import Identity
from dht14.security.shares import TIERS, Priority
from dht14.security.subnets import Scope
from dht14.session import handshake as hs
from dht14.session.acceptor import (
    CHALLENGES_OF,
    COOKIE_LIFE,
    FINISHES_A_SECOND,
    PREKEY_ROTATION,
    Acceptor,
    Limits,
)
from dht14.session.initiator import Initiator
from dht14.session.metrics import SessionMetrics
from tests.session.pair import BEGINNING, PUZZLE

CALLER = ("10.0.0.1", 8000)
UNKNOWN = Priority.UNKNOWN


class GateTestCase(SynchronousTestCase):
    """One gate, and somebody who calls."""

    def setUp(self) -> None:
        self.identity = Identity.made_up(PUZZLE, random.Random(1))
        self.caller = Identity.made_up(PUZZLE, random.Random(2))
        self.metrics = SessionMetrics()
        self.wall = BEGINNING
        self.gate = self.new_gate()
        self.rng = random.Random(3)

    def new_gate(self, limits: Limits | None = None) -> Acceptor:
        limits = limits or Limits()
        rng = random.Random(4)
        return Acceptor(
            self.identity, PUZZLE.check, rng, limits, BEGINNING, AgreedTime(lambda: self.wall), self.metrics
        )

    def finish(self, began: float = BEGINNING, node_id: int | None = None, caller: Address = CALLER) -> bytes:
        """A FINISH whose HELLO came then."""
        opening = Initiator.begin(caller, node_id, self.rng.randbytes(8), self.rng.randbytes(32), began)
        opening.enqueue(b"request")
        challenge = self.gate.challenge(opening.datagram, caller, UNKNOWN, began)
        assert challenge is not None
        opening.finish(hs.Challenge.parse(challenge), self.caller, self.identity.node_id, began)
        return opening.datagram


class GateTests(GateTestCase):
    """The responder's side, step by step."""

    def test_admitted(self) -> None:
        """With a hint or without one, a FINISH tells who calls and what it wants."""
        for node_id in (None, self.identity.node_id):
            finish = self.finish(node_id=node_id)
            self.assertTrue(self.gate.welcomes(finish, CALLER, UNKNOWN, BEGINNING))
            admitted = self.gate.admit(finish, b"cid of it", BEGINNING)
            self.assertEqual((admitted.node_id, admitted.proof), (self.caller.node_id, self.caller.proof))
            self.assertEqual(admitted.request, b"request")
            self.assertEqual(self.gate.seen(finish), b"cid of it")

    def test_cookie_life(self) -> None:
        """A CHALLENGE may be answered for two minutes, also across a rotation of pre-keys."""
        begun = BEGINNING + PREKEY_ROTATION - 1
        self.finish(BEGINNING)
        finish = self.finish(begun)
        self.finish(begun + 2)
        self.assertTrue(self.gate.welcomes(finish, CALLER, UNKNOWN, begun + COOKIE_LIFE))
        self.assertEqual(self.gate.admit(finish, b"12345678", begun + COOKIE_LIFE).request, b"request")
        self.assertFalse(self.gate.welcomes(finish, CALLER, UNKNOWN, begun + COOKIE_LIFE + 1))

    def test_clock_set_back(self) -> None:
        """Cookies from the future are not taken; new ones work at once."""
        finish = self.finish(BEGINNING)
        self.assertFalse(self.gate.welcomes(finish, CALLER, UNKNOWN, BEGINNING - 3600))
        self.assertTrue(self.gate.welcomes(self.finish(BEGINNING - 3600), CALLER, UNKNOWN, BEGINNING - 3600))

    def test_clock_wrong(self) -> None:
        """A pre-key that was dated by a wrong clock gives way to another one as soon as that shows; those who have it
        may use it."""
        self.wall = BEGINNING - 1e9
        finish = self.finish()
        self.wall = BEGINNING
        (exp,) = {hs.Challenge.parse(self.challenge()).made_at for _ in range(3)}
        self.assertApproximates(exp, BEGINNING, 60)
        self.assertTrue(self.gate.welcomes(finish, CALLER, UNKNOWN, BEGINNING))

    def challenge(self) -> bytes:
        challenge = self.gate.challenge(hs.hello(bytes(8), bytes(32), None), CALLER, UNKNOWN, BEGINNING)
        assert challenge is not None
        return challenge

    def test_cookies(self) -> None:
        """Whatever of a cookie is changed, it is nobody's; nor is that of another gate."""
        finish = self.finish()
        for place in range(9, 33):
            forged = finish[:place] + bytes([finish[place] ^ 1]) + finish[place + 1 :]
            self.assertFalse(self.gate.welcomes(forged, CALLER, UNKNOWN, BEGINNING))
        other = Acceptor(
            self.identity,
            PUZZLE.check,
            random.Random(5),
            Limits(),
            BEGINNING,
            AgreedTime(lambda: BEGINNING),
            self.metrics,
        )
        other.challenge(hs.hello(bytes(8), bytes(32), None), CALLER, UNKNOWN, BEGINNING)
        self.assertFalse(other.welcomes(finish, CALLER, UNKNOWN, BEGINNING))

    def test_refused_leave_nothing(self) -> None:
        """What is opened in vain is not remembered: nobody can fill the memory of this or lock another out."""
        finish = self.finish()
        forged = finish[:-1] + bytes([finish[-1] ^ 1])
        self.assertRaises(Malformed, self.gate.admit, forged, b"12345678", BEGINNING)
        self.assertIsNone(self.gate.seen(finish))

    def test_identity_of_another(self) -> None:
        """Who does not hold the key of its proof is not admitted."""
        thief = Identity(
            Identity.made_up(PUZZLE, self.rng).private_key, self.caller.proof, self.caller.node_id
        )
        self.caller = thief
        finish = self.finish()
        self.assertTrue(self.gate.welcomes(finish, CALLER, UNKNOWN, BEGINNING))
        self.assertRaises(Malformed, self.gate.admit, finish, b"12345678", BEGINNING)

    def test_all_of_them(self) -> None:
        """In all, so many FINISHes are taken a second, and of strangers half as many."""
        for standing, part in ((UNKNOWN, TIERS[0]), (Priority.CONTACT, 1.0)):
            self.setUp()
            finishes = [self.finish(caller=(f"10.0.{n}.1", 8000)) for n in range(20)]
            taken = 0
            for turn in range(2 * FINISHES_A_SECOND):
                finish, number = finishes[turn % 20], turn % 20
                taken += self.gate.welcomes(finish, (f"10.0.{number}.1", 8000), standing, BEGINNING)
            self.assertEqual(taken, part * FINISHES_A_SECOND + 2 * (standing is UNKNOWN))
            self.assertEqual(self.metrics.finish_over_limit, 2 * FINISHES_A_SECOND - taken)

    def test_hellos_of_a_host(self) -> None:
        """A host at home gets no more CHALLENGEs than its rate, whatever ports it writes from."""
        self.gate = self.new_gate(Limits(peer_rate=10, peer_burst=20))
        hello = hs.hello(bytes(8), bytes(32), None)
        answered = [self.gate.challenge(hello, ("10.0.0.1", port), UNKNOWN, BEGINNING) for port in range(100)]
        self.assertEqual(len([one for one in answered if one]), 20)
        self.assertIsNotNone(self.gate.challenge(hello, ("10.0.0.2", 1), UNKNOWN, BEGINNING))

    def test_hellos_of_a_subnet(self) -> None:
        """A subnet, and an IPv6 provider with all its subnets, gets its share of CHALLENGEs; others get theirs."""
        hello = hs.hello(bytes(8), bytes(32), None)
        for host, scope in (("198.51.100.{}", Scope.SUBNET), ("2001:db8:{}::1", Scope.PROVIDER)):
            hosts = [host.format(n % 200) for n in range(4_000)]
            sent = sum(
                self.gate.challenge(hello, (each, 1), UNKNOWN, BEGINNING) is not None for each in hosts
            )
            self.assertEqual(sent, 2 * CHALLENGES_OF[scope])
        self.assertIsNotNone(self.gate.challenge(hello, ("203.0.113.1", 1), UNKNOWN, BEGINNING))


class FloodTests(GateTestCase):
    """Handshakes at random moments (seeded) while others flood: who is known gets in."""

    COMERS = 100

    def anywhere(self) -> Address:
        return f"{self.rng.randrange(20, 120)}.{self.rng.randrange(256)}.{self.rng.randrange(256)}.1", 8000

    def comers(self) -> list[tuple[float, Priority, Address]]:
        """So many of each standing, in the second after the first."""
        return [
            (BEGINNING + 1 + self.rng.random(), standing, self.anywhere())
            for standing in Priority
            for _ in range(self.COMERS)
        ]

    def test_hellos(self) -> None:
        """20,000 HELLOs a second (41 Mbit/s) from ever other addresses."""
        flood = [(BEGINNING + 2 * self.rng.random(), None, self.anywhere()) for _ in range(40_000)]
        hello, got_in = hs.hello(bytes(8), bytes(32), None), Counter[Priority]()
        for now, standing, address in sorted([*flood, *self.comers()], key=lambda event: event[0]):
            challenge = self.gate.challenge(hello, address, standing or UNKNOWN, now)
            if standing is not None:
                got_in[standing] += challenge is not None
        self.assertGreaterEqual(got_in[Priority.CONTACT], 0.9 * self.COMERS)
        self.assertGreaterEqual(got_in[Priority.PROVEN], 0.9 * self.COMERS)
        self.assertGreaterEqual(got_in[UNKNOWN], 0.25 * self.COMERS)

    def test_finishes(self) -> None:
        """FINISHes from 250 subnets, 500 a second in all and 5,000."""
        for rate in (500, 5_000):
            self.setUp()
            floods = [(f"{60 + n // 200}.{n % 200}.1.1", 8000) for n in range(250)]
            finishes = {address: self.finish(BEGINNING, caller=address) for address in floods}
            comers = self.comers()
            finishes |= {address: self.finish(BEGINNING, caller=address) for _, _, address in comers}
            flood = [
                (BEGINNING + 2 * self.rng.random(), None, self.rng.choice(floods)) for _ in range(2 * rate)
            ]
            got_in = Counter[Priority]()
            for now, standing, address in sorted([*flood, *comers], key=lambda event: event[0]):
                finish = finishes[address]
                welcome = self.gate.welcomes(finish, address, standing or UNKNOWN, now)
                if standing is not None:
                    got_in[standing] += welcome
            self.assertGreaterEqual(got_in[Priority.CONTACT], 0.9 * self.COMERS)
            self.assertGreaterEqual(got_in[Priority.PROVEN], 0.9 * self.COMERS)
