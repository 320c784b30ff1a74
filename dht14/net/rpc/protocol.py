"""RPCs over UDP: pending calls, their resends and timeouts; requests go to the responder.

The life of a call: it is paced if its contact gets many calls; it is sent; after the soft timeout it is slow
and is sent once more; after the silent timeout its contact counts as dead; until the hard timeout a reply
still counts. A contact that has not answered a slow call yet is unresponsive: the next call to it is slow
from the start, so that no lookup waits for it. Of many calls to a silent contact one is sent; the others are
sent when it answers.
"""

import random
from collections.abc import Callable
from functools import partial
from itertools import count

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import Logger

from dht14.errors import Malformed
from dht14.kademlia.contact import Address, Contact
from dht14.kademlia.parameters import ANSWER_TURNS, HARD_TIMEOUT, SOFT_TIMEOUT_UNKNOWN
from dht14.kademlia.routing_table import RoutingTable
from dht14.kademlia.rtt import CallTimeouts, PeerState, RttEstimators
from dht14.net.log_limiter import LogLimiter
from dht14.net.rpc.call import Call, CallStage
from dht14.net.rpc.duplicate_identity import DuplicateIdentityDetector
from dht14.net.rpc.metrics import METHODS, ReceivedRequests, RpcMetrics
from dht14.net.rpc.pacing import Pacing
from dht14.net.rpc.probe import ProbeProtocol
from dht14.net.rpc.spared_calls import SparedCalls
from dht14.net.rpc.standstill import StandstillDetector
from dht14.node.deadline_queue import DeadlineQueue
from dht14.node.network_clock import NetworkClock
from dht14.node.ports import CallObserver, CallResult
from dht14.node.responder import Responder
from dht14.security.identity import VerifyProof
from dht14.session.layer import Datagrams, Peer, SessionLayer
from dht14.wire.datagram import RPC_ID_BYTES, decode, encode
from dht14.wire.messages import (
    Announce,
    Message,
    Offer,
    Pong,
    Refused,
    Reply,
    Request,
    Store,
)
from dht14.wire.reply_filter import without_private_contacts
from dht14.wire.schema import REPLIES

WITH_LIFETIME = frozenset((Store, Offer))
"""Requests with the remaining lifetime of a value, counted from when they were sent. That in a reply counts
from when this node asked, so a reply that has waited does no harm."""


def _discard(datagram: bytes, address: Address) -> None:
    """Used while no port is open: discards the datagram."""


