"""What the tests of operations and protocols share: recorders, and a network of peers without datagrams."""

import random
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any

from attrs import define, field
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.internet.defer import Deferred
from twisted.logger import LogEvent

from dht14.errors import CallFailed, Malformed, Withdrawn
from dht14.kademlia.contact import Address, Contact
from dht14.kademlia.keyspace import ID_BYTES, id_from_bytes, id_to_bytes
from dht14.kademlia.neighbourhood import Neighbourhood
from dht14.kademlia.parameters import (
    HARD_TIMEOUT,
    OPERATION_TIMEOUT,
    SILENT_TIMEOUT_MAX,
    SOFT_TIMEOUT_UNKNOWN,
)
from dht14.kademlia.routing_table import RoutingTable
from dht14.node.get import RecordReader
from dht14.node.holders import Holders
from dht14.node.leases import LeaseTable
from dht14.node.lookups import Lookups
from dht14.node.network_clock import NetworkClock
from dht14.node.node import Node
from dht14.node.notifier import Notifier
from dht14.node.observed_store import ObservedStore
from dht14.node.policy import Policy
from dht14.node.ports import CallObserver, CallResult
from dht14.node.put import RecordWriter
from dht14.node.record_sender import RecordSender
from dht14.node.republish_times import RepublishTimes
from dht14.node.responder import Responder
from dht14.node.resync_state import ResyncState
from dht14.node.transfers import Download, Transfer, Upload
from dht14.node.version_choice import VersionChoice
from dht14.node.watched_key import WatchAccess
from dht14.node.watches import Watches
from dht14.security.identity import PROOF_BYTES, Identity, public_key_in
from dht14.security.subnets import parties_of
from dht14.security.tickets import Tickets
from dht14.sim.clock import HeapClock
from dht14.sim.memory_store import MemoryStore
from dht14.wire.messages import Pong, Reply, Request

BEGINNING = 1_700_000_000.0
"""Where the clocks of these tests start: versions are made of the time, and 0 is no time for a node."""

LATENCY = 0.01
"""Seconds from a request of the fake network to its reply."""

Fact = tuple[str, Contact]


def address_of(number: int) -> Address:
    """The address of the peer of this number, below 65,536."""
    return f"10.0.{number >> 8}.{number & 255}", 8000


def proof_of(node_id: int) -> bytes:
    """A stand-in for a proof of work, so that tests can choose their ids."""
    return id_to_bytes(node_id) + bytes(PROOF_BYTES - ID_BYTES)


def verify_proof(proof: bytes) -> int:
    """The id in such a proof."""
    if len(proof) != PROOF_BYTES or proof[ID_BYTES:] != bytes(PROOF_BYTES - ID_BYTES):
        raise Malformed("no proof of these tests")
    return id_from_bytes(proof[:ID_BYTES])


def identity(node_id: int) -> Identity:
    """An identity with a chosen id."""
    key = Ed25519PrivateKey.from_private_bytes(id_to_bytes(node_id))
    return Identity(key, proof_of(node_id), node_id)


def contact(node_id: int, number: int = 1) -> Contact:
    """A contact at one of these addresses."""
    return contact_at(node_id, address_of(number))


def contact_at(node_id: int, address: Address) -> Contact:
    """A contact with a proof."""
    return Contact(node_id, address, proof_of(node_id))


def fields(events: Iterable[LogEvent], *names: str) -> list[tuple[Any, ...]]:
    """These fields of each event that has them all."""
    return [tuple(event[name] for name in names) for event in events if set(names) <= event.keys()]


@define
class CallRecorder:
    """A `CallObserver` that notes the facts, and the replies."""

    facts: list[Fact] = field(factory=list)
    replies: list[Reply] = field(factory=list)

    @property
    def names(self) -> list[str]:
        """The facts alone, in order."""
        return [name for name, _ in self.facts]

    def call_answered(self, contact: Contact, reply: Reply) -> None:
        self.facts.append(("answered", contact))
        self.replies.append(reply)

    def call_slow(self, contact: Contact) -> None:
        self.facts.append(("slow", contact))

    def call_silent(self, contact: Contact) -> None:
        self.facts.append(("silent", contact))

    def call_failed(self, contact: Contact) -> None:
        self.facts.append(("failed", contact))


