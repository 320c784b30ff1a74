"""Encrypted sessions: the handshakes of both sides, and the sessions that result from them.

The first answer of an unknown peer takes two round trips, every further one a single one. No message
says that its sender has lost the keys: a node that hears nothing sends DATA and HELLO together the second
time, and so reaches a peer that has forgotten the session.
"""

import random
from collections.abc import Callable

from attrs import evolve, frozen

from dht14.errors import Malformed
from dht14.kademlia.contact import Address, Contact, shared_contact
from dht14.security.hello_limiter import HelloLimiter
from dht14.security.identity import Identity, VerifyProof
from dht14.security.prekey_clock import PrekeyClock
from dht14.security.rate_limiter import PeerLimiter
from dht14.security.shares import Priority
from dht14.session import handshake as hs
from dht14.session.acceptor import Acceptor, Limits
from dht14.session.initiator import Initiator
from dht14.session.layer import NOTHING, Datagrams, Received, Target
from dht14.session.metrics import SessionMetrics
from dht14.session.session import REKEY_AFTER, REKEY_PACKETS, Session
from dht14.session.session_table import SessionTable

MAX_HANDSHAKES = 1_024
"""Handshakes of this node under way; another one replaces the oldest."""

RESEND_AFTER = 0.25
"""Seconds after which another request to the same node sends the HELLO or FINISH again."""
RESEND_GAP = 0.02
"""Seconds between two of them when requests are resent."""


