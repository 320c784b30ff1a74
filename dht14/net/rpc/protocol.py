"""RPCs over UDP: pending calls, resends and timeouts; requests are handed to the responder.

The life of a call: paced, where its contact is asked much; sent; after the soft timeout it is slow and sent
once more; after the silent timeout the contact is taken for dead; a reply counts until the hard timeout. A
contact that owes us an answer to a slow call is expected to be slow again: the next call to it is slow from the
start and holds nobody up.
"""

import random
from collections import Counter
from collections.abc import Callable
from functools import partial
from heapq import heappop, heappush
from itertools import count

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import Logger

from dht14.errors import Malformed
from dht14.kademlia.contact import Address, Contact
from dht14.kademlia.parameters import HARD_TIMEOUT, SOFT_TIMEOUT_UNKNOWN
from dht14.kademlia.routing_table import RoutingTable
from dht14.kademlia.rtt import CallTimeouts, RttEstimators
from dht14.net.log_limiter import LogLimiter
from dht14.net.rpc.call import Call, CallStage
from dht14.net.rpc.pacing import Pacing
from dht14.net.rpc.probe import ProbeProtocol
from dht14.net.rpc.pulse import Pulse
from dht14.net.rpc.twins import Twins
from dht14.node.network_time import NetworkTime
from dht14.node.ports import CallObserver, CallResult
from dht14.node.responder import Responder
from dht14.security.identity import VerifyProof
from dht14.session.layer import Datagrams, Peer, SessionLayer
from dht14.wire.datagram import RPC_ID_BYTES, decode, encode
from dht14.wire.messages import (
    REPLIES,
    Announce,
    LargeValue,
    Message,
    Offer,
    Pong,
    Reply,
    Request,
    Store,
    Value,
)
from dht14.wire.reply_filter import without_private_contacts

MORTAL = (Store, Offer, Value, LargeValue)
"""Messages that say how long a value still lives, from when they were sent."""

TICK = 0.005
"""Seconds between two looks at the timeouts, at the least: one timer serves all calls."""


def _lose(datagram: bytes, address: Address) -> None:
    """Where there is no port to send from, what is sent is lost."""


