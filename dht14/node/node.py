"""One node's view of the whole: put, get, and the nodes nearest to an id."""

from collections import Counter
from collections.abc import Iterable

from attrs import define
from twisted.internet.defer import Deferred

from dht14.kademlia.contact import Contact
from dht14.kademlia.eclipse import EclipseDetector
from dht14.kademlia.lookup import Lookup
from dht14.kademlia.parameters import OPERATION_TIMEOUT, K
from dht14.kademlia.routing_table import RoutingTable
from dht14.node.get import RecordReader
from dht14.node.lookups import Lookups
from dht14.node.metrics import PutMetrics
from dht14.node.put import RecordWriter
from dht14.records.receipt import NoRecord, Receipt
from dht14.records.record import Record


@define(eq=False)
class Node:
    """A key-value store, reached through any node: the facade over `lookups`, `get` and `put`.

    A node without a store holds no values; it can look up all the same.
    """

    _lookups: Lookups
    _reader: RecordReader
    _writer: RecordWriter

    @property
    def table(self) -> RoutingTable:
        """The contacts of this node."""
        return self._lookups.table

    @property
    def own_id(self) -> int:
        """The id of this node."""
        return self.table.own_id

    @property
    def alarm(self) -> EclipseDetector:
        """The keys that need a wider search."""
        return self._lookups.alarm

    @property
    def hops(self) -> Counter[int]:
        """How many lookups took how many hops."""
        return self._lookups.hops

    @property
    def put_metrics(self) -> PutMetrics:
        """The numbers of PUTs by outcome."""
        return self._writer.metrics

    def find_nodes(
        self, target: int, known: Iterable[Contact] = (), width: int = K, timeout: float = OPERATION_TIMEOUT
    ) -> "Deferred[Lookup]":
        """As `Lookups.find_nodes`."""
        return self._lookups.find_nodes(target, known, width, timeout)

    def get(
        self, key: int, content: bool = False, timeout: float = OPERATION_TIMEOUT
    ) -> "Deferred[Record | NoRecord]":
        """The newest record under `key`, or why there is none, within `timeout` seconds.

        With `content` only a value whose SHA-256 is the key counts.
        """
        return Deferred.fromCoroutine(self._reader.get(key, content, timeout))

    def put(
        self, key: int, value: bytes, ttl: int, replication: int, timeout: float = OPERATION_TIMEOUT
    ) -> "Deferred[Receipt]":
        """Store a value at the nodes nearest to its key, within `timeout` seconds; fires with what became of it.

        `ttl` (seconds) and `replication` are wishes, brought within the policy's bounds; 0 is the default.
        """
        return Deferred.fromCoroutine(self._writer.put(key, value, ttl, replication, timeout))