class Asks:
    """The questions of an `Rpc` that are made of its calls."""

    def call(self, contact: Contact, request: Request, observer: CallObserver) -> None:
        raise NotImplementedError

    def ask(self, contact: Contact, request: Request) -> "Deferred[Reply]":
        asked = CallResult()
        self.call(contact, request, asked)
        return asked.reply

    def ask_address(
        self, address: Address, request: Request, node_id: int | None = None
    ) -> "Deferred[tuple[Contact, Reply]]":
        asked = CallResult()
        self.call(Contact(node_id or 0, address), request, asked)
        return asked.outcome


@define(eq=False)
class RpcRecorder(Asks):
    """An `Rpc` that records calls; the test notifies their observers."""

    calls: list[tuple[Contact, Request, CallObserver]] = field(factory=list)

    def call(self, contact: Contact, request: Request, observer: CallObserver) -> None:
        self.calls.append((contact, request, observer))

    @property
    def contacts(self) -> list[Contact]:
        """The contacts called, in order."""
        return [contact for contact, _, _ in self.calls]


@define(eq=False)
class BulkRecorder:
    """A `Bulk` that records transfers; the test fires their Deferreds."""

    pushes: "list[tuple[Contact, bytes, bytes, Deferred[Reply]]]" = field(factory=list)
    fetches: "list[tuple[Contact, bytes, int, Deferred[bytes]]]" = field(factory=list)

    def push(self, contact: Contact, ticket: bytes, value: bytes) -> "Deferred[Reply]":
        pushed: Deferred[Reply] = Deferred()
        self.pushes.append((contact, ticket, value, pushed))
        return pushed

    def fetch(self, contact: Contact, ticket: bytes, length: int) -> "Deferred[bytes]":
        fetched: Deferred[bytes] = Deferred()
        self.fetches.append((contact, ticket, length, fetched))
        return fetched


Answer = Callable[[Request, Contact], Reply | None]
"""The reply of a peer to a request of a contact; None if it does not answer."""


class BulkBehaviour(Enum):
    """How a peer behaves on the bulk channel."""

    HONEST = "honest"
    CLOSED = "closed"
    """They fail at once."""
    SILENT = "silent"
    """They never end."""
    LYING = "lying"
    """It sends values that differ from the advertised ones, of the same length."""


@define(eq=False, repr=False)
class Peer:
    """One node of a `FakeNetwork`: its parts, and how it behaves."""

    contact: Contact
    table: RoutingTable
    store: MemoryStore | None
    responder: Responder
    record_sender: RecordSender
    node: Node
    republish_times: RepublishTimes
    resync_state: ResyncState
    time: NetworkClock
    answer: Answer
    latency: float = LATENCY
    """Seconds until its reply comes."""
    bulk: BulkBehaviour = BulkBehaviour.HONEST
    """How it behaves on the bulk channel."""
    transfer_seconds: float | None = None
    """Seconds that a transfer takes; None: three round trips."""
    asked: list[Request] = field(factory=list)
    """The requests that reached it."""

    def fall_silent(self) -> None:
        """Answer nothing, as a dead node does."""
        self.answer = lambda request, sender: None
        self.bulk = BulkBehaviour.SILENT