class RpcProtocol(DatagramProtocol):
    """The UDP side of one node. Owns the pending calls and the round-trip estimates."""

    log = Logger()
    noisy = False

    def __init__(
        self,
        clock: IReactorTime,
        rng: random.Random,
        session: SessionLayer,
        verify_proof: VerifyProof,
        table: RoutingTable,
        responder: Responder,
        probe: ProbeProtocol,
        time: NetworkTime,
        pulse: Pulse,
        pacing: Pacing,
    ) -> None:
        self._clock = clock
        self._seconds = clock.seconds
        self._rpc_ids = count(rng.getrandbits(8 * RPC_ID_BYTES - 1))
        """Not to be guessed at first, but that keeps nobody out: the session layer tells who sends a reply."""
        self._session = session
        self._received = session.received
        self._write: Callable[[bytes, Address], object] = _lose
        self._verify_proof = verify_proof
        self._table = table
        self._responder = responder
        self._probe = probe
        self._time = time
        self._pulse = pulse
        self._pacing = pacing
        self._pending: dict[bytes, Call] = {}
        self._round_trips = RttEstimators()
        self._deadlines: list[tuple[float, bytes]] = []
        """A heap of (when to look at it, RPC id); calls answered meanwhile are passed over."""
        self._timer: IDelayedCall | None = None
        self._timer_at = 0.0
        self._stopped = False
        self._lines = LogLimiter(clock.seconds())
        self._twins = Twins(self._lines)
        self.counters: Counter[str] = Counter()
        """Datagrams by what became of them, calls by how they ended."""

    # Calls

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
        self._call(Contact(node_id or 0, address), node_id, request, asked, named=True)
        return asked.outcome

    def _call(
        self,
        contact: Contact,
        node_id: int | None,
        request: Request,
        observer: CallObserver,
        named: bool = False,
    ) -> None:
        if self._stopped:
            observer.call_failed(contact)
            return
        now = self._seconds()
        call_timeouts = self._round_trips.call_timeouts(contact.address)
        # Who owes an answer is called seldom enough.
        wait = 0.0 if call_timeouts.is_unresponsive else self._pacing.wait(contact.address, now)
        if wait is None:
            self.counters["too many at once"] += 1
            observer.call_failed(contact)
            return
        rpc_id = next(self._rpc_ids).to_bytes(RPC_ID_BYTES, "big")
        call = Call(contact, observer, encode(rpc_id, request), now + wait, node_id, named)
        self._pending[rpc_id] = call
        if wait:
            self.counters["paced"] += 1
            self._look_after(wait, rpc_id, now)
        else:
            self._begin(rpc_id, call, call_timeouts, now)

    def _begin(self, rpc_id: bytes, call: Call, call_timeouts: CallTimeouts, now: float) -> None:
        """Send a call for the first time."""
        address = call.contact.address
        slow_after, silent_after, is_unresponsive = call_timeouts
        call.stage, call.sent_at, call.silent_at = CallStage.SENT, now, now + silent_after
        if is_unresponsive and not self._round_trips.is_time_for(address, now):
            # As good as lost: another call to it is on its way.
            self.counters["spared"] += 1
        elif (datagram := self._session.seal(call.contact, call.payload, now)) is not None:
            self._send(datagram, address)
        else:
            call.round_trips = 2
            slow_after = min(2 * slow_after, max(slow_after, SOFT_TIMEOUT_UNKNOWN))
            reached = self._session.reach(address, call.node_id, call.payload, now, call.named)
            self._send_all(reached, address)
        self._look_after(slow_after, rpc_id, now)
        if is_unresponsive:
            self._grow_slow(call)

    def _send_all(self, datagrams: Datagrams, address: Address) -> None:
        for datagram in datagrams:
            self._send(datagram, address)

    def startProtocol(self) -> None:
        """There is a port to send from (Twisted calls)."""
        assert self.transport is not None
        self._write = self.transport.write

    def stopProtocol(self) -> None:
        """There is none any more (Twisted calls)."""
        self._write = _lose

    def _send(self, datagram: bytes, address: Address) -> None:
        try:
            self._write(datagram, address)
        except OSError:
            # No route, no buffer, an address of the other family: for the caller it is a lost datagram.
            self.counters["unsendable"] += 1

    # Timeouts

    def _look_again(self, when: float, rpc_id: bytes) -> None:
        heappush(self._deadlines, (when, rpc_id))

    def _look_after(self, seconds: float, rpc_id: bytes, now: float) -> None:
        self._look_again(now + seconds, rpc_id)
        if self._timer is None or self._timer_at > now + seconds + TICK:
            self._arm_timer(now)

    def _arm_timer(self, now: float) -> None:
        """See to it that the timer comes for the earliest deadline, but never sooner than a TICK from now."""
        while self._deadlines and self._deadlines[0][1] not in self._pending:
            heappop(self._deadlines)
        if not self._deadlines:
            return
        when = max(self._deadlines[0][0], now + TICK)
        if self._timer is not None:
            if self._timer_at <= when + TICK:
                return
            self._timer.cancel()
        self._timer_at = when
        self._timer = self._clock.callLater(when - now, self._look_at_calls)

    def _look_at_calls(self) -> None:
        # First the reactor reads what has come meanwhile: after a stall of our own the replies are there
        # already, and nobody shall be taken for slow because it was us.
        self._timer = self._clock.callLater(0, self._judge_calls)

    def _judge_calls(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        while self._deadlines and self._deadlines[0][0] <= now:
            _, rpc_id = heappop(self._deadlines)
            call = self._pending.get(rpc_id)
            if call is not None:
                self._grow_older(rpc_id, call, now)
        self._arm_timer(now)

    def _grow_older(self, rpc_id: bytes, call: Call, now: float) -> None:
        address = call.contact.address
        if call.stage is CallStage.PACED:
            self._begin(rpc_id, call, self._round_trips.call_timeouts(address), now)
        elif call.stage is CallStage.SILENT:
            del self._pending[rpc_id]
            self.counters["unanswered"] += 1
            call.observer.call_failed(call.contact)
        elif call.stage is CallStage.SLOW and call.silent_at <= now:
            call.stage = CallStage.SILENT
            self._look_again(call.sent_at + HARD_TIMEOUT, rpc_id)
            self._round_trips.fell_silent(address)
            if call.node_id is not None:
                self._table.failed(call.contact, now)
            call.observer.call_silent(call.contact)
        else:
            self.counters["resent"] += 1
            again = self._session.resend(address, call.node_id, call.payload, now, call.named)
            self._send_all(again, address)
            # Where it was us who slept through the timeouts, the resend still gets its chance.
            call.silent_at = max(call.silent_at, now + SOFT_TIMEOUT_UNKNOWN)
            self._look_again(call.silent_at, rpc_id)
            self._round_trips.was_slow(address)
            self._grow_slow(call)

    @staticmethod
    def _grow_slow(call: Call) -> None:
        if call.stage is CallStage.SENT:
            call.stage = CallStage.SLOW
            call.observer.call_slow(call.contact)

    # Datagrams

    def datagramReceived(self, datagram: bytes, addr: Address) -> None:
        """A datagram came (Twisted calls). Only what decodes gets past this page; nothing else is answered."""
        now = self._seconds()
        try:
            peer, payload, replies = self._received(datagram, addr, now)
            if replies:
                self._send_all(replies, addr)
            if peer is None or not payload:
                return
            rpc_id, told = decode(payload, self._verify_proof)
        except Malformed as error:
            self._count_malformed(addr, error)
            return
        sender = peer.contact
        message = without_private_contacts(told, sender.address[0])
        if sender.node_id == self._table.own_id:
            self._met_own_id(rpc_id, message, sender, now)
        if isinstance(message, MORTAL) and self._pulse.may_have_waited(now):
            # Lost, as far as others can tell: it comes again, with the time that is left then.
            self.counters["read too late"] += 1
        elif isinstance(message, REPLIES):
            self._match(rpc_id, message, sender, now)
        elif peer.bucket.take(now):
            self.counters["requests"] += 1
            # What is no reply is a request: mypy cannot see that, since `REPLIES` comes from the schema.
            request: Request = message  # type: ignore[assignment]
            self._responder.answer(request, sender, now, partial(self._respond, rpc_id, peer))
            if isinstance(message, Announce):
                self._probe.announced(Contact(sender.node_id, message.address, sender.proof), now)
                return
            if self._table.wants(sender) or sender.node_id not in self._table:
                self._probe.called_by(sender, now)
        else:
            self.counters["requests over the limit"] += 1

    def _met_own_id(self, rpc_id: bytes, message: Message, sender: Contact, now: float) -> None:
        call = self._pending.get(rpc_id)
        if not isinstance(message, REPLIES):
            self._twins.asked(rpc_id, call is not None, sender.address, now)
        elif call is not None and call.asked(sender):
            self._twins.answered(rpc_id, sender.address, now)

    def _count_malformed(self, addr: Address, error: Malformed) -> None:
        self.counters["malformed"] += 1
        if self._lines.is_due(addr[0], self._clock.seconds()):
            self.log.warn(
                "A datagram from {host} port {port} is dropped: {reason}. More of them from there are only counted for a while.",
                host=addr[0],
                port=addr[1],
                reason=str(error),
            )

    def _match(self, rpc_id: bytes, reply: Reply, sender: Contact, now: float) -> None:
        call = self._pending.get(rpc_id)
        if call is None or not call.asked(sender):
            self.counters["unasked"] += 1
            return
        del self._pending[rpc_id]
        self.counters["answered"] += 1
        rtt = (now - call.sent_at) / call.round_trips
        self._round_trips.answered(sender.address, rtt)
        if isinstance(reply, Pong) and reply.time_ms:
            self._time.heard(sender.node_id, reply.time_ms / 1000, rtt)
        if call.named or sender.node_id in self._table or not self._probe.may_be_unreachable(sender, now):
            self._table.confirmed(sender, now, rtt)
        else:
            self._probe.probe(sender, now)
        call.observer.call_answered(sender, reply)

    def _respond(self, rpc_id: bytes, asker: Peer, reply: Reply) -> None:
        self._send(asker.answer(encode(rpc_id, reply), self._seconds()), asker.contact.address)

    def stop(self) -> None:
        """Fail every pending call, and every later one at once."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        calls, self._pending = list(self._pending.values()), {}
        self._deadlines.clear()
        for call in calls:
            call.observer.call_failed(call.contact)
