"""Builds the objects of one node, in order, for the real network and for the simulated one.

state (table, store) -> responder -> network (session layer, probe, rpc) -> replicator -> node -> join ->
services (the passes of maintenance). Nothing is opened here: the caller gives `rpc` and `probe` a transport
each, and starts the services.
"""

import random
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from typing import Protocol

from attrs import field, frozen
from twisted.application.service import IService
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime

from dht14.kademlia.contact import Address, Contact, Seed
from dht14.kademlia.neighbourhood import Neighbourhood
from dht14.kademlia.parameters import REPUBLISH_INTERVAL
from dht14.kademlia.routing_table import RoutingTable
from dht14.maintenance.handover import HandOver
from dht14.maintenance.liveness import Liveness
from dht14.maintenance.passes import Passes
from dht14.maintenance.periodic import Periodic
from dht14.maintenance.read_repair import ReadRepair
from dht14.maintenance.replicator import Replicator
from dht14.net.api.metrics import ApiMetrics
from dht14.net.bulk.metrics import BulkClientMetrics, BulkServerMetrics
from dht14.net.rpc.pacing import Pacing
from dht14.net.rpc.priorities import PeerPriorities
from dht14.net.rpc.probe import ProbeProtocol
from dht14.net.rpc.protocol import RpcProtocol
from dht14.net.rpc.standstill import StandstillDetector
from dht14.node.get import RecordReader
from dht14.node.join import Join, Retries
from dht14.node.lookups import Lookups
from dht14.node.network_clock import NetworkClock
from dht14.node.node import Node
from dht14.node.ports import Bulk, Resolver
from dht14.node.put import Policy, RecordWriter
from dht14.node.record_sender import RecordSender
from dht14.node.republish_times import RepublishTimes
from dht14.node.responder import Responder
from dht14.node.resync_state import ResyncState
from dht14.node.transfers import Transfer
from dht14.node_metrics import NodeMetrics, StoreMetrics
from dht14.records.record import Record
from dht14.records.store import LocalStore
from dht14.security.hello_limiter import HelloLimiter
from dht14.security.identity import Identity, VerifyProof
from dht14.security.prekey_clock import PrekeyClock
from dht14.security.subnets import any_subnet, public_subnet
from dht14.security.tickets import Tickets
from dht14.session.acceptor import Limits
from dht14.session.encrypted import EncryptedLayer, HelloProbe
from dht14.session.layer import ReachabilityProbe, SessionLayer
from dht14.session.plaintext import PlaintextLayer, PlaintextProbe


class MakeStore(Protocol):
    """Makes the store of a node; `MemoryStore` is one."""

    def __call__(
        self,
        *,
        own_id: int,
        limit: int,
        answers_for: Callable[[Record], bool],
        max_ttl: float,
        writer_share: float,
    ) -> LocalStore:
        """`limit` in bytes; `answers_for`: whether the node is one of a record's holders; `max_ttl`: the
        longest lifetime of a record, in seconds; `writer_share`: the bytes that a writer may hold, as a
        multiple of the free ones."""


class MakeResponder(Protocol):
    """Makes the responder of a node, with the arguments of `Responder`. The simulator has some that lie."""

    def __call__(
        self,
        *,
        neighbourhood: Neighbourhood,
        store: LocalStore | None,
        max_ttl: float,
        tickets: Tickets[Transfer],
        time: NetworkClock,
        republish_times: RepublishTimes,
        resync_state: ResyncState,
    ) -> Responder:
        """As `Responder`."""


@frozen
class StackOptions:
    """Options of one node. Times in seconds, sizes in bytes."""

    policy: Policy = field(factory=Policy)
    storage_limit: int | None = 1 << 30
    """None: a bootstrap node, which stores no values."""
    writer_share: float = 1.0
    """The bytes that another node, or a subnet of nodes, may hold, as a multiple of the free ones."""
    cleanup_interval: float = 86_400.0
    refresh_interval: float = 900.0
    republish_interval: float = REPUBLISH_INTERVAL
    seeds: tuple[Seed, ...] = ()
    retries: Retries = field(factory=Retries)
    advertised: Address | None = None
    """Host name or address at which others reach the node, if its datagrams come from another one."""
    sealed: bool = True
    """Whether datagrams are encrypted. Plaintext only on networks where no other party can send or listen."""
    limits: Limits = field(factory=Limits)


