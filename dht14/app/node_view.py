"""What the admin surface shows of a real node, gathered from its parts when it is asked."""

from collections.abc import AsyncGenerator, Callable

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from dht14 import __version__
from dht14.app.advice import advice, troubles_of
from dht14.app.disk_monitor import DiskMonitor
from dht14.app.kept_view import RealKeepingView, mark_of_page
from dht14.app.network_view import holders, walk
from dht14.app.node_events import EventFeed, step_json
from dht14.app.options import Settings
from dht14.app.start import StartPhase, StartProgress
from dht14.client.address import format_address
from dht14.kademlia.contact import Address
from dht14.kademlia.kbucket import Entry
from dht14.kademlia.keyspace import shared_prefix
from dht14.metrics import Sample, gauge, samples
from dht14.net.admin.view import (
    BucketJson,
    HolderJson,
    NotStarted,
    PeerJson,
    ReadinessJson,
    RecordJson,
    RecordsJson,
    StatusJson,
    StorageJson,
    TraceJson,
    WatchesJson,
)
from dht14.net.api.states import KeyStates
from dht14.node.inspector import GetTrace, Inspector
from dht14.node_metrics import NodeMetrics
from dht14.records.receipt import NoRecord, Receipt
from dht14.records.record import Record
from dht14.stack import Stack

_PENDING_STEPS = {
    "identity": "searching for the proof of work of the node id",
    "values": "opening the database",
    "join": "calling the seeds and saved contacts",
}


@define(kw_only=True)
class ProcessMetrics:
    """The state of the process around a node."""

    ready: int = gauge("dht14_ready", "1 while the node can answer requests.")
    cut_off: int = gauge("dht14_cut_off", "1 while hardly any contact answers.")
    disk_trouble: int = gauge(
        "dht14_disk_trouble", "1 while values cannot be written, or files not be opened."
    )
    database_set_aside: int = gauge(
        "dht14_database_set_aside", "1 if the database was damaged or missing when this process started."
    )


