"""A differential target: the session layer and the independent peer get the same datagrams, in either role,
and must take the same ones, read the same in them, and send the same bytes.

The independent peer is given the random bytes of the layer, and its cookies, which only their maker reads.
"""

import random
from contextlib import suppress
from typing import Any

from cryptography.exceptions import InvalidSignature, InvalidTag

from dht14.errors import Malformed
from dht14.security.identity import Identity, Puzzle
from dht14.session.layer import Target
from dht14.session.session import Session
from tests.fakes import BEGINNING
from tests.fuzz.sessions import new_layer
from tests.fuzz.steps import step, steps
from tests.independent_messages import VOID
from tests.independent_peer import Identity as IndependentIdentity
from tests.independent_peer import Initiator, Proofs, Responder, seal, unseal

PUZZLE, PROOFS = Puzzle("fuzz", 0), Proofs("fuzz", 0)
KEY = bytes(31) + b"\5"
"""The private key that both have."""
OURS_AT, THEIRS_AT = ("192.0.2.1", 8000), ("192.0.2.2", 8000)
THEIRS = IndependentIdentity(PROOFS, b"\3" * 32)
TWIN = IndependentIdentity(PROOFS, KEY)
"""The independent twin of the layer's node."""
OURS = Identity(TWIN.key, TWIN.proof, PUZZLE.verify_proof(TWIN.proof))
NOT_TAKEN = (*VOID, InvalidSignature, InvalidTag)

HELLO, FINISH, FINISH_SEALED, FINISH_CHANGED, DATA, DATA_CHANGED, ANSWER, WAIT = range(8)
REACH, CHALLENGE, CHALLENGE_SIGNED, CHALLENGE_CHANGED, ACCEPT, ACCEPT_CHANGED, PEER_DATA = range(8, 15)
KINDS = 15


class Source(random.Random):
    """A source whose bytes can be drawn a second time."""

    def __init__(self) -> None:
        super().__init__(4)
        self.drawn: list[bytes] = []

    def randbytes(self, n: int) -> bytes:
        self.drawn.append(super().randbytes(n))
        return self.drawn[-1]


def changed(raw: bytes, data: bytes) -> bytes:
    """These bytes with some of them changed: `at u16 | xor …`; with `at` beyond them, cut short or longer."""
    at, changes = int.from_bytes(data[:2], "big"), data[2:]
    if at & 0x8000:
        return (raw + changes)[: at & 0x7FF]
    out = bytearray(raw)
    for number, change in enumerate(changes, at):
        out[number % len(out)] ^= change
    return bytes(out)


