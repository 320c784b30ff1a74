"""One node as its callers see it: put, get, and the nodes nearest to an id."""

from collections import Counter
from collections.abc import Callable, Iterable

from attrs import define
from twisted.internet.defer import Deferred, succeed

from dht14.kademlia.contact import Contact
from dht14.kademlia.eclipse import EclipseDetector
from dht14.kademlia.lookup import Lookup
from dht14.kademlia.neighbourhood import Neighbourhood
from dht14.kademlia.parameters import OPERATION_TIMEOUT, K
from dht14.kademlia.routing_table import RoutingTable
from dht14.node.get import Comparison, RecordReader
from dht14.node.inspector import Inspector
from dht14.node.lookups import Lookups
from dht14.node.metrics import PutMetrics
from dht14.node.ports import KeyWatch, Rpc
from dht14.node.put import OnStored, RecordWriter
from dht14.node.renew import RecordRenewer
from dht14.node.watched_key import OnChange
from dht14.node.watches import Watches
from dht14.records.receipt import NoRecord, Receipt
from dht14.records.record import Record


@define(eq=False, kw_only=True)
class Node:
    """The key-value store that all nodes form: the facade over `lookups`, `get` and `put`.

    A node without a store of its own holds no values, but can look up, get and put.
    """

    _lookups: Lookups
    _reader: RecordReader
    _writer: RecordWriter
    watches: Watches
    """The keys that the clients of this node watch."""

    @property
    def table(self) -> RoutingTable:
        """The contacts of this node."""
        return self._lookups.table

    @property
    def neighbourhood(self) -> Neighbourhood:
        """Who is responsible for a key."""
        return self._lookups.neighbourhood

    @property
    def own_id(self) -> int:
        """The id of this node."""
        return self.table.own_id

    @property
    def eclipse_detector(self) -> EclipseDetector:
        """The keys that need a wider search."""
        return self._lookups.eclipse_detector

    @property
    def lookups_by_hops(self) -> Counter[int]:
        """Finished lookups by their number of hops."""
        return self._lookups.lookups_by_hops

    @property
    def put_metrics(self) -> PutMetrics:
        """The numbers of PUTs by outcome."""
        return self._writer.metrics

    @property
    def lookups(self) -> Lookups:
        """The lookups of this node."""
        return self._lookups

    def call_for_missed(self, on_missed: Callable[[Record, Contact], None]) -> None:
        """Call `on_missed` with each record that is stored, and each contact that should hold it and did not
        answer."""
        self._writer.holders.on_missed = on_missed

    def call_for_stored(self, on_stored: OnStored) -> None:
        """Call `on_stored` with each record that a client has put, and that is stored."""
        self._writer.on_stored = on_stored

    def renewer(self) -> RecordRenewer:
        """Return what renews records of others, or of this node, without changing them."""
        return RecordRenewer(self._lookups.clock, self._reader, self._writer.holders)

    def compare(self, record: Record) -> "Deferred[Comparison]":
        """Compare a record with what the nodes near its key have."""
        return Deferred.fromCoroutine(self._reader.compare(record, (), OPERATION_TIMEOUT))

    def inspector(self, rpc: Rpc) -> Inspector:
        """Return the inspector of this node, which makes its calls through `rpc`."""
        return Inspector(self._lookups, rpc, self._reader.over)

    def find_nodes(
        self, target: int, known: Iterable[Contact] = (), width: int = K, timeout: float = OPERATION_TIMEOUT
    ) -> "Deferred[Lookup]":
        """As `Lookups.find_nodes`."""
        return self._lookups.find_nodes(target, known, width, timeout)

    def get(
        self, key: int, content: bool = False, timeout: float = OPERATION_TIMEOUT
    ) -> "Deferred[Record | NoRecord]":
        """Return the newest record under `key`, or why there is none, within `timeout` seconds.

        With `content` only a value whose SHA-256 is the key counts.
        """
        return self._reader.get(key, content, timeout)

    def put(
        self, key: int, value: bytes, ttl: int, replication: int, timeout: float = OPERATION_TIMEOUT
    ) -> "Deferred[Receipt]":
        """Store a value at the nodes nearest to its key within `timeout` seconds; fires with the receipt.

        The policy bounds `ttl` (seconds) and `replication`; 0 asks for its default.
        """
        return Deferred.fromCoroutine(self._writer.put(key, value, ttl, replication, timeout))

    def watch(self, key: int, on_change: OnChange) -> "Deferred[KeyWatch | NoRecord]":
        """Fires with a watch of the key that begins with its `present`, or with the reason why there
        is none. `on_change` is called with each state that its client does not know."""
        begun = self.watches.watch(key, on_change)
        return succeed(NoRecord.TOO_MANY_WATCHES if begun is None else begun)
