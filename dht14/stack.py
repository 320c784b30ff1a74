"""Builds the objects of one node, once, in order: the same for the real network and the simulated one.

table and store -> responder -> rpc -> courier -> node -> join and the passes of upkeep. Nothing is opened here:
who composes gives `rpc` and `probe` a transport each and starts the services.
"""

import random
from collections.abc import Callable, Iterable

from attrs import field, frozen
from twisted.application.service import IService
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime

from dht14.kademlia.contact import Address, Contact, Seed
from dht14.kademlia.parameters import LIVENESS_INTERVAL, REPUBLISH_INTERVAL
from dht14.kademlia.routing_table import RoutingTable
from dht14.maintenance.announcer import ANNOUNCE_INTERVAL, Announcer
from dht14.maintenance.handover import HandOver
from dht14.maintenance.liveness import Liveness, refresh
from dht14.maintenance.periodic import Periodic
from dht14.maintenance.read_repair import ReadRepair
from dht14.maintenance.repair import REPAIR_INTERVAL, Repair
from dht14.maintenance.replicator import Replicator
from dht14.maintenance.republish import REPUBLISH_LOOK, Republish
from dht14.maintenance.resync import RESYNC_LOOK, Resyncing
from dht14.net.rpc.pacing import Pacing
from dht14.net.rpc.probe import ProbeProtocol
from dht14.net.rpc.protocol import RpcProtocol
from dht14.net.rpc.pulse import Pulse
from dht14.net.rpc.standing import PeerPriorities
from dht14.node.freshness import Freshness
from dht14.node.get import RecordReader
from dht14.node.join import Join, Retries
from dht14.node.lookups import Lookups
from dht14.node.network_time import NetworkTime
from dht14.node.node import Node
from dht14.node.ports import Bulk, Resolver
from dht14.node.put import Policy, RecordWriter
from dht14.node.record_sender import RecordSender
from dht14.node.republish_times import RepublishTimes
from dht14.node.responder import Responder
from dht14.node.transfers import Transfer
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

MakeStore = Callable[[int, int, Callable[[Record], bool], float, float], LocalStore]
"""Makes a store of the node's id, its limit in bytes, whether the node answers for a record, how many seconds a
record lives at most, and how many times the free bytes a writer may hold."""

MakeResponder = Callable[
    [RoutingTable, LocalStore | None, float, Tickets[Transfer], NetworkTime, RepublishTimes, Freshness],
    Responder,
]
"""Makes what answers other nodes, of the same as `Responder`. The simulator has some that lie."""


@frozen
class StackOptions:
    """What may differ between nodes. Times in seconds, sizes in bytes."""

    policy: Policy = field(factory=Policy)
    storage_limit: int | None = 1 << 30
    """None: a bootstrap node, which holds no values."""
    writer_share: float = 1.0
    """How many times the bytes that are free another node, or a subnet of them, may hold."""
    cleanup_interval: float = 86_400.0
    refresh_interval: float = 900.0
    republish_interval: float = REPUBLISH_INTERVAL
    seeds: tuple[Seed, ...] = ()
    retries: Retries = field(factory=Retries)
    advertised: Address | None = None
    """Where others reach the node, host name or address, if that is not where its datagrams come from."""
    sealed: bool = True
    """Whether datagrams are sealed. In the clear only where nobody else can send or listen."""
    limits: Limits = field(factory=Limits)


TIDY_INTERVAL = 60.0
"""Seconds between two looks at which sessions are over."""