@frozen(kw_only=True)
class Stack:
    """The objects of one node that other parts use."""

    table: RoutingTable
    store: LocalStore | None
    responder: Responder
    """Also serves the bulk channel."""
    session_layer: SessionLayer
    rpc: RpcProtocol
    probe: ProbeProtocol
    """For a second port, from which callers are probed."""
    node: Node
    join: Join
    hand_over: HandOver | None
    """None in a bootstrap node."""
    replicator: Replicator | None
    """None in a bootstrap node."""
    standstill: StandstillDetector
    services: tuple[IService, ...]
    """Join and the passes of maintenance, to be started when `rpc` and `probe` have their transports."""

    def leave(self, seconds: float) -> "Deferred[None]":
        """Accept no more records, and hand over the records of this node within `seconds`."""
        self.responder.stop_storing()
        return self.hand_over.run(seconds) if self.hand_over is not None else succeed(None)

    def metrics(
        self,
        *,
        bulk_client: BulkClientMetrics | None = None,
        bulk_server: BulkServerMetrics | None = None,
        api: ApiMetrics | None = None,
    ) -> NodeMetrics:
        """Take a snapshot of all metrics of the node. The arguments are those of the parts that the stack
        does not own: the bulk channel and the API. Takes about a millisecond."""
        passes = {str(one.name): one.metrics for one in self.services if isinstance(one, Periodic)}
        layer = self.session_layer if isinstance(self.session_layer, EncryptedLayer) else None
        live = NodeMetrics(
            contacts=len(self.table),
            sessions=len(layer.sessions.by_cid) if layer is not None else 0,
            hops=self.node.lookups_by_hops,
            eclipses=self.node.eclipse_detector.detections,
            puts=self.node.put_metrics,
            rpc=self.rpc.metrics,
            probe=self.probe.metrics,
            standstill=self.standstill.metrics,
            passes=passes,
            session=layer.metrics if layer is not None else None,
            store=StoreMetrics.of(self.store),
            copies=self.replicator.metrics if self.replicator is not None else None,
            bulk_client=bulk_client,
            bulk_server=bulk_server,
            api=api,
        )
        return deepcopy(live)


@frozen(kw_only=True)
class _Inputs:
    """The arguments of `build_stack` that most steps need."""

    identity: Identity
    verify_proof: VerifyProof
    clock: IReactorTime
    wall: Callable[[], float]
    rng: random.Random
    resolve: Resolver
    bulk: Bulk
    options: StackOptions


@frozen(kw_only=True)
class _State:
    """What a node knows and holds."""

    table: RoutingTable
    neighbourhood: Neighbourhood
    store: LocalStore | None
    time: NetworkClock
    republish_times: RepublishTimes
    resync_state: ResyncState


@frozen(kw_only=True)
class _Network:
    """The UDP side of a node."""

    session_layer: SessionLayer
    probe: ProbeProtocol
    standstill: StandstillDetector
    rpc: RpcProtocol


def build_stack(
    *,
    identity: Identity,
    verify_proof: VerifyProof,
    clock: IReactorTime,
    wall: Callable[[], float],
    rng: random.Random,
    resolve: Resolver,
    bulk: Bulk,
    options: StackOptions,
    saved: Iterable[Contact] = (),
    make_store: MakeStore,
    make_responder: MakeResponder = Responder,
) -> Stack:
    """Build the stack of a node. `saved` are contacts of an earlier run; `verify_proof` returns a proof's id.

    `clock` is a monotonic clock; it times everything, lifetimes of values included. `wall` is the time of
    day, seconds since 1970: it is only used for dates that other nodes compare, of versions and pre-keys.
    """
    inputs = _Inputs(
        identity=identity,
        verify_proof=verify_proof,
        clock=clock,
        wall=wall,
        rng=rng,
        resolve=resolve,
        bulk=bulk,
        options=options,
    )
    state = _build_state(inputs, make_store)
    responder = _build_responder(inputs, state, make_responder)
    network = _build_network(inputs, state, responder)
    record_sender = RecordSender(network.rpc, bulk, clock)
    replicator = None
    if state.store is not None:
        replicator = Replicator(
            state.table, state.store, network.rpc, record_sender.send_copy, bulk, clock, state.time
        )
    node = _build_node(inputs, state, network.rpc, record_sender, replicator)
    join = Join(node, network.rpc, resolve, clock, rng, options.seeds, saved, options.retries)
    hand_over = None
    if state.store is not None and replicator is not None:
        hand_over = HandOver(state.neighbourhood, state.store, replicator, clock)
    return Stack(
        table=state.table,
        store=state.store,
        responder=responder,
        session_layer=network.session_layer,
        rpc=network.rpc,
        probe=network.probe,
        node=node,
        join=join,
        hand_over=hand_over,
        replicator=replicator,
        standstill=network.standstill,
        services=(network.standstill, join, *_build_passes(inputs, state, network, node, join, replicator)),
    )


