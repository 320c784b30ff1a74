"""The metrics of one node, from all its components: the snapshot that `Stack.metrics` takes."""

from collections import Counter

from attrs import define

from dht14.database.metrics import CommitMetrics
from dht14.maintenance.metrics import CopyMetrics, KeptMetrics, PassMetrics
from dht14.metrics import Family, MetricKind, Sample, counter, gauge, group, samples
from dht14.net.api.metrics import ApiMetrics
from dht14.net.bulk.metrics import BulkClientMetrics, BulkServerMetrics
from dht14.net.rpc.metrics import ProbeMetrics, RpcMetrics, StandstillMetrics
from dht14.node.metrics import PutMetrics, WatchMetrics
from dht14.records.store import LocalStore
from dht14.session.metrics import SessionMetrics

HOPS = Family(
    "dht14_lookup_hops",
    "Hops of the lookups that have ended.",
    MetricKind.HISTOGRAM,
    (0, 1, 2, 3, 4, 5, 6, 8, 10, 15),
)


@define(kw_only=True)
class StoreMetrics:
    """The record store; a bootstrap node has none."""

    records: int = gauge("dht14_records", "Records held, including expired ones that were not yet dropped.")
    used: int = gauge("dht14_store_used_bytes", "Bytes of the record store that are in use.")
    limit: int = gauge("dht14_store_limit_bytes", "Bytes that the record store may use.")
    largest_share: int = gauge(
        "dht14_store_largest_share_bytes", "Bytes of the writer, or the subnet of writers, that holds most."
    )

    @classmethod
    def of(cls, store: LocalStore | None) -> "StoreMetrics | None":
        """Read the numbers of a store."""
        if store is None:
            return None
        space = store.space()
        return cls(records=len(store), used=space.used, limit=space.limit, largest_share=space.largest_share)


@define(kw_only=True)
class NodeMetrics:
    """All numbers of one node at one moment."""

    contacts: int = gauge("dht14_contacts", "Contacts in the routing table.")
    sessions: int = gauge("dht14_sessions", "Encrypted sessions.")
    hops: Counter[int] = HOPS.exact()
    eclipses: int = counter(
        "dht14_eclipses_detected_total", "Times that the eclipse detector began to suspect a key."
    )
    puts: PutMetrics
    watches: WatchMetrics
    rpc: RpcMetrics
    probe: ProbeMetrics
    standstill: StandstillMetrics
    passes: dict[str, PassMetrics] = group("pass")
    """By the name of the pass."""
    session: SessionMetrics | None
    """None where datagrams are not encrypted."""
    store: StoreMetrics | None
    kept: KeptMetrics | None
    commits: CommitMetrics | None
    """None where records are not on disk."""
    copies: CopyMetrics | None
    bulk_client: BulkClientMetrics | None
    bulk_server: BulkServerMetrics | None
    api: ApiMetrics | None

    def samples(self) -> list[Sample]:
        """List all values under their Prometheus names."""
        return samples(self)
