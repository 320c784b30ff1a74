"""A target of several steps: the encrypted session layer of a node between two independent peers. They send
any bytes, bare or sealed with the right keys."""

import random
from collections.abc import Callable
from contextlib import suppress

from cryptography.exceptions import InvalidTag

from dht14.errors import Malformed
from dht14.kademlia.contact import Address, Contact
from dht14.security.hello_limiter import HelloLimiter
from dht14.security.identity import Identity, Puzzle
from dht14.security.prekey_clock import PrekeyClock
from dht14.session.acceptor import Limits
from dht14.session.encrypted import MAX_HANDSHAKES, EncryptedLayer, HelloProbe
from dht14.session.layer import Target
from tests.fakes import BEGINNING
from tests.fuzz.steps import step, steps
from tests.independent_peer import Identity as IndependentIdentity
from tests.independent_peer import Initiator, Proofs, Responder, seal
from tests.session.pair import unknown_priority

PUZZLE = Puzzle("fuzz", 0)
PROOFS = Proofs("fuzz", 0)
OWN = Identity.made_up(PUZZLE, random.Random(1))
CALLER, CALLEE = IndependentIdentity(PROOFS, b"\2" * 32), IndependentIdentity(PROOFS, b"\3" * 32)
CALLER_AT, CALLEE_AT, ELSEWHERE = ("192.0.2.1", 8000), ("192.0.2.2", 8000), ("192.0.2.3", 8000)
CALLEE_ID = PUZZLE.verify_proof(CALLEE.proof)

RAW, RAW_ELSEWHERE, RAW_CALLEE, HELLO, FINISH, FINISH_CHANGED, DATA, DATA_NUMBERED = range(8)
REACH, CHALLENGE, ACCEPT, AGAIN, WAIT, PROBED, BACK = range(8, 15)
KINDS = 15

FINISH_HEAD = 69


def new_layer(own: Identity, rng: random.Random, now: float, clock: Callable[[], float]) -> EncryptedLayer:
    """Return the session layer of a node without contacts."""
    return EncryptedLayer(
        identity=own,
        verify_proof=PUZZLE.verify_proof,
        rng=rng,
        limits=Limits(),
        is_contact=lambda contact: False,
        priority_of=unknown_priority,
        hello_limiter=HelloLimiter(),
        now=now,
        prekey_clock=PrekeyClock(clock),
    )