def _build_state(inputs: _Inputs, make_store: MakeStore) -> _State:
    options = inputs.options
    table = RoutingTable(
        inputs.identity.node_id, any_subnet if options.limits.diversity_private else public_subnet
    )
    neighbourhood = Neighbourhood(table)
    store = None
    if options.storage_limit is not None:
        store = make_store(
            own_id=table.own_id,
            limit=options.storage_limit,
            answers_for=lambda record: neighbourhood.is_near(record.key, record.replication),
            max_ttl=options.policy.max_ttl,
            writer_share=options.writer_share,
        )
    return _State(
        table=table,
        neighbourhood=neighbourhood,
        store=store,
        time=NetworkClock(inputs.clock.seconds, inputs.wall),
        republish_times=RepublishTimes(),
        resync_state=ResyncState(is_current=store is None),
    )


def _build_responder(inputs: _Inputs, state: _State, make_responder: MakeResponder) -> Responder:
    return make_responder(
        neighbourhood=state.neighbourhood,
        store=state.store,
        max_ttl=inputs.options.policy.max_ttl,
        tickets=Tickets(inputs.rng),
        time=state.time,
        republish_times=state.republish_times,
        resync_state=state.resync_state,
    )


def _build_network(inputs: _Inputs, state: _State, responder: Responder) -> _Network:
    clock, rng, limits, table = inputs.clock, inputs.rng, inputs.options.limits, state.table
    hello_limiter = HelloLimiter()
    session_layer, reachability = _build_session_layer(inputs, table, hello_limiter)
    probe = ProbeProtocol(clock, reachability, table, hello_limiter, limits.parties_of)
    standstill, pacing = StandstillDetector(clock), Pacing(limits.peer_rate, limits.peer_burst)
    rpc = RpcProtocol(
        clock,
        rng,
        session_layer,
        inputs.verify_proof,
        table,
        responder,
        probe,
        state.time,
        standstill,
        pacing,
    )
    return _Network(session_layer=session_layer, probe=probe, standstill=standstill, rpc=rpc)


def _build_session_layer(
    inputs: _Inputs, table: RoutingTable, hello_limiter: HelloLimiter
) -> tuple[SessionLayer, ReachabilityProbe]:
    identity, verify_proof, rng = inputs.identity, inputs.verify_proof, inputs.rng
    limits = inputs.options.limits
    if inputs.options.sealed:
        time = PrekeyClock(inputs.wall)
        sealed = EncryptedLayer(
            identity,
            verify_proof,
            rng,
            limits,
            table.holds,
            PeerPriorities(table, hello_limiter).of,
            hello_limiter,
            inputs.clock.seconds(),
            time,
        )
        return sealed, HelloProbe(verify_proof, rng, time)
    plain = PlaintextLayer.of(identity.proof, verify_proof, limits.peer_rate, limits.peer_burst)
    return plain, PlaintextProbe(identity.proof, verify_proof, rng)


def _build_node(
    inputs: _Inputs,
    state: _State,
    rpc: RpcProtocol,
    record_sender: RecordSender,
    replicator: Replicator | None,
) -> Node:
    read_repair = None
    if replicator is not None:
        read_repair = ReadRepair(state.neighbourhood, rpc, replicator, inputs.clock)
    lookups = Lookups(state.neighbourhood, record_sender, inputs.clock)
    reader = RecordReader(lookups, state.store, inputs.bulk, state.time, state.resync_state, read_repair)
    writer = RecordWriter(
        lookups,
        state.store,
        state.time,
        state.resync_state,
        inputs.options.policy,
        state.republish_times,
        reader,
    )
    return Node(lookups=lookups, reader=reader, writer=writer)


def _build_passes(
    inputs: _Inputs,
    state: _State,
    network: _Network,
    node: Node,
    join: Join,
    replicator: Replicator | None,
) -> Iterator[Periodic]:
    options, clock = inputs.options, inputs.clock
    passes = Passes(
        node=node,
        rpc=network.rpc,
        liveness=Liveness(state.table, network.rpc, clock, options.republish_interval),
        clock=clock,
        rng=inputs.rng,
        refresh_interval=options.refresh_interval,
        republish_interval=options.republish_interval,
        cleanup_interval=options.cleanup_interval,
    )
    yield from passes.of_contacts(network.session_layer.tidy)
    if options.advertised is not None:
        yield from passes.of_advertised(options.advertised, inputs.resolve)
    if state.store is not None and replicator is not None:
        yield from passes.of_records(state.store, replicator, state.republish_times, state.resync_state, join)
