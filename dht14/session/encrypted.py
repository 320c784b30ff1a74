"""Sealed sessions: the handshakes of both sides and the sessions that come of them. DESIGN 4.2.

Two round trips to the first answer of a stranger, one from then on. There is no word for "I do not know this
session": whoever hears nothing sends DATA and HELLO together the second time, and so finds a node that has
forgotten it.
"""

import random
from collections.abc import Callable

from attrs import frozen

from dht14.errors import Malformed
from dht14.kademlia.contact import Address, Contact
from dht14.security.agreed_time import AgreedTime
from dht14.security.hello_limiter import HelloLimiter
from dht14.security.identity import Identity
from dht14.security.rate_limiter import PeerLimiter
from dht14.security.shares import Priority
from dht14.session import handshake as hs
from dht14.session.acceptor import Acceptor, Limits
from dht14.session.initiator import Initiator
from dht14.session.layer import NOTHING, Datagrams, Received
from dht14.session.metrics import SessionMetrics
from dht14.session.session import REKEY_PACKETS, Session
from dht14.session.session_table import SessionTable

PATIENCE = 3.0
"""Seconds after which a handshake that is not done is given up; nobody waits longer for an answer."""
MOST_OPENINGS = 1_024
"""Handshakes begun here that may be under way; the oldest is given up for another."""

RESEND_AFTER = 0.25
"""Seconds after which another request to the same node sends HELLO or FINISH again."""
RESEND_GAP = 0.02
"""Seconds between two of them when requests are repeated."""