@define(eq=False, kw_only=True)
class RealNodeView:
    """The `NodeView` of a real node. `NodeService` gives it the stack as soon as there is one."""

    _settings: Settings
    _role: str
    _progress: StartProgress
    _disk: DiskMonitor
    _clock: IReactorTime
    _p2p_address: Address
    _api_address: Address | None
    """None in a bootstrap node."""
    _began_at: float = field(init=False)
    _stack: Stack | None = field(default=None, init=False)
    _metrics: Callable[[], NodeMetrics] | None = field(default=None, init=False)
    _feed: EventFeed = field(init=False)
    keeping: RealKeepingView = field(init=False)
    """As `NodeView`."""

    def __attrs_post_init__(self) -> None:
        self._began_at = self._clock.seconds()
        self._feed = EventFeed(self, self._clock)
        self.keeping = RealKeepingView(lambda: self._stack, self._progress.readiness, self._clock)

    def built(self, stack: Stack, metrics: Callable[[], NodeMetrics]) -> None:
        """The node has its stack."""
        self._stack, self._metrics = stack, metrics
        self._feed.built(stack.node.lookups)

    # State

    def readiness(self) -> ReadinessJson:
        """As `NodeView`."""
        reasons = []
        if self._progress.phase is StartPhase.FAILED:
            reasons.append("the node could not start")
        elif self._progress.phase is StartPhase.ENDING:
            reasons.append("the node is stopping")
        else:
            pending = sorted(step.value for step in self._progress.readiness.pending_steps)
            reasons += [_PENDING_STEPS[step] for step in pending]
        reasons += [trouble for trouble, _ in troubles_of(self._disk)]
        if self._is_cut_off():
            reasons.append("hardly any contact answers: this node is cut off")
        return {"ready": not reasons, "reasons": reasons}

    def _is_cut_off(self) -> bool:
        if self._stack is None:
            return False
        table = self._stack.table
        # In a network of few nodes too few calls fail to tell. But if all contacts are silent at once, more
        # than one of them, that is hardly their fault.
        return (len(table) > 0 and table.is_cut_off) or (len(table) > 1 and not table.has_live_contact())

    def status(self) -> StatusJson:
        """As `NodeView`."""
        readiness = self.readiness()
        stack = self._stack
        size = stack.node.neighbourhood.network_size() if stack is not None else None
        status = StatusJson(
            version=__version__,
            node_id=f"{stack.table.own_id:064x}" if stack is not None else None,
            network=self._settings.node.network,
            role=self._role,
            phase=self._progress.phase.name.lower(),
            ready=readiness["ready"],
            reasons=readiness["reasons"],
            joined=stack is not None and stack.table.has_live_contact(),
            cut_off=self._is_cut_off(),
            uptime=self._clock.seconds() - self._began_at,
            p2p_address=format_address(*self._p2p_address),
            api_address=format_address(*self._api_address) if self._api_address is not None else None,
            contacts=len(stack.table) if stack is not None else 0,
            network_size=round(size) if size is not None else None,
            storage=self._storage(),
            kept=self.keeping.status(),
            watches=self._watches(),
            advice="",
        )
        duplicate = stack.rpc.duplicates.address(self._clock.seconds()) if stack is not None else None
        status["advice"] = advice(status, self._progress.phase, self._disk, duplicate)
        return status

    def _storage(self) -> StorageJson | None:
        stack = self._stack
        if stack is None or stack.store is None:
            return None
        space = stack.store.space()
        trouble = next((trouble for trouble, _ in troubles_of(self._disk)), None)
        return StorageJson(
            records=len(stack.store),
            used=space.used,
            limit=space.limit,
            largest_share=space.largest_share,
            trouble=trouble,
        )

    def _watches(self) -> WatchesJson:
        if self._stack is None:
            return WatchesJson(clients=0, keys=0, leases=0)
        watches = self._stack.watch_metrics()
        return WatchesJson(clients=watches.subscriptions, keys=watches.watched, leases=watches.leases)

    # Contacts and records

    def peers(self) -> list[PeerJson]:
        """As `NodeView`."""
        table = self._running().table
        entries = sorted(table.entries(), key=lambda entry: entry.contact.node_id ^ table.own_id)
        return [self._peer(entry) for entry in entries]

    def _peer(self, entry: Entry) -> PeerJson:
        node_id = entry.contact.node_id
        return PeerJson(
            node_id=f"{node_id:064x}",
            host=entry.contact.address[0],
            port=entry.contact.address[1],
            shared_bits=shared_prefix(self._running().table.own_id, node_id),
            rtt=entry.rtt,
            last_seen=self._clock.seconds() - entry.last_seen,
            failures=entry.misses,
            holds_values=entry.holds_values,
        )

    def table(self) -> list[BucketJson]:
        """As `NodeView`."""
        now = self._clock.seconds()
        return [
            BucketJson(
                depth=depth,
                capacity=bucket.capacity,
                contacts=[self._peer(entry) for entry in bucket.entries.values()],
                replacements=len(bucket.replacements),
                last_lookup=now - bucket.last_lookup if bucket.last_lookup >= 0 else None,
            )
            for depth, bucket in enumerate(self._running().table.buckets())
        ]

    def records(self, after: str, limit: int) -> RecordsJson:
        """As `NodeView`. The page can have some records more than `limit`: the store has pages of its own."""
        store = self._running().store
        if store is None:
            return {"records": [], "next": None}
        mark: bytes | None = mark_of_page(after)
        found: list[RecordJson] = []
        while mark is not None and len(found) < limit:
            page = store.page(mark, self._clock.seconds())
            found += [self._record(record) for record in page.records]
            mark = page.mark
        return {"records": found, "next": mark.hex() if mark is not None else None}

    def _record(self, record: Record) -> RecordJson:
        return RecordJson(
            key=f"{record.key:064x}",
            kind=record.kind.name.lower(),
            version=record.version,
            bytes=len(record.value),
            replication=record.replication,
            expires_in=record.expires_at - self._clock.seconds(),
            cached=record.is_cached,
            deleted=record.is_tombstone,
        )

    # Metrics

    def metrics(self) -> NodeMetrics | None:
        """Return all metrics, to be read at once: they go on counting. None before there is a node."""
        return self._metrics() if self._metrics is not None else None

    def samples(self) -> list[Sample]:
        """List all metrics: those of the node, and those of the process around it."""
        metrics = self.metrics()
        process = ProcessMetrics(
            ready=int(self.readiness()["ready"]),
            cut_off=int(self._is_cut_off()),
            disk_trouble=int(bool(troubles_of(self._disk))),
            database_set_aside=int(self._disk.was_set_aside),
        )
        return (metrics.samples() if metrics is not None else []) + samples(process)

    # Values

    async def put(self, key: int, value: bytes, ttl: int, replication: int) -> Receipt:
        """As `NodeView`."""
        return await self._progress.readiness.put(key, value, ttl, replication)

    async def get(self, key: int, content: bool) -> Record | NoRecord:
        """As `NodeView`."""
        return await self._progress.readiness.get(key, content)

    def watch(self, key: int) -> KeyStates:
        """As `NodeView`."""
        return KeyStates(self._progress.readiness, key)

    async def locate(self, key: int) -> list[HolderJson]:
        """As `NodeView`."""
        stack = self._running()
        reports = await self._inspector().locate(key)
        now = self._clock.seconds()
        own = stack.store.get(key, now) if stack.store is not None else None
        return holders(reports, own, stack.table.own_id, self._p2p_address, now)

    def walk(self, limit: int) -> AsyncGenerator[bytes, None]:
        """As `NodeView`."""
        return walk(self._running(), self._clock, limit)

    async def trace(self, key: int) -> TraceJson:
        """As `NodeView`."""
        return _trace(key, await self._inspector().trace(key))

    def events(self) -> AsyncGenerator[bytes, None]:
        """As `NodeView`."""
        return self._feed.events()

    def _inspector(self) -> Inspector:
        stack = self._running()
        return stack.node.inspector(stack.rpc)

    def _running(self) -> Stack:
        if self._stack is None:
            raise NotStarted
        return self._stack


def _trace(key: int, trace: GetTrace) -> TraceJson:
    found = trace.found
    steps = [step_json(call, key, trace.began_at) for call in trace.calls]
    return TraceJson(
        key=f"{key:064x}",
        outcome="found" if isinstance(found, Record) else found.name.lower().replace("_", " "),
        seconds=trace.ended_at - trace.began_at,
        hops=max((step["hop"] for step in steps), default=0),
        steps=steps,
        value_bytes=len(found.value) if isinstance(found, Record) else None,
        version=found.version if isinstance(found, Record) else None,
    )
