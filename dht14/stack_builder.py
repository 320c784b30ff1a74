"""Builds the objects of one node, in order, for the real network and for the simulated one.

state (table, store) -> responder -> network (session layer, probe, rpc) -> work (node, join, replicator,
keeper) -> services (the passes of maintenance). Nothing is opened here: the caller gives `rpc` and `probe` a
transport each, and starts the services.
"""

import random
from collections.abc import Callable, Iterable, Iterator

from attrs import frozen
from twisted.application.service import IService
from twisted.internet.interfaces import IReactorTime

from dht14.kademlia.contact import Contact
from dht14.kademlia.neighbourhood import Neighbourhood
from dht14.kademlia.parameters import OPERATION_TIMEOUT
from dht14.kademlia.routing_table import RoutingTable
from dht14.maintenance.handover import HandOver
from dht14.maintenance.keep import Keeper
from dht14.maintenance.liveness import Liveness
from dht14.maintenance.passes import Passes
from dht14.maintenance.periodic import Periodic
from dht14.maintenance.read_repair import ReadRepair
from dht14.maintenance.replicator import Replicator
from dht14.net.rpc.pacing import Pacing
from dht14.net.rpc.priorities import PeerPriorities
from dht14.net.rpc.probe import ProbeProtocol
from dht14.net.rpc.protocol import RpcProtocol
from dht14.net.rpc.standstill import StandstillDetector
from dht14.node.get import RecordReader
from dht14.node.holders import Holders
from dht14.node.join import Join
from dht14.node.leases import LeaseTable
from dht14.node.lookups import Lookups
from dht14.node.network_clock import NetworkClock
from dht14.node.node import Node
from dht14.node.notifier import Notifier
from dht14.node.observed_store import ObservedStore
from dht14.node.ports import Bulk, Resolver
from dht14.node.put import RecordWriter
from dht14.node.record_sender import RecordSender
from dht14.node.republish_times import RepublishTimes
from dht14.node.responder import Responder
from dht14.node.resync_state import ResyncState
from dht14.node.version_choice import VersionChoice
from dht14.node.watched_key import WatchAccess
from dht14.node.watches import Watches
from dht14.records.store import LocalStore
from dht14.security.hello_limiter import HelloLimiter
from dht14.security.identity import Identity, VerifyProof
from dht14.security.prekey_clock import PrekeyClock
from dht14.security.subnets import any_subnet, public_subnet
from dht14.security.tickets import Tickets
from dht14.session.encrypted import EncryptedLayer, HelloProbe
from dht14.session.layer import ReachabilityProbe, SessionLayer
from dht14.session.plaintext import PlaintextLayer, PlaintextProbe
from dht14.stack import MakeResponder, MakeStore, Stack, StackOptions, StoreOptions


@frozen(kw_only=True)
class StackInputs:
    """What a node is made of."""

    identity: Identity
    verify_proof: VerifyProof
    """Returns the id of a node by its proof of work."""
    clock: IReactorTime
    """A monotonic clock: it times everything, lifetimes of values included."""
    wall: Callable[[], float]
    """The time of day, seconds since 1970. Only for dates that other nodes compare: of versions and
    pre-keys."""
    rng: random.Random
    resolve: Resolver
    bulk: Bulk
    options: StackOptions
    saved: Iterable[Contact] = ()
    """Contacts of an earlier run."""
    make_store: MakeStore
    make_responder: MakeResponder = Responder


@frozen(kw_only=True)
class _State:
    """What a node knows and holds."""

    table: RoutingTable
    neighbourhood: Neighbourhood
    bare_store: LocalStore | None
    """The store as it was made."""
    store: ObservedStore | None
    """The same one, for all who offer it records."""
    notifier: Notifier | None
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


@frozen(kw_only=True)
class _Work:
    """What a node does, for its clients and unasked."""

    node: Node
    join: Join
    replicator: Replicator | None
    hand_over: HandOver | None
    keeper: Keeper | None