class EncryptedLayer:
    """A `SessionLayer`: AES-256-GCM between nodes that proved who and where they are."""

    def __init__(
        self,
        identity: Identity,
        check: hs.Check,
        rng: random.Random,
        limits: Limits,
        is_contact: Callable[[Contact], bool],
        standing: Callable[[Address], Priority],
        allowance: HelloLimiter,
        now: float,
        time: AgreedTime,
    ) -> None:
        self._time = time
        self._identity = identity
        self._check = check
        self._rng = rng
        self.metrics = SessionMetrics()
        self._gate = Acceptor(identity, check, rng, limits, now, time, self.metrics)
        self._limiter = PeerLimiter(limits.peer_rate, limits.peer_burst, limits.diversity_private)
        self._standing = standing
        """Who comes first when there are too many handshakes."""
        self._allowance = allowance
        self.links = SessionTable(identity.node_id, is_contact)
        self._openings: dict[tuple[Address, int | None], Initiator] = {}
        """The handshakes begun here, by whom they seek; the oldest first."""
        self._openings_by_cid: dict[bytes, Initiator] = {}

    # To be sent

    def seal(self, contact: Contact, payload: bytes, now: float) -> bytes | None:
        """As `SessionLayer.seal`."""
        link = self.links.at.get(contact.address)
        if (
            link is None
            or now >= link.due_at
            or link.sent >= REKEY_PACKETS
            or link.contact.node_id != contact.node_id
        ):
            return None
        return link.answer(payload, now)

    def reach(
        self, address: Address, node_id: int | None, payload: bytes, now: float, named: bool
    ) -> Datagrams:
        """As `SessionLayer.reach`."""
        link = self._usable_link(address, node_id, now)
        if link is None:
            return self._open(address, node_id, payload, now, named, RESEND_AFTER)
        data = link.answer(payload, now)
        if not link.is_due(now):
            return (data,)
        return (data, *self._open(address, link.contact.node_id, b"", now, named, RESEND_AFTER))

    def again(
        self, address: Address, node_id: int | None, payload: bytes, now: float, named: bool
    ) -> Datagrams:
        """As `SessionLayer.again`."""
        link = self._usable_link(address, node_id, now)
        if link is None:
            return self._open(address, node_id, payload, now, named, RESEND_GAP)
        # Either the datagram was lost, or the other side knows the session no more: both are seen to.
        data = link.answer(payload, now)
        greeting = self._open(address, link.contact.node_id, payload, now, named, RESEND_GAP)
        opening = self._openings.get((address, link.contact.node_id))
        link.recovery = opening.cid if opening is not None else b""
        return (data, *greeting)

    def _usable_link(self, address: Address, node_id: int | None, now: float) -> Session | None:
        link = self.links.at.get(address)
        if link is None or node_id not in (None, link.contact.node_id) or link.is_over(now):
            return None
        return link

    def _open(
        self,
        address: Address,
        node_id: int | None,
        payload: bytes,
        now: float,
        named: bool,
        resend_after: float,
    ) -> Datagrams:
        """Begin a handshake, or go on with the one under way."""
        opening = self._openings.get((address, node_id))
        if opening is not None and not 0 <= now - opening.began_at < PATIENCE:
            self._give_up(opening)
            opening = None
        if opening is not None and now - opening.sent_at < resend_after:
            opening.enqueue(payload)
            return ()
        is_hello = opening is None or opening.link is None
        if is_hello and not named and not self._allowance.take(address, now):
            self.metrics.hellos_withheld += 1
            return ()
        if opening is None:
            opening = self._begin(address, node_id, now)
        opening.enqueue(payload)
        opening.sent_at = now
        return (opening.datagram,)

    def _begin(self, address: Address, node_id: int | None, now: float) -> Initiator:
        opening = Initiator.begin(address, node_id, self._new_cid(), self._rng.randbytes(hs.KEY_BYTES), now)
        if len(self._openings) >= MOST_OPENINGS:
            self._give_up(next(iter(self._openings.values())))
        self._openings[address, node_id] = opening
        self._openings_by_cid[opening.cid] = opening
        return opening

    def _new_cid(self) -> bytes:
        while (cid := self._rng.randbytes(hs.CID_BYTES)) in self.links.by_cid or cid in self._openings_by_cid:
            pass
        return cid

    def _give_up(self, opening: Initiator) -> None:
        del self._openings[opening.address, opening.node_id]
        del self._openings_by_cid[opening.cid]

    # Received

    def received(self, datagram: bytes, address: Address, now: float) -> Received:
        """As `SessionLayer.received`."""
        kind = datagram[:1]
        if kind == hs.DATA:
            link = self.links.by_cid.get(datagram[1:9])
            if link is None or link.contact.address != address:
                self.metrics.no_session += 1
                return NOTHING
            payload = link.open(datagram, now)
            if payload is None:
                self.metrics.unauthentic += 1
                return NOTHING
            if link.accepting is not None:
                link.confirmed()
            if link.recovery:
                self._recovered(link)
            return link, payload, ()
        return self._others(kind, datagram, address, now)

    def _others(self, kind: bytes, datagram: bytes, address: Address, now: float) -> Received:
        if kind == hs.ACCEPT:
            return self._accept(datagram, address, now)
        if kind == hs.HELLO:
            challenge = self._gate.challenge(datagram, address, self._standing(address), now)
            return NOTHING if challenge is None else (None, b"", (challenge,))
        if kind == hs.CHALLENGE:
            return self._challenge(datagram, address, now)
        if kind == hs.FINISH:
            return self._finish(datagram, address, now)
        raise Malformed("not a datagram of this protocol")

    def _recovered(self, link: Session) -> None:
        """The session was not lost; only a datagram was."""
        opening = self._openings_by_cid.get(link.recovery)
        link.recovery = b""
        if opening is not None and opening.link is None:
            self._give_up(opening)

    def _challenge(self, datagram: bytes, address: Address, now: float) -> Received:
        opening = self._openings_by_cid.get(datagram[1:9])
        if opening is None or opening.address != address or opening.link is not None:
            self.metrics.unasked_challenge += 1
            return NOTHING
        challenge = hs.Challenge.parse(datagram)
        node_id = self._check(challenge.proof)
        challenge.verify(self._time.to_judge(challenge.made_at, now))
        self._allowance.proved(address)
        if not opening.seeks(node_id):
            self.metrics.other_node += 1
            return NOTHING
        keys = opening.finish(challenge, self._identity, node_id, now)
        contact = Contact(node_id, address, challenge.proof)
        bucket = self._limiter.bucket(node_id, address[0], now)
        opening.link = Session.of_initiator(contact, bucket, opening.cid, keys, now)
        return None, b"", (opening.datagram,)

    def _finish(self, datagram: bytes, address: Address, now: float) -> Received:
        if not self._gate.welcomes(datagram, address, self._standing(address), now):
            return NOTHING
        seen = self._gate.seen(datagram)
        if seen is not None:
            known = self.links.by_cid.get(seen)
            accept = known.repeat_accept(now) if known is not None else b""
            return (None, b"", (accept,)) if accept else NOTHING
        cid = self._new_cid()
        admitted = self._gate.admit(datagram, cid, now)
        contact = Contact(admitted.node_id, address, admitted.proof)
        bucket = self._limiter.bucket(admitted.node_id, address[0], now)
        link = Session.of_responder(contact, bucket, (datagram[1:9], cid), admitted.keys, now)
        self.links.add(link, now)
        self._allowance.proved(address)
        if admitted.request:
            return link, admitted.request, ()
        return None, b"", (link.answer(b"", now),)

    def _accept(self, datagram: bytes, address: Address, now: float) -> Received:
        opening = self._openings_by_cid.get(datagram[1:9])
        link = self.links.by_cid.get(datagram[1:9]) if opening is None else opening.link
        if link is None or link.contact.address != address:
            self.metrics.no_session += 1
            return NOTHING
        opened = link.open(datagram, now)
        if opened is None:
            self.metrics.unauthentic += 1
            return NOTHING
        response = link.accepted(opened)
        waiting: Datagrams = ()
        if opening is not None:
            self.metrics.opened += 1
            self._give_up(opening)
            self._time.told(link.contact.node_id, opening.told, now)
            self.links.add(link, now)
            waiting = [link.answer(request, now) for request in opening.take_waiting()]
        return link, response, waiting

    def tidy(self, now: float) -> None:
        """As `SessionLayer.tidy`."""
        self.links.tidy(now)
        for opening in [o for o in self._openings.values() if not 0 <= now - o.began_at < PATIENCE]:
            self._give_up(opening)


@frozen
class HelloProbe:
    """What finds out whether a node can be called: a HELLO, to be answered by its CHALLENGE.

    That a CHALLENGE carries the proof and the signed pre-key of a node does not show that it comes from
    there: both may be copied. Who is asked has proven already, in a session, who and where it is.
    """

    _check: hs.Check
    _rng: random.Random
    _time: AgreedTime

    def nonce(self) -> bytes:
        """A fresh connection id."""
        return self._rng.randbytes(hs.CID_BYTES)

    def ask(self, contact: Contact, nonce: bytes) -> bytes:
        """A HELLO. Its key is of no use, and so need not be made: no handshake follows."""
        return hs.hello(nonce, self._rng.randbytes(hs.KEY_BYTES), contact.node_id)

    def nonce_in(self, datagram: bytes) -> bytes:
        """The connection id in a CHALLENGE."""
        if not datagram.startswith(hs.CHALLENGE):
            raise Malformed("not a CHALLENGE")
        return hs.Challenge.parse(datagram).cid

    def answerer(self, datagram: bytes, now: float) -> int:
        """The node that signed the pre-key in a CHALLENGE: dearer than a probe, so not for whoever sends one."""
        challenge = hs.Challenge.parse(datagram)
        node_id = self._check(challenge.proof)
        challenge.verify(self._time.to_judge(challenge.made_at, now))
        return node_id
