"""The objects of one node, and what may differ between nodes. `stack_builder` builds them."""

from collections.abc import Callable
from copy import deepcopy
from typing import Protocol

from attrs import field, frozen
from twisted.application.service import IService
from twisted.internet.defer import Deferred, succeed

from dht14.database.database import Database
from dht14.kademlia.contact import Address, Seed
from dht14.kademlia.neighbourhood import Neighbourhood
from dht14.kademlia.parameters import REPUBLISH_INTERVAL
from dht14.kademlia.routing_table import RoutingTable
from dht14.maintenance.handover import HandOver
from dht14.maintenance.keep import Keeper
from dht14.maintenance.periodic import Periodic
from dht14.maintenance.replicator import Replicator
from dht14.net.api.metrics import ApiMetrics
from dht14.net.bulk.metrics import BulkClientMetrics, BulkServerMetrics
from dht14.net.rpc.probe import ProbeProtocol
from dht14.net.rpc.protocol import RpcProtocol
from dht14.net.rpc.standstill import StandstillDetector
from dht14.node.join import Join, Retries
from dht14.node.metrics import WatchMetrics
from dht14.node.network_clock import NetworkClock
from dht14.node.node import Node
from dht14.node.notifier import Notifier
from dht14.node.policy import Policy
from dht14.node.republish_times import RepublishTimes
from dht14.node.responder import Responder
from dht14.node.resync_state import ResyncState
from dht14.node.transfers import Transfer
from dht14.node_metrics import NodeMetrics, StoreMetrics
from dht14.records.record import Record
from dht14.records.store import LocalStore
from dht14.security.tickets import Tickets
from dht14.session.acceptor import Limits
from dht14.session.encrypted import EncryptedLayer
from dht14.session.layer import SessionLayer


@frozen(kw_only=True)
class StoreOptions:
    """What a node asks of its store."""

    own_id: int
    """The id of the node."""
    limit: int
    """Bytes of the store."""
    answers_for: Callable[[Record], bool]
    """Whether the node is one of the holders of a record."""
    max_ttl: float
    """The longest lifetime of a record, in seconds."""
    writer_share: float
    """The bytes that a writer may hold, as a multiple of the free ones."""


MakeStore = Callable[[StoreOptions], LocalStore]
"""Makes the store of a node."""


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
        notifier: Notifier | None,
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
    kept_limit: int = 64 << 20
    """The bytes that the list of kept values may have."""
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
    notifier: Notifier | None
    """None in a bootstrap node."""
    keeper: Keeper | None
    """None in a bootstrap node."""
    standstill: StandstillDetector
    services: tuple[IService, ...]
    """Join and the passes of maintenance, to be started when `rpc` and `probe` have their transports."""

    def leave(self, seconds: float) -> "Deferred[None]":
        """Accept no more records, and hand over the records of this node within `seconds`."""
        self.responder.stop_storing()
        return self.hand_over.run(seconds) if self.hand_over is not None else succeed(None)

    def stop_calls(self) -> None:
        """Let calls under way fail now, and every later one at once; leave no timer."""
        # What the failed calls end must know why they failed.
        self.node.lookups.stop()
        self.rpc.stop()
        self.probe.stop()

    def watch_metrics(self) -> WatchMetrics:
        """Return what is counted of watches. It goes on counting."""
        metrics = self.node.watches.metrics
        if self.notifier is not None:
            metrics.leases = self.notifier.leases
        return metrics

    def metrics(
        self,
        *,
        bulk_client: BulkClientMetrics | None = None,
        bulk_server: BulkServerMetrics | None = None,
        api: ApiMetrics | None = None,
        copied: bool = True,
    ) -> NodeMetrics:
        """Take a snapshot of all metrics of the node. The arguments are those of the parts that the stack
        does not own: the bulk channel and the API. Takes half a millisecond, and a tenth of it if the numbers
        are not `copied`: then they go on counting."""
        passes = {str(one.name): one.metrics for one in self.services if isinstance(one, Periodic)}
        layer = self.session_layer if isinstance(self.session_layer, EncryptedLayer) else None
        live = NodeMetrics(
            contacts=len(self.table),
            sessions=len(layer.sessions.by_cid) if layer is not None else 0,
            hops=self.node.lookups_by_hops,
            eclipses=self.node.eclipse_detector.detections,
            puts=self.node.put_metrics,
            watches=self.watch_metrics(),
            rpc=self.rpc.metrics,
            probe=self.probe.metrics,
            standstill=self.standstill.metrics,
            passes=passes,
            session=layer.metrics if layer is not None else None,
            store=StoreMetrics.of(self.store),
            kept=self.keeper.metrics if self.keeper is not None else None,
            commits=self.store.commit_metrics if isinstance(self.store, Database) else None,
            copies=self.replicator.metrics if self.replicator is not None else None,
            bulk_client=bulk_client,
            bulk_server=bulk_server,
            api=api,
        )
        return deepcopy(live) if copied else live