class RpcProtocol(DatagramProtocol):
    """The UDP protocol of one node; an `Rpc`. Owns the pending calls and the round-trip estimates."""

    log = Logger()
    noisy = False

    def __init__(
        self,
        *,
        clock: IReactorTime,
        rng: random.Random,
        session: SessionLayer,
        verify_proof: VerifyProof,
        table: RoutingTable,
        responder: Responder,
        probe: ProbeProtocol,
        time: NetworkClock,
        standstill: StandstillDetector,
        pacing: Pacing,
    ) -> None:
        self._clock = clock
        self._seconds = clock.seconds
        self._rpc_ids = count(rng.getrandbits(8 * RPC_ID_BYTES - 1))
        """Starts at a random number. Security does not rest on it: the session layer identifies the sender of
        a reply."""
        self._session = session
        self._received = session.received
        self._write: Callable[[bytes, Address], object] = _discard
        self._verify_proof = verify_proof
        self._table = table
        self._responder = responder
        self._probe = probe
        self._time = time
        self._standstill = standstill
        self._pacing = pacing
        self._pending: dict[bytes, Call] = {}
        self._spared = SparedCalls(self._pending)
        self._round_trips = RttEstimators()
        self._deadlines = DeadlineQueue(clock, self._pending, self._advance_call)
        self._stopped = False
        self._log_limiter = LogLimiter(clock.seconds())
        self.duplicates = DuplicateIdentityDetector(self._log_limiter)
        self.metrics = RpcMetrics()
        self._sent = {request: self.metrics.sent[name] for request, name in METHODS.items()}
        self._requests = {request: self.metrics.received[name] for request, name in METHODS.items()}

    # Sending calls

    def call(self, contact: Contact, request: Request, observer: CallObserver) -> None:
        """As `Rpc.call`."""
        self._call(contact, contact.node_id, request, observer)

    def ask(self, contact: Contact, request: Request) -> "Deferred[Reply]":
        """As `Rpc.ask`."""
        asked = CallResult()
        self._call(contact, contact.node_id, request, asked)
        return asked.reply

    def ask_address(
        self, address: Address, request: Request, node_id: int | None = None
    ) -> "Deferred[tuple[Contact, Reply]]":
        """As `Rpc.ask_address`."""
        asked = CallResult()
        self._call(Contact(node_id or 0, address), node_id, request, asked, by_address=True)
        return asked.outcome

    def _call(
        self,
        contact: Contact,
        node_id: int | None,
        request: Request,
        observer: CallObserver,
        by_address: bool = False,
    ) -> None:
        if self._stopped:
            observer.call_failed(contact)
            return
        now = self._seconds()
        call_timeouts = self._round_trips.call_timeouts(contact.address)
        # Calls to an unresponsive address are rare enough: they need no pacing.
        is_responsive = call_timeouts.state is PeerState.RESPONSIVE
        wait = self._pacing.reserve(contact.address, now) if is_responsive else 0.0
        counters = self._sent[type(request)]
        if wait is None:
            counters.over_limit += 1
            observer.call_failed(contact)
            return
        rpc_id = next(self._rpc_ids).to_bytes(RPC_ID_BYTES, "big")
        call = Call(contact, observer, encode(rpc_id, request), now + wait, node_id, by_address, counters)
        self._pending[rpc_id] = call
        if wait:
            counters.paced += 1
            self._deadlines.add(wait, rpc_id, now)
        else:
            self._begin(rpc_id, call, call_timeouts, now)

    def _begin(self, rpc_id: bytes, call: Call, call_timeouts: CallTimeouts, now: float) -> None:
        """Send a call for the first time."""
        address = call.contact.address
        slow_after, silent_after, state = call_timeouts
        call.stage, call.sent_at, call.silent_at = CallStage.SENT, now, now + silent_after
        if state is not PeerState.RESPONSIVE and not self._round_trips.may_call(address, now):
            call.counters.spared += 1
            self._spared.add(address, rpc_id)
        elif state is PeerState.SILENT:
            # It may have started anew since. Then it does not know our session, and would never answer in it.
            self._send_all(self._session.resend(call.target, call.payload, now), address)
        elif (datagram := self._session.seal(call.contact, call.payload, now)) is not None:
            self._send(datagram, address)
        else:
            call.round_trips = 2
            slow_after = min(2 * slow_after, max(slow_after, SOFT_TIMEOUT_UNKNOWN))
            self._send_all(self._session.reach(call.target, call.payload, now), address)
        self._deadlines.add(slow_after, rpc_id, now)
        if state is not PeerState.RESPONSIVE:
            self._mark_slow(call)

    def _send_all(self, datagrams: Datagrams, address: Address) -> None:
        for datagram in datagrams:
            self._send(datagram, address)

    def startProtocol(self) -> None:
        """The port is open (Twisted calls)."""
        assert self.transport is not None
        self._write = self.transport.write

    def stopProtocol(self) -> None:
        """The port is closed (Twisted calls)."""
        self._write = _discard

    def _send(self, datagram: bytes, address: Address) -> None:
        try:
            self._write(datagram, address)
        except OSError:
            # No route, no buffer, or an address of the other family: the caller sees a lost datagram.
            self.metrics.unsendable += 1

    # Deadlines of calls

    def _advance_call(self, rpc_id: bytes, now: float) -> None:
        """A deadline of a call has passed: bring the call to its next stage."""
        call = self._pending[rpc_id]
        if call.stage is CallStage.PACED:
            self._begin(rpc_id, call, self._round_trips.call_timeouts(call.contact.address), now)
        elif call.stage is CallStage.SILENT:
            self._give_up(rpc_id, call)
        elif call.stage is CallStage.SLOW and call.silent_at <= now:
            self._presume_dead(rpc_id, call, now)
        elif call.stage is CallStage.SENT and now < (has_until := self._own_delay_until(call)):
            # This process is the slow one: a resend and a stand-in would make it slower still.
            self._deadlines.add_next(has_until, rpc_id)
        else:
            self._resend(rpc_id, call, now)

    def _own_delay_until(self, call: Call) -> float:
        """Return until when the missing reply is explained by what this process itself has to do."""
        return call.sent_at + min(ANSWER_TURNS * self._deadlines.turn, SOFT_TIMEOUT_UNKNOWN)

    def _resend(self, rpc_id: bytes, call: Call, now: float) -> None:
        call.counters.resent += 1
        self._send_all(self._session.resend(call.target, call.payload, now), call.contact.address)
        # If this process was the slow one, the resend still has time for its reply.
        call.silent_at = max(call.silent_at, now + SOFT_TIMEOUT_UNKNOWN)
        self._deadlines.add_next(call.silent_at, rpc_id)
        self._round_trips.was_slow(call.contact.address)
        self._mark_slow(call)

    def _presume_dead(self, rpc_id: bytes, call: Call, now: float) -> None:
        call.stage = CallStage.SILENT
        self._deadlines.add_next(call.sent_at + HARD_TIMEOUT, rpc_id)
        self._round_trips.fell_silent(call.contact.address)
        if call.node_id is not None:
            self._table.failed(call.contact, now)
        call.observer.call_silent(call.contact)

    def _give_up(self, rpc_id: bytes, call: Call) -> None:
        del self._pending[rpc_id]
        call.counters.failed += 1
        self._spared.forget_failed(call.contact.address)
        call.observer.call_failed(call.contact)

    def _send_spared(self, address: Address, now: float) -> None:
        """Send the calls that were spared: the address answers again."""
        for call in self._spared.take(address, now):
            if self._pacing.reserve(address, now) == 0.0:
                call.sent_at = now
                self._send_all(self._session.resend(call.target, call.payload, now), address)

    @staticmethod
    def _mark_slow(call: Call) -> None:
        if call.stage is CallStage.SENT:
            call.stage = CallStage.SLOW
            call.observer.call_slow(call.contact)

    # Receiving

    def datagramReceived(self, datagram: bytes, addr: Address) -> None:
        """A datagram came (Twisted calls). One that does not decode is dropped without an answer."""
        now = self._seconds()
        try:
            peer, payload, replies = self._received(datagram, addr, now)
            if replies:
                self._send_all(replies, addr)
            if peer is None or not payload:
                return
            rpc_id, decoded = decode(payload, self._verify_proof)
        except Malformed as error:
            self._count_malformed(addr, error)
            return
        sender = peer.contact
        message = without_private_contacts(decoded, sender.address[0])
        if sender.node_id == self._table.own_id:
            self._received_own_id(rpc_id, message, sender, now)
        if message.__class__ in WITH_LIFETIME and self._standstill.may_have_waited(now):
            # To the sender it is lost: it sends the message again, with the lifetime that is left then.
            assert isinstance(message, Store | Offer)
            self._requests[type(message)].late += 1
        elif isinstance(message, REPLIES):
            self._reply_received(rpc_id, message, sender, now)
        else:
            # A message that is no reply is a request. mypy cannot see it: `REPLIES` comes from the schema.
            request: Request = message  # type: ignore[assignment]
            self._request_received(rpc_id, request, peer, now)

    def _received_own_id(self, rpc_id: bytes, message: Message, sender: Contact, now: float) -> None:
        call = self._pending.get(rpc_id)
        if not isinstance(message, REPLIES):
            self.duplicates.request_received(rpc_id, call is not None, sender.address, now)
        elif call is not None and call.is_answered_by(sender):
            self.duplicates.reply_received(rpc_id, sender.address, now)

    def _count_malformed(self, addr: Address, error: Malformed) -> None:
        self.metrics.malformed += 1
        if self._log_limiter.may_log(addr[0], self._clock.seconds()):
            self.log.warn(
                "Dropping a datagram from {host} port {port}: {reason}. Further ones from there are only "
                "counted until there has been none for a minute.",
                event="datagram.dropped",
                host=addr[0],
                port=addr[1],
                reason=str(error),
            )

    # Replies

    def _reply_received(self, rpc_id: bytes, reply: Reply, sender: Contact, now: float) -> None:
        call = self._pending.get(rpc_id)
        if call is None or not call.is_answered_by(sender):
            self.metrics.unasked += 1
            return
        del self._pending[rpc_id]
        counters = call.counters
        counters.latency.observe(now - call.sent_at)
        if isinstance(reply, Refused):
            counters.refused += 1
            self.metrics.refusals_received[reply.reason] += 1
        elif call.stage is CallStage.SENT:
            counters.answered += 1
        else:
            counters.slow += 1
        rtt = (now - call.sent_at) / call.round_trips
        self._round_trips.answered(sender.address, rtt)
        if sender.address in self._spared.by_address:
            self._send_spared(sender.address, now)
        if isinstance(reply, Pong) and reply.time_ms:
            self._time.heard(sender.node_id, reply.time_ms / 1000, rtt)
        if (
            call.by_address
            or sender.node_id in self._table
            or not self._probe.may_be_unreachable(sender, now)
        ):
            self._table.confirmed(sender, now, rtt)
        else:
            self._probe.probe(sender, now)
        call.observer.call_answered(sender, reply)

    # Requests

    def _request_received(self, rpc_id: bytes, request: Request, peer: Peer, now: float) -> None:
        counters = self._requests[type(request)]
        if not peer.bucket.take(now):
            counters.over_limit += 1
            return
        sender = peer.contact
        self._responder.answer(request, sender, now, partial(self._respond, rpc_id, peer, counters))
        if isinstance(request, Announce):
            self._probe.announced(Contact(sender.node_id, request.address, sender.proof), now)
        elif not self._table.is_settled(sender.node_id):
            self._probe.called_by(sender, now)

    def _respond(self, rpc_id: bytes, asker: Peer, counters: ReceivedRequests, reply: Reply) -> None:
        if isinstance(reply, Refused):
            counters.refused += 1
            self.metrics.refusals_sent[reply.reason] += 1
        else:
            counters.answered += 1
        self._send(asker.seal(encode(rpc_id, reply), self._seconds()), asker.contact.address)

    def stop(self) -> None:
        """Fail all pending calls now, and later ones at once."""
        self._stopped = True
        calls = list(self._pending.values())
        self._pending.clear()
        self._spared.by_address.clear()
        self._deadlines.clear()
        for call in calls:
            call.observer.call_failed(call.contact)