class Trial:
    """One input from start to end."""

    def __init__(self) -> None:
        self.now = BEGINNING
        rng = random.Random(4)
        self.layer = new_layer(OWN, rng, self.now, self.clock)
        self.probe = HelloProbe(PUZZLE.verify_proof, rng, PrekeyClock(self.clock))
        self.randbytes = random.Random(5).randbytes
        self.caller = self.initiator()
        challenge = self.received(self.caller.hello, CALLER_AT)[0]
        self.caller.open(self.received(self.caller.finish(challenge, b""), CALLER_AT)[0])
        self.callee = Responder(PROOFS, CALLEE, self.randbytes, self.clock)
        self.challenge = b""
        self.finish = b""
        self.undisturbed = True
        """Whether no step was one that may end a session."""

    def clock(self) -> float:
        return self.now

    def initiator(self) -> Initiator:
        return Initiator(PROOFS, CALLER, None, self.randbytes, self.clock)

    def received(self, datagram: bytes, address: Address) -> list[bytes]:
        """What the node sends back. Only HELLO, an expected CHALLENGE, FINISH and ACCEPT get an answer."""
        try:
            _, payload, replies = self.layer.received(datagram, address, self.now)
        except Malformed:
            return []
        assert isinstance(payload, bytes) and len(replies) <= 65
        answers = {b"\x41": b"\x42", b"\x42": b"\x43", b"\x43": b"\x44", b"\x44": b"\x45"}
        for reply in replies:
            assert reply[:1] == answers[datagram[:1]] and len(reply) <= 1_200
            assert reply[0] != 0x42 or len(reply) * 4 <= len(datagram) * 3
        return list(replies)

    def take(self, what: int, data: bytes) -> None:
        """One step."""
        if what in (RAW, RAW_ELSEWHERE, RAW_CALLEE):
            self.received(data, (CALLER_AT, ELSEWHERE, CALLEE_AT)[what - RAW])
        elif what == HELLO:
            self.received(b"\x41" + data[:255].ljust(255, b"\0"), ELSEWHERE)
        elif what in (FINISH, FINISH_CHANGED):
            self.begin(what, data)
        elif what == DATA:
            self.received(self.caller.data(data), CALLER_AT)
        elif what == DATA_NUMBERED:
            self.undisturbed = False
            self.caller.sent = int.from_bytes(data[:8], "big")
            self.received(self.caller.data(data[8:]), CALLER_AT)
        elif what == WAIT:
            self.undisturbed = False
            self.now += int.from_bytes(data[:3], "big") / 100 - 10
            self.layer.tidy(self.now)
        elif what == PROBED:
            with suppress(Malformed):
                self.probe.nonce_in(data)
                self.probe.answerer(data, self.now)
        elif what == BACK:
            if session := self.layer.sessions.by_address.get(CALLER_AT):
                self.caller.open(session.seal(data, self.now))
        else:
            self.call(what, data)

    def begin(self, what: int, data: bytes) -> None:
        """Another initiator begins a session: with any bytes in its FINISH, or with a changed one."""
        initiator = self.initiator()
        for challenge in self.received(initiator.hello, ELSEWHERE):
            finish = bytearray(initiator.finish(challenge, b""))
            if what == FINISH:
                finish = bytearray(seal(initiator.keys.fin, 0, initiator.last_finish[:FINISH_HEAD], data))
            else:
                for at, change in enumerate(data[2:], int.from_bytes(data[:2], "big") % len(finish)):
                    finish[at % len(finish)] ^= change
            self.received(bytes(finish), ELSEWHERE)

    def call(self, what: int, data: bytes) -> None:
        """The node begins a session, step by step."""
        contact = Contact(CALLEE_ID, CALLEE_AT, CALLEE.proof)
        if what == REACH:
            sealed = self.layer.seal(contact, data, self.now)
            sent = (
                self.layer.reach(Target(CALLEE_AT, CALLEE_ID, True), data, self.now) if sealed is None else ()
            )
        elif what == AGAIN:
            sent = self.layer.resend(Target(CALLEE_AT, CALLEE_ID if data else None, True), data, self.now)
        elif what == CHALLENGE:
            changed = bytes(a ^ b for a, b in zip(self.challenge, data.ljust(181, b"\0"), strict=False))
            sent = tuple(self.received(changed, CALLEE_AT))
        else:
            if hasattr(self.callee, "k_ri"):
                head = b"\x44" + self.callee.initiator_cid + data[:8].ljust(8, b"\0")
                number = int.from_bytes(head[9:], "big")
                self.received(seal(self.callee.k_ri, number, head, data[8:]), CALLEE_AT)
            return
        for datagram in sent:
            if datagram[0] == 0x41:
                self.challenge = self.callee.challenge(datagram)
            elif datagram[0] == 0x43:
                with suppress(KeyError, InvalidTag):  # A resend: the callee answers the first alone.
                    self.callee.finish(datagram, CALLER_AT)

    def end(self) -> None:
        """What holds after any input."""
        layer = self.layer
        layer.sessions.check_invariants()
        assert len(layer._initiators) == len(layer._initiators_by_cid) <= MAX_HANDSHAKES
        if self.undisturbed:
            peer, payload, _ = layer.received(self.caller.data(b"still here"), CALLER_AT, self.now)
            assert peer is not None and payload == b"still here"


def sealed_session(raw: bytes) -> None:
    """Only Malformed leaves the session layer, and a peer with a session keeps it."""
    trial = Trial()
    for what, data in steps(raw):
        trial.take(what % KINDS, data)
    trial.end()


def session_steps() -> list[bytes]:
    """Each kind of step, and the ones that belong together."""
    accept = bytes(8) + b"cid_r..8" + bytes(18) + b"response"
    called = step(REACH, b"request") + step(CHALLENGE) + step(ACCEPT, accept)
    return [
        step(RAW, b"\x45" + bytes(30)) + step(RAW_ELSEWHERE, b"\x42" + bytes(180)),
        step(RAW, b"\x43" + bytes(300)) + step(RAW_CALLEE, b"\x44" + bytes(60)),
        step(HELLO, bytes(16)) + step(PROBED, b"\x42" + bytes(180)),
        step(FINISH, bytes(48 + 64)) + step(FINISH, CALLER.proof + bytes(64) + b"request"),
        step(FINISH_CHANGED, b"\0\0\0\0") + step(FINISH_CHANGED, b"\0\x09\1"),
        step(DATA, b"payload") + step(BACK, b"answer") + step(DATA),
        b"".join(step(DATA_NUMBERED, number.to_bytes(8, "big")) for number in (2000, 1999, 2000, 5)),
        called + step(REACH, b"another"),
        step(REACH, b"request") + step(AGAIN, b"request") + step(CHALLENGE) + step(ACCEPT, accept),
        called + step(AGAIN, b"request") + step(WAIT, b"\x05\0\0") + step(REACH, b"late") + step(AGAIN),
        step(REACH, b"request") + step(CHALLENGE, bytes(9) + b"\1"),
        step(WAIT, b"\0\x10\0") + step(DATA, b"late"),
    ]