@define(eq=False, repr=False)
class FakeNetwork:
    """Nodes that reach each other by calls of functions on one virtual clock, with the facts of real
    calls."""

    policy: Policy = field(factory=lambda: Policy(min_ttl=1))
    clock: HeapClock = field(factory=lambda: HeapClock(BEGINNING))
    peers: dict[Address, Peer] = field(factory=dict)
    unknown_peers: Answer = lambda request, sender: None
    """The replies from addresses at which the test has no node."""
    unknown_peers_latency: float = LATENCY

    def peer(
        self,
        node_id: int,
        holds_values: bool = True,
        limit: int = 1 << 22,
        address: Address | None = None,
    ) -> Peer:
        """Add a node. No other node knows it, and it knows none."""
        contact = contact_at(node_id, address or address_of(len(self.peers) + 1))
        neighbourhood = Neighbourhood(table := RoutingTable(node_id))
        store = MemoryStore(node_id, limit, lambda record: True) if holds_values else None
        republish_times = RepublishTimes()
        time, resync_state = NetworkClock(self.clock.seconds, self.clock.seconds), ResyncState()
        tickets: Tickets[Transfer] = Tickets(random.Random(node_id))
        observed = None
        if store is not None:
            observed = ObservedStore(store, lambda: time.latest_held(len(neighbourhood.table)))
        notifier = None
        if observed is not None:
            notifier = Notifier(neighbourhood, observed, LeaseTable(parties_of), self.clock)
            observed.observers.append(notifier.record_held)
        responder = Responder(
            neighbourhood,
            observed,
            self.policy.max_ttl,
            tickets,
            time,
            republish_times,
            resync_state,
            notifier,
        )
        bulk = FakeBulk(self, contact)
        rpc = FakeRpc(self, contact, table, time)
        if notifier is not None:
            notifier.connect(rpc)
        record_sender = RecordSender(rpc, bulk, self.clock)
        lookups = Lookups(neighbourhood, record_sender, self.clock)
        reader = RecordReader(lookups, observed, bulk, time, resync_state, None)
        holders = Holders(lookups, observed, resync_state, republish_times)
        versions = VersionChoice(lookups, observed, time)
        writer = RecordWriter(lookups, self.policy, reader, holders, versions)
        watches = Watches(
            WatchAccess(
                lookups=lookups,
                rpc=rpc,
                read=lambda key: reader.get(key, False, OPERATION_TIMEOUT),
                store=observed,
                clock=self.clock,
                rng=random.Random(node_id),
            )
        )
        responder.on_notify = watches.notified
        if observed is not None:
            observed.observers.append(watches.record_held)
        node = Node(lookups=lookups, reader=reader, writer=writer, watches=watches)
        peer = Peer(
            contact,
            table,
            store,
            responder,
            record_sender,
            node,
            republish_times,
            resync_state,
            time,
            self._answers(responder),
        )
        self.peers[contact.address] = peer
        return peer

    def _answers(self, responder: Responder) -> Answer:
        def answer(request: Request, sender: Contact) -> Reply | None:
            replies: list[Reply] = []
            responder.answer(request, sender, self.clock.seconds(), replies.append)
            return replies[0]

        return answer

    def cluster(self, *node_ids: int) -> list[Peer]:
        """Add nodes of these ids, each of which knows all others."""
        peers = [self.peer(node_id) for node_id in node_ids]
        self.acquaint(peers)
        return peers

    def acquaint(self, peers: Iterable[Peer]) -> None:
        """Let each of these know all others, and its own neighbourhood."""
        peers = list(peers)
        now = self.clock.seconds()
        for one in peers:
            for other in peers:
                one.table.confirmed(other.contact, now, LATENCY)
            one.table.looked_up(one.contact.node_id, now)

    def wait(self, seconds: float) -> None:
        """Let this many seconds pass."""
        self.clock.run_until(self.clock.seconds() + seconds)

    def seconds_until(self, outcome: "Deferred[Any]") -> float:
        """Run until the Deferred has fired; return the seconds that took. AssertionError after a minute."""
        began = self.clock.seconds()

        def over() -> bool:
            return outcome.called and not outcome.paused  # Paused: it waits for another one.

        assert self.clock.run_until_true(over, began + 60), "it never ended"
        return self.clock.seconds() - began

    def result(self, outcome: "Deferred[Any]") -> Any:
        """Run until the Deferred has fired; return its result."""
        self.seconds_until(outcome)
        return outcome.result


