"""Can who calls us be called? Asked from a second socket, since an answer to the first proves too little.

A node behind a NAT or a firewall can call others, and what they send back passes. It must not be named to
anybody, for nobody else could reach it. So whoever calls us is asked, from a port that it never sent
anything to, for what any node gives a stranger; only who answers there becomes a contact.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable

from attrs import define
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import DatagramProtocol

from dht14.errors import Malformed
from dht14.kademlia.contact import Address, Contact
from dht14.kademlia.parameters import HARD_TIMEOUT
from dht14.kademlia.routing_table import RoutingTable
from dht14.security.hello_limiter import HelloLimiter
from dht14.security.shares import SharedSlots
from dht14.security.subnets import Party, Scope
from dht14.session.layer import ReachabilityProbe

AT_ONCE = 32
"""Probes that may be out: a flood of callers cannot make us flood others."""
PROBES_OF = {Scope.HOST: 2, Scope.SUBNET: 4, Scope.PROVIDER: 8, Scope.PRIVATE_HOST: AT_ONCE // 2}
"""Of these, how many may be out to one party."""
RESEND_AFTER = 0.5
"""Seconds after which a probe is sent once more."""
SPACING = 60.0
"""Seconds between two probes of one contact."""
CALLED_LATELY = 600.0
"""Seconds for which a call opens the way back through a NAT or a firewall, at the most."""
CALLERS = 8_192
"""Callers remembered; who called longest ago is forgotten first."""

_NEVER = float("-inf")


@define
class _Caller:
    called_at: float
    probed_at: float = _NEVER


@define
class _Probe:
    contact: Contact
    sent_at: float
    timer: IDelayedCall


class ProbeProtocol(DatagramProtocol):
    """The second socket of a node. Owns the probes that are out, and remembers who called."""

    noisy = False

    def __init__(
        self,
        clock: IReactorTime,
        questions: ReachabilityProbe,
        table: RoutingTable,
        allowance: HelloLimiter,
        parties_of: Callable[[str], tuple[Party, ...]],
    ) -> None:
        """`allowance` is the one of the session layer: to a victim it is the same whichever port sends."""
        self._clock = clock
        self._questions = questions
        self._table = table
        self._probes: dict[bytes, _Probe] = {}
        """Those that are out, by nonce."""
        self._parties_of = parties_of
        self._places: SharedSlots[bytes] = SharedSlots(AT_ONCE, PROBES_OF)
        """The nonces of these, by whom they are for."""
        self._callers: OrderedDict[tuple[int, Address], _Caller] = OrderedDict()
        """Callers that are not in the table, the latest last."""
        self._allowance = allowance
        """For addresses that were announced, by who may have named a victim."""
        self._stopped = False
        self.counters: Counter[str] = Counter()
        """Probes by what became of them."""

    def called_by(self, contact: Contact, now: float) -> None:
        """The contact sent us a request. It is probed if it would have a place in the table."""
        self._allowance.proved(contact.address)
        is_wanted = self._table.wants(contact)
        if not is_wanted and contact.node_id in self._table:
            return
        self._caller(contact, now).called_at = now
        if is_wanted:
            self.probe(contact, now)

    def announced(self, contact: Contact, now: float) -> None:
        """The contact sent us a request in which it says that this address is its own."""
        if self._table.wants(contact):
            self.probe(contact, now)

    def _caller(self, contact: Contact, now: float) -> _Caller:
        key = contact.node_id, contact.address
        caller = self._callers.get(key)
        if caller is None:
            caller = self._callers[key] = _Caller(now)
            if len(self._callers) > CALLERS:
                self._callers.popitem(last=False)
        self._callers.move_to_end(key)
        return caller

    def probe(self, contact: Contact, now: float) -> None:
        """Find out whether this caller can be called, unless that was tried just now or too much is tried."""
        caller = self._caller(contact, now)
        if self._stopped or now - caller.probed_at < SPACING:
            return
        parties = self._parties_of(contact.address[0])
        if not self._may_be_probed(parties):
            self.counters["over the limit"] += 1
            return
        if not self._allowance.take(contact.address, now):
            return
        self._make_room(parties)
        caller.probed_at = now
        nonce = self._questions.nonce()
        question = self._questions.ask(contact, nonce)
        self._send(question, contact.address)
        timer = self._clock.callLater(RESEND_AFTER, self._ask_again, nonce, question)
        self._probes[nonce] = _Probe(contact, now, timer)
        self._places.add(nonce, parties)
        self.counters["sent"] += 1

    def _may_be_probed(self, parties: tuple[Party, ...]) -> bool:
        """Whether few enough probes are out to these, and there is a place or somebody has to give way."""
        places = self._places
        return places.has_share_left(parties) and (
            not places.is_full or places.to_evict(parties, places) is not None
        )

    def _make_room(self, parties: tuple[Party, ...]) -> None:
        """Where all places are taken, end the oldest probe of those who have most."""
        if self._places.is_full and (nonce := self._places.to_evict(parties, self._places)) is not None:
            self._end(nonce).timer.cancel()
            self.counters["displaced"] += 1

    def _end(self, nonce: bytes) -> _Probe:
        self._places.remove(nonce)
        return self._probes.pop(nonce)

    def may_be_unreachable(self, contact: Contact, now: float) -> bool:
        """Whether an answer of this contact may have come through a way that only its own call opened."""
        caller = self._callers.get((contact.node_id, contact.address))
        return caller is not None and now - caller.called_at < CALLED_LATELY

    def _ask_again(self, nonce: bytes, question: bytes) -> None:
        probe = self._probes[nonce]
        if self._allowance.take(probe.contact.address, self._clock.seconds()):
            self._send(question, probe.contact.address)
        probe.timer = self._clock.callLater(HARD_TIMEOUT - RESEND_AFTER, self._give_up, nonce)

    def _give_up(self, nonce: bytes) -> None:
        self._end(nonce)
        self.counters["unanswered"] += 1

    def _send(self, question: bytes, address: Address) -> None:
        if self.transport is None:
            return
        try:
            self.transport.write(question, address)
        except OSError:
            self.counters["unsendable"] += 1

    def datagramReceived(self, datagram: bytes, addr: Address) -> None:
        """A datagram came (Twisted calls). Nothing is ever answered here."""
        now = self._clock.seconds()
        try:
            nonce = self._questions.nonce_in(datagram)
            probe = self._probes.get(nonce)
            if (
                probe is None
                or probe.contact.address != addr
                or probe.contact.node_id != self._questions.answerer(datagram, now)
            ):
                self.counters["unasked"] += 1
                return
        except Malformed:
            self.counters["malformed"] += 1
            return
        self._end(nonce).timer.cancel()
        self._callers.pop((probe.contact.node_id, addr), None)
        self.counters["answered"] += 1
        self._table.confirmed(probe.contact, now, now - probe.sent_at)

    def stop(self) -> None:
        """Probe nobody any more."""
        self._stopped = True
        for nonce in list(self._probes):
            self._end(nonce).timer.cancel()
