"""What the admin surface shows of a node: the shapes of its JSON, and the port through which it asks.

`openapi.json` describes the same shapes for clients. Times are seconds, sizes are bytes, ids and keys are 64
hex digits.
"""

import json
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Protocol, TypedDict

from dht14.records.kept import KeepRefusal, KeptBy
from dht14.records.receipt import NoRecord, Receipt
from dht14.records.record import Record

if TYPE_CHECKING:
    # The commands that look into a node know these shapes, too, and start without Twisted.
    from dht14.net.api.states import KeyStates


class ReadinessJson(TypedDict):
    """Whether the node can answer requests, and what it waits for if not."""

    ready: bool
    reasons: list[str]


class StorageJson(TypedDict):
    """The record store of a node."""

    records: int
    used: int
    limit: int
    largest_share: int
    """Of the writer, or the subnet of writers, that holds most."""
    trouble: str | None
    """What is wrong with the disk."""


class KeptJson(TypedDict):
    """The list of the values that this node renews for its clients."""

    values: int
    """Those that it renews."""
    stopped: int
    """Those that others replaced, or their owners deleted: they are only listed."""
    failing: int
    """Those whose last renewal failed."""
    used: int
    limit: int
    overdue: float
    """Seconds for which the longest overdue value waits for its renewal."""


class WatchesJson(TypedDict):
    """Who is told of changes by a node."""

    clients: int
    """Watches of its clients."""
    keys: int
    """Keys that it watches for them."""
    leases: int
    """Those that it gave to other nodes."""


class StatusJson(TypedDict):
    """One node at a glance."""

    version: str
    node_id: str | None
    """None while the node searches for its proof of work."""
    network: str
    role: str
    phase: str
    ready: bool
    reasons: list[str]
    joined: bool
    cut_off: bool
    """Whether most calls to contacts fail, so that rather this node is cut off."""
    uptime: float
    p2p_address: str
    api_address: str | None
    contacts: int
    network_size: int | None
    """Estimated from the distances of the neighbours; None while there are too few."""
    storage: StorageJson | None
    """None in a bootstrap node, and before the store exists."""
    kept: KeptJson | None
    """None like `storage`."""
    watches: WatchesJson
    advice: str
    """What is wrong and what to do about it; or that all is well."""


class PeerJson(TypedDict):
    """One contact of the routing table."""

    node_id: str
    host: str
    port: int
    shared_bits: int
    """Leading bits that its id shares with the id of this node."""
    rtt: float
    last_seen: float
    """Seconds ago."""
    failures: int
    """Calls that failed since it last answered."""
    holds_values: bool


class BucketJson(TypedDict):
    """One k-bucket."""

    depth: int
    """Leading bits that its ids share with the id of this node."""
    capacity: int
    contacts: list[PeerJson]
    replacements: int
    last_lookup: float | None
    """Seconds ago; None if there was none."""


class RecordJson(TypedDict):
    """A record that this node holds, without its value."""

    key: str
    kind: str
    version: int
    bytes: int
    replication: int
    expires_in: float
    cached: bool
    deleted: bool


class RecordsJson(TypedDict):
    """A page of records, and the cursor of the next one; None at the end."""

    records: list[RecordJson]
    next: str | None


class HolderJson(TypedDict):
    """What one node near a key says about it."""

    node_id: str
    host: str
    port: int
    this_node: bool
    """Whether it is the node that was asked to find out."""
    outcome: str
    """`holds`, `holds nothing`, `stores no values` (a bootstrap node), `refused` or `no answer`."""
    version: int | None
    kind: str | None
    bytes: int | None
    expires_in: float | None
    seconds: float
    """Until its answer."""


class NetworkNodeJson(TypedDict):
    """One node that a walk found."""

    node_id: str
    host: str
    port: int
    reachable: bool
    rtt: float | None
    """The round trip; None if it did not answer."""
    version: str | None
    """Software and version, as the node says; None if it did not answer."""
    holds_values: bool | None
    contacts_named: int
    """In its answer."""


class WalkEndJson(TypedDict):
    """What a walk found in all."""

    nodes: int
    """That were asked."""
    reachable: int
    unasked: int
    """Nodes that were named and not asked: the walk was at its limit."""
    left_out: int
    """Nodes that were not asked because there were too many of their subnet."""
    seconds: float


class StepJson(TypedDict):
    """One call of a traced get."""

    node_id: str
    host: str
    port: int
    request: str
    """The kind of the message; `Fetch` for a large value."""
    distance_bits: int
    """The length of the distance to the key in bits: 256 for the far half of all ids."""
    hop: int
    named_by: str | None
    """The node that named this one; None for a contact of the own table."""
    sent_at: float
    """Seconds since the get began."""
    ended_at: float | None
    """None if the get ended first."""
    outcome: str
    contacts_named: int