@define(eq=False)
class FakeRpc(Asks):
    """The `Rpc` of one peer."""

    _network: FakeNetwork
    _own: Contact
    _table: RoutingTable
    _time: NetworkClock

    def call(self, contact: Contact, request: Request, observer: CallObserver) -> None:
        peer = self._network.peers.get(contact.address)
        call = _Call(self._network.clock, self._table, contact, observer, self._time)
        if peer is None:
            reply = self._network.unknown_peers(request, self._own)
            call.runs(reply, contact, self._network.unknown_peers_latency)
        elif contact.node_id in (0, peer.contact.node_id):
            peer.asked.append(request)
            call.runs(peer.answer(request, self._own), peer.contact, peer.latency)
        else:
            call.runs(None, contact, LATENCY)


@define(eq=False)
class FakeBulk:
    """The `Bulk` of one peer."""

    _network: FakeNetwork
    _own: Contact

    def push(self, contact: Contact, ticket: bytes, value: bytes) -> "Deferred[Reply]":
        return self._begin(contact, lambda peer, ended: self._pushed(peer, ticket, value, ended))

    def fetch(self, contact: Contact, ticket: bytes, length: int) -> "Deferred[bytes]":
        return self._begin(contact, lambda peer, ended: self._fetched(peer, ticket, ended))

    def _begin(self, contact: Contact, end: "Callable[[Peer, Deferred[Any]], None]") -> "Deferred[Any]":
        ended: Deferred[Any] = Deferred()
        peer = self._network.peers.get(contact.address)
        if peer is None or not peer.contact.is_same(contact) or peer.bulk is BulkBehaviour.CLOSED:
            ended.errback(CallFailed())
        elif peer.bulk is not BulkBehaviour.SILENT:
            seconds = 3 * peer.latency if peer.transfer_seconds is None else peer.transfer_seconds
            self._network.clock.post(seconds, lambda _: None if ended.called else end(peer, ended), None)
        return ended

    def _redeem(self, peer: Peer, ticket: bytes) -> Transfer | None:
        return peer.responder.redeem(ticket, public_key_in(self._own.proof), self._network.clock.seconds())

    def _pushed(self, peer: Peer, ticket: bytes, value: bytes, ended: "Deferred[Any]") -> None:
        transfer = self._redeem(peer, ticket)
        if isinstance(transfer, Upload):
            peer.responder.take(transfer, value, self._network.clock.seconds(), ended.callback)
        else:
            ended.errback(CallFailed())

    def _fetched(self, peer: Peer, ticket: bytes, ended: "Deferred[Any]") -> None:
        transfer = self._redeem(peer, ticket)
        value = (
            peer.responder.give(transfer, self._network.clock.seconds())
            if isinstance(transfer, Download)
            else None
        )
        if value is None:
            ended.errback(Withdrawn())
        else:
            ended.callback(bytes(len(value)) if peer.bulk is BulkBehaviour.LYING else value)


@define(eq=False)
class _Call:
    """One call of a `FakeRpc`, whose facts come when those of a real first call would."""

    _clock: HeapClock
    _table: RoutingTable
    _contact: Contact
    _observer: CallObserver
    _time: NetworkClock

    def runs(self, reply: Reply | None, answerer: Contact, latency: float) -> None:
        ends = latency if reply is not None else HARD_TIMEOUT
        if ends > SOFT_TIMEOUT_UNKNOWN:
            self._clock.post(SOFT_TIMEOUT_UNKNOWN, self._observer.call_slow, self._contact)
        if ends > SILENT_TIMEOUT_MAX:
            self._clock.post(SILENT_TIMEOUT_MAX, self._fell_silent, None)
        if reply is None:
            self._clock.post(HARD_TIMEOUT, self._observer.call_failed, self._contact)
        else:
            self._clock.post(latency, lambda _: self._answered(answerer, reply, latency), None)

    def _fell_silent(self, _: object) -> None:
        self._table.failed(self._contact, self._clock.seconds())
        self._observer.call_silent(self._contact)

    def _answered(self, answerer: Contact, reply: Reply, latency: float) -> None:
        self._table.confirmed(answerer, self._clock.seconds(), latency)
        if isinstance(reply, Pong) and reply.time_ms:
            self._time.heard(answerer.node_id, reply.time_ms / 1000, latency)
        self._observer.call_answered(answerer, reply)