class EncryptedLayer:
    """A `SessionLayer`: AES-256-GCM between nodes that proved their ids and addresses."""

    def __init__(
        self,
        *,
        identity: Identity,
        verify_proof: VerifyProof,
        rng: random.Random,
        limits: Limits,
        is_contact: Callable[[Contact], bool],
        priority_of: Callable[[Address], Priority],
        hello_limiter: HelloLimiter,
        now: float,
        prekey_clock: PrekeyClock,
    ) -> None:
        """`is_contact`: see `SessionTable`. `priority_of`: who comes first under too many handshakes."""
        self._prekey_clock = prekey_clock
        self._identity = identity
        self._verify_proof = verify_proof
        self._rng = rng
        self.metrics = SessionMetrics()
        self._acceptor = Acceptor(
            identity=identity,
            verify_proof=verify_proof,
            rng=rng,
            limits=limits,
            now=now,
            prekey_clock=prekey_clock,
            metrics=self.metrics,
        )
        self._limiter = PeerLimiter(limits.peer_rate, limits.peer_burst, limits.diversity_private)
        self._priority_of = priority_of
        self._hello_limiter = hello_limiter
        self.sessions = SessionTable(identity.node_id, is_contact)
        self._initiators: dict[Target, Initiator] = {}
        """The handshakes that this node began; the oldest first."""
        self._initiators_by_cid: dict[bytes, Initiator] = {}

    # Sending

    def seal(self, contact: Contact, payload: bytes, now: float) -> bytes | None:
        """As `SessionLayer.seal`."""
        session = self.sessions.by_address.get(contact.address)
        if (
            session is None
            or now - session.made_at >= REKEY_AFTER
            or session.sent >= REKEY_PACKETS
            or session.contact.node_id != contact.node_id
        ):
            return None
        return session.seal(payload, now)

    def reach(self, target: Target, payload: bytes, now: float) -> Datagrams:
        """As `SessionLayer.reach`."""
        session = self._usable_session(target, now)
        if session is None:
            return self._send_handshake(target, payload, now, RESEND_AFTER)
        data = session.seal(payload, now)
        if not session.needs_rekey(now):
            return (data,)
        same_node = evolve(target, node_id=session.contact.node_id)
        return (data, *self._send_handshake(same_node, b"", now, RESEND_AFTER))

    def resend(self, target: Target, payload: bytes, now: float) -> Datagrams:
        """As `SessionLayer.resend`."""
        session = self._usable_session(target, now)
        if session is None:
            return self._send_handshake(target, payload, now, RESEND_GAP)
        # Either the datagram was lost, or the peer has forgotten the session. This cures both.
        data = session.seal(payload, now)
        same_node = evolve(target, node_id=session.contact.node_id)
        handshake = self._send_handshake(same_node, payload, now, RESEND_GAP)
        initiator = self._initiators.get(same_node)
        session.recovery_cid = initiator.cid if initiator is not None else b""
        return (data, *handshake)

    def _usable_session(self, target: Target, now: float) -> Session | None:
        session = self.sessions.by_address.get(target.address)
        if session is None or not target.is_met_by(session.contact.node_id) or session.is_over(now):
            return None
        return session

    def _send_handshake(self, target: Target, payload: bytes, now: float, resend_after: float) -> Datagrams:
        """Begin a handshake, or resend the latest datagram of the one under way."""
        initiator = self._initiators.get(target)
        if initiator is not None and initiator.is_over(now):
            self._give_up(initiator)
            initiator = None
        if initiator is not None and now - initiator.sent_at < resend_after:
            initiator.enqueue(payload)
            return ()
        is_hello = initiator is None or initiator.session is None
        if is_hello and not target.by_address and not self._hello_limiter.take(target.address, now):
            self.metrics.hellos_withheld += 1
            return ()
        if initiator is None:
            initiator = self._new_initiator(target, now)
        initiator.enqueue(payload)
        initiator.sent_at = now
        return (initiator.datagram,)

    def _new_initiator(self, target: Target, now: float) -> Initiator:
        initiator = Initiator.begin(target, self._new_cid(), self._rng.randbytes(hs.KEY_BYTES), now)
        if len(self._initiators) >= MAX_HANDSHAKES:
            self._give_up(next(iter(self._initiators.values())))
        self._initiators[target] = initiator
        self._initiators_by_cid[initiator.cid] = initiator
        return initiator

    def _new_cid(self) -> bytes:
        while True:
            cid = self._rng.randbytes(hs.CID_BYTES)
            if cid not in self.sessions.by_cid and cid not in self._initiators_by_cid:
                return cid

    def _give_up(self, initiator: Initiator) -> None:
        del self._initiators[initiator.target]
        del self._initiators_by_cid[initiator.cid]

    # Receiving

    def received(self, datagram: bytes, address: Address, now: float) -> Received:
        """As `SessionLayer.received`."""
        kind = datagram[:1]
        if kind == hs.DATA:
            session = self.sessions.by_cid.get(datagram[hs.CID])
            if session is None or session.contact.address != address:
                self.metrics.no_session += 1
                return NOTHING
            payload = session.open(datagram, now)
            if payload is None:
                self.metrics.unauthentic += 1
                return NOTHING
            if session.accepting is not None:
                session.confirmed()
            if session.recovery_cid:
                self._recovered(session)
            return session, payload, ()
        return self._received_handshake(kind, datagram, address, now)

    def _received_handshake(self, kind: bytes, datagram: bytes, address: Address, now: float) -> Received:
        if kind == hs.ACCEPT:
            return self._received_accept(datagram, address, now)
        if kind == hs.HELLO:
            challenge = self._acceptor.challenge(datagram, address, self._priority_of(address), now)
            return NOTHING if challenge is None else (None, b"", (challenge,))
        if kind == hs.CHALLENGE:
            return self._received_challenge(datagram, address, now)
        if kind == hs.FINISH:
            return self._received_finish(datagram, address, now)
        raise Malformed("not a datagram of this protocol")

    def _recovered(self, session: Session) -> None:
        """The peer knows the session after all: drop the handshake that was to replace it."""
        initiator = self._initiators_by_cid.get(session.recovery_cid)
        session.recovery_cid = b""
        if initiator is not None and initiator.session is None:
            self._give_up(initiator)

    def _received_challenge(self, datagram: bytes, address: Address, now: float) -> Received:
        initiator = self._initiators_by_cid.get(datagram[hs.CID])
        if initiator is None or initiator.target.address != address or initiator.session is not None:
            self.metrics.unasked_challenge += 1
            return NOTHING
        challenge = hs.Challenge.parse(datagram)
        node_id = self._verify_proof(challenge.proof)
        challenge.verify(self._prekey_clock.time_to_judge(challenge.made_at, now))
        self._hello_limiter.proved(address)
        if not initiator.target.is_met_by(node_id):
            self.metrics.other_node += 1
            return NOTHING
        keys = initiator.finish(challenge, self._identity, node_id, now)
        contact = shared_contact(node_id, address, challenge.proof)
        bucket = self._limiter.bucket(node_id, address[0], now)
        initiator.session = Session.of_initiator(contact, bucket, initiator.cid, keys, now)
        return None, b"", (initiator.datagram,)

    def _received_finish(self, datagram: bytes, address: Address, now: float) -> Received:
        if not self._acceptor.may_open(datagram, address, self._priority_of(address), now):
            return NOTHING
        cid_of_repeated = self._acceptor.cid_of_repeated(datagram)
        if cid_of_repeated is not None:
            known = self.sessions.by_cid.get(cid_of_repeated)
            accept = known.repeat_accept(now) if known is not None else b""
            return (None, b"", (accept,)) if accept else NOTHING
        cid = self._new_cid()
        accepted = self._acceptor.accept(datagram, cid, now)
        contact = shared_contact(accepted.node_id, address, accepted.proof)
        bucket = self._limiter.bucket(accepted.node_id, address[0], now)
        session = Session.of_responder(
            contact, bucket, accepted.keys, now, initiator_cid=datagram[hs.CID], own_cid=cid
        )
        self.sessions.add(session, now)
        self._hello_limiter.proved(contact.address)
        if accepted.request:
            return session, accepted.request, ()
        return None, b"", (session.seal(b"", now),)

    def _received_accept(self, datagram: bytes, address: Address, now: float) -> Received:
        initiator = self._initiators_by_cid.get(datagram[hs.CID])
        session = self.sessions.by_cid.get(datagram[hs.CID]) if initiator is None else initiator.session
        if session is None or session.contact.address != address:
            self.metrics.no_session += 1
            return NOTHING
        opened = session.open(datagram, now)
        if opened is None:
            self.metrics.unauthentic += 1
            return NOTHING
        response = session.accepted(opened)
        waiting: Datagrams = ()
        if initiator is not None:
            self.metrics.opened += 1
            self._give_up(initiator)
            self._prekey_clock.heard(session.contact.node_id, initiator.peer_time, now)
            self.sessions.add(session, now)
            waiting = [session.seal(request, now) for request in initiator.take_waiting()]
        return session, response, waiting

    def tidy(self, now: float) -> None:
        """As `SessionLayer.tidy`."""
        self.sessions.tidy(now)
        self._acceptor.tidy(now)
        for initiator in list(self._initiators.values()):
            if initiator.is_over(now):
                self._give_up(initiator)