def build_stack(inputs: StackInputs) -> Stack:
    """Build the stack of a node."""
    state = _build_state(inputs)
    responder = _build_responder(inputs, state)
    network = _build_network(inputs, state, responder)
    work = _build_work(inputs, state, network)
    responder.on_notify = work.node.watches.notified
    return Stack(
        table=state.table,
        store=state.bare_store,
        responder=responder,
        session_layer=network.session_layer,
        rpc=network.rpc,
        probe=network.probe,
        node=work.node,
        join=work.join,
        hand_over=work.hand_over,
        replicator=work.replicator,
        notifier=state.notifier,
        keeper=work.keeper,
        standstill=network.standstill,
        services=tuple(_build_services(inputs, state, network, work)),
    )


def _build_state(inputs: StackInputs) -> _State:
    options = inputs.options
    table = RoutingTable(
        inputs.identity.node_id, any_subnet if options.limits.diversity_private else public_subnet
    )
    neighbourhood = Neighbourhood(table)
    store = None
    if options.storage_limit is not None:
        store = inputs.make_store(
            StoreOptions(
                own_id=table.own_id,
                limit=options.storage_limit,
                answers_for=lambda record: neighbourhood.is_near(record.key, record.replication),
                max_ttl=options.policy.max_ttl,
                writer_share=options.writer_share,
            )
        )
    time = NetworkClock(inputs.clock.seconds, inputs.wall)
    observed = ObservedStore(store, lambda: time.latest_held(len(table))) if store is not None else None
    notifier = None
    if observed is not None:
        notifier = Notifier(neighbourhood, observed, LeaseTable(options.limits.parties_of), inputs.clock)
        observed.observers.append(notifier.record_held)
    return _State(
        table=table,
        neighbourhood=neighbourhood,
        bare_store=store,
        store=observed,
        notifier=notifier,
        time=time,
        republish_times=RepublishTimes(),
        resync_state=ResyncState(is_current=store is None),
    )


def _build_responder(inputs: StackInputs, state: _State) -> Responder:
    return inputs.make_responder(
        neighbourhood=state.neighbourhood,
        store=state.store,
        max_ttl=inputs.options.policy.max_ttl,
        tickets=Tickets(inputs.rng),
        time=state.time,
        republish_times=state.republish_times,
        resync_state=state.resync_state,
        notifier=state.notifier,
    )


def _build_network(inputs: StackInputs, state: _State, responder: Responder) -> _Network:
    clock, rng, limits, table = inputs.clock, inputs.rng, inputs.options.limits, state.table
    hello_limiter = HelloLimiter()
    session_layer, reachability = _build_session_layer(inputs, table, hello_limiter)
    probe = ProbeProtocol(clock, reachability, table, hello_limiter, limits.parties_of)
    standstill, pacing = StandstillDetector(clock), Pacing(limits.peer_rate, limits.peer_burst)
    rpc = RpcProtocol(
        clock=clock,
        rng=rng,
        session=session_layer,
        verify_proof=inputs.verify_proof,
        table=table,
        responder=responder,
        probe=probe,
        time=state.time,
        standstill=standstill,
        pacing=pacing,
    )
    resync_state = state.resync_state
    standstill.on_standstill = resync_state.stood_still
    resync_state.stands_still = lambda: standstill.may_have_waited(clock.seconds())
    resync_state.has_company = table.has_live_contact
    if state.bare_store is not None:
        resync_state.disk_hangs = state.bare_store.hangs
    if state.notifier is not None:
        state.notifier.connect(rpc)
    return _Network(session_layer=session_layer, probe=probe, standstill=standstill, rpc=rpc)


