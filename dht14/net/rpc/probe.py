"""Reachability probes: whether a caller can be called, tested from a second socket.

A node behind a NAT or a firewall can call others and receives their replies, but no other node can call it:
it must not become a contact that is named to others. A caller is therefore probed from a port to which it
never sent anything, with a datagram that every node answers to an unknown sender. Only a caller that answers
becomes a contact.
"""

from collections.abc import Callable

from attrs import define
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import DatagramProtocol

from dht14.bounded import BoundedDict
from dht14.errors import Malformed
from dht14.kademlia.contact import Address, Contact
from dht14.kademlia.parameters import HARD_TIMEOUT
from dht14.kademlia.routing_table import RoutingTable
from dht14.net.rpc.metrics import ProbeMetrics
from dht14.security.hello_limiter import HelloLimiter
from dht14.security.shares import SharedSlots
from dht14.security.subnets import Party, Scope
from dht14.session.layer import ReachabilityProbe

MAX_PROBES = 32
"""Probes under way: a flood of callers cannot make this node flood others."""
PROBE_LIMITS = {Scope.HOST: 2, Scope.SUBNET: 4, Scope.PROVIDER: 8, Scope.PRIVATE_HOST: MAX_PROBES // 2}
"""Of these, the limit for one party."""
RESEND_AFTER = 0.5
"""Seconds after which a probe is sent a second time."""
FIRST_PROBE_SPACING, PROBE_SPACING = 6.0, 60.0
"""Seconds between the first two probes of one contact; each further pause is three times as long, up to the
second figure. Where both datagrams of a probe are lost, a caller that can be called must not stay unknown for
long: it believes that this node is one of its group, and this node stores without it."""

SPACING_FACTOR = 3.0
RETURN_PATH_LIFETIME = 600.0
"""Seconds: the longest time for which a call opens the way back through a NAT or a firewall."""
MAX_CALLERS = 8_192
"""Callers remembered; the one that called longest ago is forgotten first."""

_NEVER = float("-inf")


@define
class _Caller:
    called_at: float
    may_be_probed_at: float = _NEVER
    spacing: float = FIRST_PROBE_SPACING


@define
class _Probe:
    contact: Contact
    sent_at: float
    timer: IDelayedCall


class ProbeProtocol(DatagramProtocol):
    """The protocol of a node's second socket. Owns the probes under way and remembers the callers."""

    noisy = False

    def __init__(
        self,
        clock: IReactorTime,
        reachability: ReachabilityProbe,
        table: RoutingTable,
        hello_limiter: HelloLimiter,
        parties_of: Callable[[str], tuple[Party, ...]],
    ) -> None:
        """`hello_limiter` is shared with the session layer: a victim suffers the same from either port."""
        self._clock = clock
        self._reachability = reachability
        self._table = table
        self._probes: dict[bytes, _Probe] = {}
        """The probes under way, by nonce."""
        self._parties_of = parties_of
        self._slots: SharedSlots[bytes] = SharedSlots(MAX_PROBES, PROBE_LIMITS)
        """Their nonces, by party."""
        self._callers: BoundedDict[tuple[int, Address], _Caller] = BoundedDict(MAX_CALLERS)
        """Callers that are not in the table, the latest last."""
        self._hello_limiter = hello_limiter
        """Protects an announced address: the announcer may have named a victim."""
        self._stopped = False
        self.metrics = ProbeMetrics()

    def called_by(self, contact: Contact, now: float) -> None:
        """The contact sent a request. It is probed if the table wants it."""
        self._hello_limiter.proved(contact.address)
        is_wanted = self._table.wants(contact)
        if not is_wanted and contact.node_id in self._table:
            return
        self._caller(contact, now).called_at = now
        if is_wanted:
            self.probe(contact, now)

    def announced(self, contact: Contact, now: float) -> None:
        """The contact sent an ANNOUNCE with this address."""
        if self._table.wants(contact):
            self.probe(contact, now)

    def _caller(self, contact: Contact, now: float) -> _Caller:
        key = contact.node_id, contact.address
        caller = self._callers.get(key)
        if caller is None:
            caller = self._callers[key] = _Caller(now)
        self._callers.move_to_end(key)
        return caller

    def probe(self, contact: Contact, now: float) -> None:
        """Probe a caller, unless it was probed recently or too many probes are under way."""
        caller = self._caller(contact, now)
        if self._stopped or now < caller.may_be_probed_at:
            return
        parties = self._parties_of(contact.address[0])
        if not self._may_be_probed(parties):
            self.metrics.over_limit += 1
            return
        if not self._hello_limiter.take(contact.address, now):
            return
        self._displace(parties)
        caller.may_be_probed_at = now + caller.spacing
        caller.spacing = min(SPACING_FACTOR * caller.spacing, PROBE_SPACING)
        nonce = self._reachability.nonce()
        datagram = self._reachability.ask(contact, nonce)
        self._send(datagram, contact.address)
        timer = self._clock.callLater(RESEND_AFTER, self._resend, nonce, datagram)
        self._probes[nonce] = _Probe(contact, now, timer)
        self._slots.add(nonce, parties)
        self.metrics.sent += 1

    def _may_be_probed(self, parties: tuple[Party, ...]) -> bool:
        """Whether these parties are within their limits, and a slot is free or another probe must give
        way."""
        slots = self._slots
        return slots.has_share_left(parties) and (
            not slots.is_full or slots.to_evict(parties, slots) is not None
        )

    def _displace(self, parties: tuple[Party, ...]) -> None:
        """If all slots are taken, end the oldest probe of the party that has most."""
        if self._slots.is_full and (nonce := self._slots.to_evict(parties, self._slots)) is not None:
            self._end(nonce).timer.cancel()
            self.metrics.displaced += 1

    def _end(self, nonce: bytes) -> _Probe:
        self._slots.remove(nonce)
        return self._probes.pop(nonce)

    def may_be_unreachable(self, contact: Contact, now: float) -> bool:
        """Whether a reply of this contact may have passed only because its own call opened the way."""
        caller = self._callers.get((contact.node_id, contact.address))
        return caller is not None and now - caller.called_at < RETURN_PATH_LIFETIME

    def _resend(self, nonce: bytes, datagram: bytes) -> None:
        probe = self._probes[nonce]
        if self._hello_limiter.take(probe.contact.address, self._clock.seconds()):
            self._send(datagram, probe.contact.address)
        probe.timer = self._clock.callLater(HARD_TIMEOUT - RESEND_AFTER, self._give_up, nonce)

    def _give_up(self, nonce: bytes) -> None:
        self._end(nonce)
        self.metrics.unanswered += 1

    def _send(self, datagram: bytes, address: Address) -> None:
        if self.transport is None:
            return
        try:
            self.transport.write(datagram, address)
        except OSError:
            self.metrics.unsendable += 1

    def datagramReceived(self, datagram: bytes, addr: Address) -> None:
        """A datagram came (Twisted calls). Nothing is answered here."""
        now = self._clock.seconds()
        try:
            nonce = self._reachability.nonce_in(datagram)
            probe = self._probes.get(nonce)
            if (
                probe is None
                or probe.contact.address != addr
                or probe.contact.node_id != self._reachability.answerer(datagram, now)
            ):
                self.metrics.unasked += 1
                return
        except Malformed:
            self.metrics.malformed += 1
            return
        self._end(nonce).timer.cancel()
        self._callers.pop((probe.contact.node_id, addr), None)
        self.metrics.answered += 1
        self._table.confirmed(probe.contact, now, now - probe.sent_at)

    def stop(self) -> None:
        """Send no more probes."""
        self._stopped = True
        for nonce in list(self._probes):
            self._end(nonce).timer.cancel()