@frozen
class HelloProbe:
    """A `ReachabilityProbe`: the question is a HELLO, the answer its CHALLENGE.

    The proof and the signed pre-key in a CHALLENGE do not show that it comes from that node: both may be
    copied. But the probed node has proven its id and address already, in a session.
    """

    _verify_proof: VerifyProof
    _rng: random.Random
    _prekey_clock: PrekeyClock

    def nonce(self) -> bytes:
        """Return a fresh connection id."""
        return self._rng.randbytes(hs.CID_BYTES)

    def ask(self, contact: Contact, nonce: bytes) -> bytes:
        """Return a HELLO. No handshake follows, so random bytes stand for its public key."""
        return hs.hello(nonce, self._rng.randbytes(hs.KEY_BYTES), contact.node_id)

    def nonce_in(self, datagram: bytes) -> bytes:
        """Return the connection id in a CHALLENGE."""
        if not datagram.startswith(hs.CHALLENGE):
            raise Malformed("not a CHALLENGE")
        return hs.Challenge.parse(datagram).cid

    def answerer(self, datagram: bytes, now: float) -> int:
        """Return the id of the node that signed the pre-key. Expensive: look at the nonce first."""
        challenge = hs.Challenge.parse(datagram)
        node_id = self._verify_proof(challenge.proof)
        challenge.verify(self._prekey_clock.time_to_judge(challenge.made_at, now))
        return node_id