class Both:
    """The layer, and what the independent peer makes of the same."""

    def __init__(self) -> None:
        self.now = BEGINNING
        self.rng = Source()
        self.layer = new_layer(OURS, self.rng, self.now, self.clock)
        self.randbytes = random.Random(5).randbytes
        # In which the peer calls the layer: the caller, and the twin of the layer.
        self.twin: Responder | None = None
        self.caller = self.new_caller(0)
        self.challenge = b""
        self.finished: set[bytes] = set()
        """The ephemeral keys that had their FINISH."""
        self.session: Session | None = None
        self.session_twin: Responder | None = None
        self.taken: set[int] = set()
        """The counters of the packets that have come."""
        # In which the layer calls the peer: the twin's handshake, and the peer.
        self.callee = Responder(PROOFS, THEIRS, self.randbytes, self.clock)
        self.calling: Initiator | None = None
        self.its_challenge = b""
        self.reached_at = 0.0
        self.is_accepted = False
        self.ahead = 0.0
        """How far the time of the peer is ahead, once the layer has called it."""
        self.has_heard = False
        self.its_taken: set[int] = set()

    def clock(self) -> float:
        return self.now

    def received(self, datagram: bytes) -> tuple[Any, bytes, Any]:
        try:
            return self.layer.received(datagram, THEIRS_AT, self.now)
        except Malformed:
            return None, b"", ()

    def take(self, what: int, data: bytes) -> None:
        """One step."""
        if what == WAIT:
            self.now += int.from_bytes(data[:1], "big") / 4
        elif what < WAIT:
            self.as_responder(what, data)
        else:
            self.as_initiator(what, data)

    # The peer calls

    def new_caller(self, hint: int) -> Initiator:
        """A caller that seeks the node, any, or another one."""
        sought = (None, TWIN.node_id, THEIRS.node_id)[hint % 3]
        caller = Initiator(PROOFS, THEIRS, sought, self.randbytes, self.clock)
        caller.sought = None
        return caller

    def as_responder(self, what: int, data: bytes) -> None:
        if what == HELLO:
            self.hello(data)
        elif what == ANSWER and self.session is not None and self.session_twin is not None:
            ours = self.session.seal(data[:1_000], self.now)
            assert ours == self.session_twin.answer(data[:1_000])
        elif what in (DATA, DATA_CHANGED) and self.session is not None:
            self.data(what, data)
        elif self.challenge and what in (FINISH, FINISH_SEALED, FINISH_CHANGED):
            request = data[:1_100] if what == FINISH else b""
            finish = self.caller.finish(self.challenge, request)
            if what == FINISH_SEALED:
                finish = seal(self.caller.keys.fin, 0, finish[:69], data)
            elif what == FINISH_CHANGED:
                finish = changed(finish, data)
            self.finish(finish)

    def hello(self, data: bytes) -> None:
        self.caller = self.new_caller(sum(data[:1]))
        hello = self.caller.hello[:49] + data[1:208].ljust(207, b"\0")
        drawn = len(self.rng.drawn)
        _, _, (challenge,) = self.received(hello)
        if len(self.rng.drawn) > drawn:  # Another pre-key.
            time = max(self.now, self.now + self.ahead)
            self.twin = Responder(PROOFS, TWIN, lambda length: self.rng.drawn[-1], lambda: time)
            self.twin.clock = self.clock
        assert self.twin is not None
        self.challenge, self.twin.random = challenge, lambda length: challenge[9:33]
        assert self.twin.challenge(hello) == challenge

    def finish(self, finish: bytes) -> None:
        assert self.twin is not None
        opened, over_limit = self.layer.metrics.accepted, self.layer.metrics.finish_over_limit
        _, request, replies = self.received(finish)
        if self.layer.metrics.finish_over_limit > over_limit:
            return
        is_taken = self.layer.metrics.accepted > opened
        if finish[33:65] in self.finished:
            assert not is_taken and (not replies or replies == (self.session_accept,))
            return
        cid = list(self.layer.sessions.by_cid)[-1] if is_taken else bytes(8)
        self.twin.random = lambda length: cid
        try:
            its_request = self.twin.finish(finish, THEIRS_AT)
        except NOT_TAKEN:
            assert not is_taken, "ours takes what its does not"
            return
        assert is_taken and its_request == request, "its takes what ours does not"
        self.finished.add(finish[33:65])
        self.session, self.taken = self.layer.sessions.by_cid[cid], set()
        self.session_twin = self.twin
        assert not replies or [self.twin.answer(b"")] == list(replies)

    @property
    def session_accept(self) -> bytes | None:
        accepting = self.session.accepting if self.session is not None else None
        return accepting.last if accepting is not None else None

    def data(self, what: int, data: bytes) -> None:
        """A DATA of the caller: `counter u64 | payload`, or a changed one."""
        twin = self.session_twin
        assert twin is not None and self.session is not None
        count, payload = data[:8].rjust(8, b"\0"), data[8:]
        head = b"\x45" + self.session.own_cid + count
        sealed = seal(twin.k_ir, int.from_bytes(count, "big"), head, payload)
        if what == DATA_CHANGED:
            sealed = changed(sealed, payload)
        ours = self.received(sealed)
        was_confirmed = twin.confirmed
        try:
            its = twin.open(sealed)
        except NOT_TAKEN:
            assert ours[0] is None, "ours takes what its does not"
            return
        if self.session.own_cid not in self.layer.sessions.by_cid:
            return
        counter = int.from_bytes(sealed[9:17], "big")
        is_new = counter not in self.taken and counter > max(self.taken, default=-1) - 1_024
        assert (ours[0] is self.session, ours[1]) == (is_new, its if is_new else b"")
        self.taken |= {counter} if is_new else set()
        twin.confirmed = was_confirmed or is_new

    # The layer calls

    def as_initiator(self, what: int, data: bytes) -> None:
        if what == REACH:
            self.reach(data[:1_003])
        elif self.calling is None:
            return
        elif what in (CHALLENGE, CHALLENGE_SIGNED, CHALLENGE_CHANGED) and not hasattr(self.calling, "keys"):
            challenge = self.its_challenge
            if what == CHALLENGE_SIGNED:
                key, expires = data[:32].ljust(32, b"\0"), data[32:36].rjust(4, b"\0")
                signature = THEIRS.key.sign(b"dht14/prekey" + key + expires)
                challenge = challenge[:81] + key + expires + signature
            elif what == CHALLENGE_CHANGED:
                challenge = changed(challenge, data)
            self.answer_challenge(challenge)
        elif what in (ACCEPT, ACCEPT_CHANGED, PEER_DATA) and hasattr(self.calling, "keys"):
            self.accept(what, data)

    def reach(self, request: bytes) -> None:
        """Begin a handshake; the twin has the same random bytes."""
        self.now += 10.0  # The one before is given up.
        self.layer.tidy(self.now)
        if not self.is_accepted:
            self.calling = None
        if THEIRS_AT in self.layer.sessions.by_address:
            return
        sought = PUZZLE.verify_proof(THEIRS.proof) if request[:1] < b"\x80" else None
        sent = self.layer.reach(Target(THEIRS_AT, sought, True), request, self.now)
        drawn = iter(self.rng.drawn[-2:])
        node_id = None if sought is None else THEIRS.node_id
        self.calling = Initiator(PROOFS, TWIN, node_id, lambda length: next(drawn), self.clock)
        self.calling.heard = [self.now + self.ahead] * self.has_heard
        self.request, self.is_accepted, self.its_taken = request, False, set()
        assert list(sent) == [self.calling.hello]
        self.its_challenge = self.callee.challenge(self.calling.hello)
        self.reached_at = self.now

    def answer_challenge(self, challenge: bytes) -> None:
        assert self.calling is not None
        _, _, ours = self.received(challenge)
        try:
            its = [self.calling.finish(challenge, self.request)]
        except NOT_TAKEN:
            its = []
            for name in ("keys", "responder"):
                with suppress(AttributeError):
                    delattr(self.calling, name)
        assert list(ours) == its
        self.answered = challenge
        # A cookie lasts for two minutes. Without `tidy` the layer waits for longer.
        if its and challenge == self.its_challenge and self.now - self.reached_at < 119.0:
            assert self.callee.finish(its[0], OURS_AT) == self.request

    def accept(self, what: int, data: bytes) -> None:
        """An ACCEPT or DATA of the peer: `counter u64 | text`, or a changed one."""
        assert self.calling is not None
        count = data[:8].rjust(8, b"\0")
        head = (b"\x45" if what == PEER_DATA else b"\x44") + self.calling.cid + count
        sealed = seal(self.calling.k_ri, int.from_bytes(count, "big"), head, data[8:])
        if what == ACCEPT_CHANGED:
            sealed = changed(sealed, data[8:])
        if sealed[:1] not in (b"\x44", b"\x45"):
            return
        opened = self.layer.metrics.opened
        peer, payload, _ = self.received(sealed)
        counter = int.from_bytes(sealed[9:17], "big")
        is_new = counter not in self.its_taken and counter > max(self.its_taken, default=-1) - 1_024
        try:
            its = self.calling.open(sealed)
        except NOT_TAKEN:
            assert peer is None, "ours takes what its does not"
            with suppress(*NOT_TAKEN):  # Its counter counts if its tag is right, whatever is in it.
                assert len(sealed) <= 1_200 and sealed[:9] == b"\x44" + self.calling.cid and is_new
                unseal(self.calling.k_ri, counter, sealed, 17)
                self.its_taken.add(counter)
            return
        is_first = sealed[:1] == b"\x44" and not self.is_accepted
        if not self.is_accepted and not is_first:
            assert peer is None, "DATA before the ACCEPT"
            return
        assert (peer is not None, payload) == (is_new, its if is_new else b"")
        assert (self.layer.metrics.opened > opened) == (is_first and is_new)
        if is_first and is_new:
            self.has_heard, self.is_accepted = True, True
            self.ahead = int.from_bytes(self.answered[113:117], "big") * 60 - 1_200 - self.now
        self.its_taken |= {counter} if is_new else set()