class TraceJson(TypedDict):
    """A get, call by call."""

    key: str
    outcome: str
    seconds: float
    hops: int
    steps: list[StepJson]
    value_bytes: int | None
    version: int | None


class KeptValueJson(TypedDict):
    """A value that this node keeps, without its bytes."""

    key: str
    kind: str
    version: int
    bytes: int
    ttl: int
    """Seconds for which it lives after a renewal."""
    replication: int
    state: str
    """`renewed`, or why it is not renewed any more: `replaced`, `deleted`."""
    failure: str | None
    """Why the last renewal failed."""
    failing_for: float | None
    kept_for: float
    """Seconds since it came on the list."""
    renewed: float
    """Seconds ago."""
    due_in: float
    """Seconds until the next renewal; negative if it is overdue."""
    expires_in: float
    """Seconds until it expires at its holders unless it is renewed."""
    by: list[str]
    """What keeps it: `key`, its own key; `file`, one with this address; `part`, one that has it as a part."""


class KeptPageJson(TypedDict):
    """A page of kept values, and the cursor of the next one; None at the end."""

    values: list[KeptValueJson]
    next: str | None
    used: int
    """Bytes of the whole list."""
    limit: int


class UnkeptFileJson(TypedDict):
    """A file that is let go, and the numbers of its records."""

    key: str
    ended: int
    """Those that are not renewed any more."""
    shared: int
    """Those that other kept files have, too."""
    by_key: int
    """Those that are kept by their own keys as well."""
    complete: bool
    """Whether this is all; otherwise more of them end soon."""


class KeepingView(Protocol):
    """The list of kept values, as the admin surface asks for it. It fails with `NotStarted` as `NodeView`."""

    def page(self, after: str, limit: int) -> KeptPageJson:
        """Return a page of the list. Raises `ValueError` for what is no cursor."""

    async def keep(
        self, key: int, value: bytes, version: int | None, ttl: int, replication: int, by: KeptBy
    ) -> KeptValueJson | KeepRefusal | NoRecord:
        """Keep a value that was just put, with the version of its receipt; without a value, what is found
        under the key."""

    async def unkeep(self, key: int, by: KeptBy) -> KeptBy | KeepRefusal | None:
        """Let go of what keeps a value. Return what still does, None if it was not kept in this way."""

    async def unkeep_file(self, key: int) -> UnkeptFileJson | KeepRefusal | None:
        """Let go of the file with this address; None: no file is kept under it."""


class NodeView(Protocol):
    """What the admin surface asks of the node. It is there from the first moment on, in every phase.

    What needs a node that has its id fails with `NotStarted` before.
    """

    @property
    def keeping(self) -> KeepingView:
        """The list of kept values."""

    def readiness(self) -> ReadinessJson:
        """Return whether the node is ready; it takes no time and changes nothing."""

    def status(self) -> StatusJson:
        """Return the node at a glance."""

    def peers(self) -> list[PeerJson]:
        """Return all contacts, nearest first."""

    def table(self) -> list[BucketJson]:
        """Return the k-buckets, the farthest range first."""

    def records(self, after: str, limit: int) -> RecordsJson:
        """Return a page of the records held here. Raises `ValueError` for what is no cursor."""

    async def put(self, key: int, value: bytes, ttl: int, replication: int) -> Receipt:
        """Store a value as the API does."""

    async def get(self, key: int, content: bool) -> Record | NoRecord:
        """Find a record as the API does."""

    async def locate(self, key: int) -> list[HolderJson]:
        """Ask the nodes nearest to a key what they hold under it; this node is listed if it holds it."""

    def walk(self, limit: int) -> AsyncGenerator[bytes, None]:
        """Ask the nodes of the network, at most `limit` of them, and yield server-sent events: `node` with a
        `NetworkNodeJson` for each, at last `end` with a `WalkEndJson`."""

    async def trace(self, key: int) -> TraceJson:
        """Get a value and write down every call."""

    def watch(self, key: int) -> "KeyStates":
        """Return the states of a key, from now on."""

    def events(self) -> AsyncGenerator[bytes, None]:
        """Yield what happens, one or more server-sent events at once, until the iterator is closed."""


class NotStarted(Exception):
    """The node has no id yet: it searches for its proof of work, or could not start."""


def event(kind: str, content: object) -> bytes:
    """Return one server-sent event."""
    return f"event: {kind}\ndata: {json.dumps(content)}\n\n".encode()