@frozen
class Stack:
    """The objects of one node that others need to reach."""

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
    """None in a node that holds no values."""
    services: tuple[IService, ...]
    """Join and the passes of upkeep, to be started when `rpc` and `probe` have their transports."""

    def leave(self, seconds: float) -> "Deferred[None]":
        """Take no more records, and hand over those that are held, as far as that can be done in time."""
        self.responder.store_no_more()
        return self.hand_over.run(seconds) if self.hand_over is not None else succeed(None)


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
    """The stack of one node. `saved` are contacts of an earlier run; `verify_proof` tells node ids.

    `clock` times everything, the lives of values included, and nobody sets it. `wall` is the time of day, seconds
    since 1970: it dates what other nodes judge, versions and pre-keys, and nothing else.
    """
    node_id = identity.node_id
    table = RoutingTable(node_id, any_subnet if options.limits.diversity_private else public_subnet)
    store = _store(make_store, table, options)
    diary, freshness, time = (
        RepublishTimes(),
        Freshness(is_current=store is None),
        NetworkTime(clock.seconds, wall),
    )
    responder = make_responder(table, store, options.policy.max_ttl, Tickets(rng), time, diary, freshness)
    limiter = HelloLimiter()
    layer, reachability = _session_layer(identity, verify_proof, clock, wall, rng, options, table, limiter)
    probe = ProbeProtocol(clock, reachability, table, limiter, options.limits.parties_of)
    pulse, pacing = Pulse(clock), Pacing(options.limits.peer_rate, options.limits.peer_burst)
    rpc = RpcProtocol(clock, rng, layer, verify_proof, table, responder, probe, time, pulse, pacing)
    courier = RecordSender(rpc, bulk, clock)
    copies: Replicator | None = None
    if store is not None:
        copies = Replicator(table, store, rpc, courier.send_copy, bulk, clock, time)
    read_repair = ReadRepair(table, rpc, copies, clock) if copies is not None else None
    lookups = Lookups(table, courier, clock)
    reader = RecordReader(lookups, store, bulk, time, freshness, read_repair)
    writer = RecordWriter(lookups, store, time, freshness, options.policy, diary, reader)
    node = Node(lookups, reader, writer)
    join = Join(node, rpc, resolve, clock, rng, options.seeds, saved, options.retries)
    liveness = Liveness(table, rpc, clock, options.republish_interval)
    services: list[IService] = [
        pulse,
        join,
        *_contact_services(node, layer, liveness, clock, rng, options),
    ]
    if options.advertised is not None:
        announcer = Announcer(options.advertised, table, rpc, resolve, clock)
        services.append(Periodic("announce", ANNOUNCE_INTERVAL, announcer.announce, clock, rng))
    hand_over: HandOver | None = None
    if store is not None and copies is not None:
        hand_over = HandOver(table, store, copies, clock)
        republish = Republish(node, store, copies, diary, clock, rng, liveness.repair_interval)
        repair = Repair(table, store, copies, diary, rpc, clock, freshness)
        services += _record_services(store, republish, repair, clock, rng, options)
        resyncing = Resyncing(freshness, table, rpc, clock, lambda: bool(join.first_try.called))
        join.first_try.addCallback(lambda _: resyncing.one_pass())
        answering = Periodic("resync of others", REPAIR_INTERVAL, repair.serve_askers, clock, rng)
        freshness.when_asked = answering.run_now
        services += [Periodic("resync", RESYNC_LOOK, resyncing.one_pass, clock, rng), answering]
    return Stack(table, store, responder, layer, rpc, probe, node, join, hand_over, tuple(services))


def _store(make_store: MakeStore, table: RoutingTable, options: StackOptions) -> LocalStore | None:
    """Where values are held; None in a bootstrap node."""
    if options.storage_limit is None:
        return None
    return make_store(
        table.own_id,
        options.storage_limit,
        lambda record: table.is_near(record.key, record.replication),
        options.policy.max_ttl,
        options.writer_share,
    )


def _contact_services(
    node: Node,
    session_layer: SessionLayer,
    liveness: Liveness,
    clock: IReactorTime,
    rng: random.Random,
    options: StackOptions,
) -> list[IService]:
    """The passes of every node."""
    interval = options.refresh_interval
    return [
        Periodic("liveness", LIVENESS_INTERVAL, liveness.one_pass, clock, rng),
        Periodic("refresh", interval, lambda: refresh(node, clock, rng, interval), clock, rng),
        Periodic("sessions", TIDY_INTERVAL, lambda: session_layer.tidy(clock.seconds()), clock, rng),
    ]


def _record_services(
    store: LocalStore,
    republish: Republish,
    repair: Repair,
    clock: IReactorTime,
    rng: random.Random,
    options: StackOptions,
) -> list[IService]:
    """The passes of a node that holds records."""
    look = min(REPUBLISH_LOOK, options.republish_interval / 4)
    return [
        Periodic("expiry", options.cleanup_interval, lambda: store.expire(clock.seconds()), clock, rng),
        Periodic("republish", look, republish.one_pass, clock, rng),
        Periodic("repair", REPAIR_INTERVAL, repair.one_pass, clock, rng),
    ]


def _session_layer(
    identity: Identity,
    verify_proof: VerifyProof,
    clock: IReactorTime,
    wall: Callable[[], float],
    rng: random.Random,
    options: StackOptions,
    table: RoutingTable,
    hello_limiter: HelloLimiter,
) -> tuple[SessionLayer, ReachabilityProbe]:
    limits = options.limits
    if options.sealed:
        time = PrekeyClock(wall)
        encrypted = EncryptedLayer(
            identity,
            verify_proof,
            rng,
            limits,
            table.holds,
            PeerPriorities(table, hello_limiter).of,
            hello_limiter,
            clock.seconds(),
            time,
        )
        return encrypted, HelloProbe(verify_proof, rng, time)
    plaintext = PlaintextLayer.of(identity.proof, verify_proof, limits.peer_rate, limits.peer_burst)
    return plaintext, PlaintextProbe(identity.proof, verify_proof, rng)
