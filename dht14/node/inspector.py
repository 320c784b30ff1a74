"""Looks into the network for an operator: traces of gets, who holds a key, and lookups as they happen."""

from collections.abc import Callable
from copy import copy

from attrs import define, frozen
from twisted.internet.defer import Deferred, gatherResults

from dht14.errors import CallFailed
from dht14.kademlia.contact import Contact
from dht14.kademlia.parameters import OPERATION_TIMEOUT, K
from dht14.node.fetch import advertised_in, record_in
from dht14.node.get import RecordReader
from dht14.node.lookups import Lookups
from dht14.node.ports import Bulk, Rpc
from dht14.node.trace import CallOutcome, TracedCall, TracingRpc
from dht14.records.receipt import NoRecord
from dht14.records.record import Kind, Record
from dht14.records.store import Refusal
from dht14.wire.messages import FindValue, LargeValue, Nodes, Refused, Reply, Value

LOCATE_TIMEOUT = 2.0
"""Seconds that a node near the key has to say what it holds."""


@frozen(kw_only=True)
class GetTrace:
    """A get, call by call."""

    found: Record | NoRecord
    began_at: float
    ended_at: float
    """Seconds, as the times of the calls."""
    calls: list[TracedCall]


@frozen(kw_only=True)
class HolderReport:
    """What a node near a key says about it."""

    contact: Contact
    outcome: CallOutcome
    seconds: float
    version: int | None = None
    length: int | None = None
    """Bytes of the value."""
    ttl: float | None = None
    """Seconds that the record has left."""
    kind: str | None = None
    """`open`, `content` or `owner`; of a large value, what the holder says of it."""


@define(eq=False)
class Inspector:
    """The inspections of one node."""

    _lookups: Lookups
    _rpc: Rpc
    _make_reader: Callable[[Lookups, Callable[[Bulk], Bulk]], RecordReader]
    """As `RecordReader.over`."""

    async def trace(self, key: int, timeout: float = OPERATION_TIMEOUT) -> GetTrace:
        """Get the record under a key, and write down every call."""
        clock = self._lookups.clock
        tracing = TracingRpc(self._rpc, clock.seconds)
        reader = self._make_reader(self._lookups.over(tracing), tracing.over_bulk)
        began_at = clock.seconds()
        found = await reader.get(key, False, timeout)
        # Answers that come later change the calls of the trace: the operator gets them as they are now.
        calls = [copy(call) for call in tracing.calls]
        return GetTrace(found=found, began_at=began_at, ended_at=clock.seconds(), calls=calls)

    async def locate(self, key: int) -> list[HolderReport]:
        """Find the k nodes nearest to a key, and ask each what it holds under it; nearest first."""
        lookup = await self._lookups.find_nodes(key)
        asked = [self._ask(contact, key) for contact in lookup.nearest()[:K]]
        reports: list[HolderReport] = await gatherResults(asked)
        return reports

    def _ask(self, contact: Contact, key: int) -> "Deferred[HolderReport]":
        clock = self._lookups.clock
        began_at = clock.seconds()
        asked = self._rpc.ask(contact, FindValue(key))
        asked.addTimeout(LOCATE_TIMEOUT, clock, onTimeoutCancel=_no_answer)
        return asked.addCallbacks(
            lambda reply: _report(contact, key, reply, clock.seconds() - began_at),
            lambda failure: _failed(contact, failure, clock.seconds() - began_at),
        )


def _no_answer(result: object, timeout: float) -> object:
    raise CallFailed


def _failed(contact: Contact, failure: object, seconds: float) -> HolderReport:
    return HolderReport(contact=contact, outcome=CallOutcome.FAILED, seconds=seconds)


def _report(contact: Contact, key: int, reply: Reply, seconds: float) -> HolderReport:
    if isinstance(reply, Value | LargeValue):
        if isinstance(reply, Value):
            length, kind = len(reply.value), record_in(reply, key, 0.0).kind
        else:
            length, kind = reply.length, Kind(advertised_in(reply, key, 0.0).rank[0])
        return HolderReport(
            contact=contact,
            outcome=CallOutcome.HOLDS,
            seconds=seconds,
            version=reply.version,
            length=length,
            ttl=reply.ttl_ms / 1000,
            kind=kind.name.lower(),
        )
    return HolderReport(contact=contact, outcome=_outcome_of(reply), seconds=seconds)


def _outcome_of(reply: Reply) -> CallOutcome:
    if isinstance(reply, Refused):
        return CallOutcome.ROUTES if reply.reason is Refusal.NO_VALUES else CallOutcome.REFUSED
    is_router = isinstance(reply, Nodes) and not reply.holds_values
    return CallOutcome.ROUTES if is_router else CallOutcome.NOTHING