def same_session(raw: bytes) -> None:
    """Handshakes and packets of both roles: the layer and the independent peer take the same."""
    both = Both()
    for what, data in steps(raw):
        both.take(what % KINDS, data)


def same_steps() -> list[bytes]:
    """Each kind of step, and the ones that belong together."""
    inner = THEIRS.proof + bytes(64) + b"request"
    begun = step(HELLO, b"\1") + step(FINISH, b"request")
    numbered = b"".join(
        step(DATA, bytes([0, 0, 0, 0, 0, 0, high, low]) + b"x")
        for high, low in ((8, 0), (4, 1), (4, 0), (8, 0), (7, 9))
    )
    key = bytes(range(32))
    soon = (int(BEGINNING) // 60 + 30).to_bytes(4, "big")
    accept = bytes(8) + b"cid_r..8" + bytes(18) + b"response"
    return [
        step(HELLO)
        + step(FINISH)
        + step(ANSWER, b"one")
        + step(DATA, bytes(8) + b"two")
        + step(ANSWER, b"3"),
        begun + step(ANSWER, b"answer") + step(FINISH, b"request") + numbered,
        step(HELLO, b"\2" + bytes(207)) + step(FINISH, b"request"),
        step(HELLO)
        + step(FINISH, bytes(1_003))
        + step(FINISH_SEALED, inner)
        + step(FINISH_SEALED, bytes(2_000)),
        step(HELLO) + step(FINISH_CHANGED, b"\0\x05\1") + step(FINISH_CHANGED, b"\x80\x90"),
        begun + step(DATA_CHANGED, bytes(8) + b"\0\x20\1") + step(DATA, bytes(8) + bytes(1_170)),
        step(HELLO) + step(WAIT, b"\xff") * 3 + step(FINISH) + step(HELLO) + step(FINISH),
        step(REACH, b"request")
        + step(CHALLENGE)
        + step(ACCEPT, accept)
        + step(PEER_DATA, bytes(7) + b"\1more"),
        step(REACH, b"\xff") + step(CHALLENGE_CHANGED, b"\0\x40\1") + step(CHALLENGE) + step(ACCEPT, accept),
        step(REACH, b"a") + step(CHALLENGE_SIGNED, key + soon) + step(ACCEPT_CHANGED, bytes(8) + b"\0\x12\1"),
        step(REACH)
        + step(CHALLENGE_SIGNED, bytes(36))
        + step(CHALLENGE_SIGNED, key)
        + step(ACCEPT, bytes(30)),
        step(REACH, b"a") + step(CHALLENGE) + step(PEER_DATA, bytes(8)) + step(ACCEPT, accept[:30]),
    ]