def _build_session_layer(
    inputs: StackInputs, table: RoutingTable, hello_limiter: HelloLimiter
) -> tuple[SessionLayer, ReachabilityProbe]:
    identity, verify_proof, rng = inputs.identity, inputs.verify_proof, inputs.rng
    limits = inputs.options.limits
    if inputs.options.sealed:
        prekey_clock = PrekeyClock(inputs.wall)
        sealed = EncryptedLayer(
            identity=identity,
            verify_proof=verify_proof,
            rng=rng,
            limits=limits,
            is_contact=table.holds,
            priority_of=PeerPriorities(table, hello_limiter).of,
            hello_limiter=hello_limiter,
            now=inputs.clock.seconds(),
            prekey_clock=prekey_clock,
        )
        return sealed, HelloProbe(verify_proof, rng, prekey_clock)
    plain = PlaintextLayer.of(identity.proof, verify_proof, limits.peer_rate, limits.peer_burst)
    return plain, PlaintextProbe(identity.proof, verify_proof, rng)


def _build_work(inputs: StackInputs, state: _State, network: _Network) -> _Work:
    clock, rng, options = inputs.clock, inputs.rng, inputs.options
    record_sender = RecordSender(network.rpc, inputs.bulk, clock)
    replicator = _build_replicator(inputs, state, network, record_sender)
    node = _build_node(inputs, state, network.rpc, record_sender, replicator)
    if replicator is not None:
        replicator.compare = node.compare
    join = Join(
        node=node,
        rpc=network.rpc,
        resolve=inputs.resolve,
        clock=clock,
        rng=rng,
        seeds=options.seeds,
        saved=inputs.saved,
        retries=options.retries,
    )
    hand_over = None
    if state.store is not None and replicator is not None:
        hand_over = HandOver(state.neighbourhood, state.store, replicator, clock)
    keeper = _build_keeper(inputs, state, node, join)
    return _Work(node=node, join=join, replicator=replicator, hand_over=hand_over, keeper=keeper)


def _build_node(
    inputs: StackInputs,
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
    holders = Holders(lookups, state.store, state.resync_state, state.republish_times)
    versions = VersionChoice(lookups, state.store, state.time)
    writer = RecordWriter(lookups, inputs.options.policy, reader, holders, versions)
    watches = Watches(
        WatchAccess(
            lookups=lookups,
            rpc=rpc,
            read=lambda key: reader.get(key, False, OPERATION_TIMEOUT),
            store=state.store,
            clock=inputs.clock,
            rng=inputs.rng,
        )
    )
    if state.store is not None:
        state.store.observers.append(watches.record_held)
    return Node(lookups=lookups, reader=reader, writer=writer, watches=watches)


def _build_replicator(
    inputs: StackInputs, state: _State, network: _Network, record_sender: RecordSender
) -> Replicator | None:
    if state.store is None:
        return None
    send_copy, clock = record_sender.send_copy, inputs.clock
    return Replicator(state.table, state.store, network.rpc, send_copy, inputs.bulk, clock, state.time)


def _build_keeper(inputs: StackInputs, state: _State, node: Node, join: Join) -> Keeper | None:
    options = inputs.options
    if state.bare_store is None:
        return None
    return Keeper(
        node,
        state.bare_store.kept,
        options.policy,
        options.kept_limit,
        inputs.clock,
        lambda: bool(join.first_try.called),
    )


def _build_services(inputs: StackInputs, state: _State, network: _Network, work: _Work) -> Iterator[IService]:
    yield network.standstill
    yield work.join
    yield work.node.watches
    yield from _build_passes(inputs, state, network, work)
    if state.notifier is not None:
        yield state.notifier


def _build_passes(inputs: StackInputs, state: _State, network: _Network, work: _Work) -> Iterator[Periodic]:
    options, clock = inputs.options, inputs.clock
    passes = Passes(
        node=work.node,
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
    if state.store is not None and work.replicator is not None:
        yield from passes.of_records(
            state.store, work.replicator, state.republish_times, state.resync_state, work.join
        )
    if work.keeper is not None:
        yield passes.of_kept(work.keeper, options.policy.min_ttl)
