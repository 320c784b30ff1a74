"""What happens in a node, for those who listen: its status, its contacts, and its lookups call by call.

Lookups are traced only while somebody listens, and of many only some. What is told is written once for all
listeners, and waits a moment for more: to send every call by itself took a busy node more time than to trace
it.
"""

from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping
from functools import partial
from typing import Protocol

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from dht14.metrics import Histogram
from dht14.net.admin.view import PeerJson, StatusJson, StepJson, event
from dht14.node.lookup_run import AnyLookup
from dht14.node.lookups import Lookups
from dht14.node.ports import Rpc
from dht14.node.timers import cancel_timer
from dht14.node.trace import CallOutcome, TracedCall, TracingRpc
from dht14.node_metrics import NodeMetrics
from dht14.records.store import ROUTINE_REFUSALS, Refusal
from dht14.session.metrics import SessionMetrics
from dht14.wire.messages import Request

TELL_DELAY = 0.2
"""Seconds for which a call or a lookup that has ended waits for others, to be told together. An eye hardly
notices."""

STATUS_INTERVAL = 1.0
"""Seconds between two status events."""

PEERS_EVERY = 2
"""Every how many status events there is one with all contacts."""

LOOKUPS_PER_SECOND = 3
"""Lookups that begin within one second and are traced. Nobody can follow more than these, and to trace a call
costs as much as a datagram: a busy node would become slow by being watched."""

MAX_PENDING_EVENTS = 1_000
"""Calls and lookups that wait for one listener. A new one replaces the oldest: a listener that reads too
slowly misses calls, not the state."""


class Source(Protocol):
    """Where the feed gets the state from."""

    def status(self) -> StatusJson:
        """Return the node at a glance."""

    def peers(self) -> list[PeerJson]:
        """Return all contacts."""

    def metrics(self) -> NodeMetrics | None:
        """Return all metrics, to be read at once."""


@define(eq=False)
class _Listener:
    """The events that wait for one listener."""

    state: dict[str, bytes] = field(factory=dict, init=False)
    """The newest status, and the newest contacts."""
    happened: deque[bytes] = field(factory=lambda: deque(maxlen=MAX_PENDING_EVENTS), init=False)
    _waiting: Deferred[None] | None = field(default=None, init=False)

    def take(self) -> bytes:
        """Return all that waits."""
        taken = b"".join([*self.state.values(), *self.happened])
        self.state.clear()
        self.happened.clear()
        return taken

    def wait(self) -> Deferred[None]:
        """Fire when it is time to take what waits."""
        self._waiting = Deferred()
        return self._waiting

    def wake(self) -> None:
        """It is time, if anything waits."""
        if self._waiting is not None and (self.state or self.happened):
            waiting, self._waiting = self._waiting, None
            if not waiting.called:
                waiting.callback(None)


@define(eq=False)
class EventFeed:
    """Feeds the listeners of one node. Also the `LookupObserver` of its lookups."""

    _source: Source
    _clock: IReactorTime
    _lookups: Lookups | None = field(default=None, init=False)
    _listeners: list[_Listener] = field(factory=list, init=False)
    _next_status: IDelayedCall | None = field(default=None, init=False)
    """None while nobody listens."""
    _statuses: int = field(default=0, init=False)
    _happened: list[Callable[[], bytes]] = field(factory=list, init=False)
    """What makes the events of calls and lookups that are not told yet."""
    _telling: IDelayedCall | None = field(default=None, init=False)
    """None while nothing has happened."""
    _traces: dict[AnyLookup, tuple[str, float, TracingRpc]] = field(factory=dict, init=False)
    _second_began_at: float = field(default=0.0, init=False)
    _begun: int = field(default=0, init=False)
    """Lookups traced since the second began."""

    def built(self, lookups: Lookups) -> None:
        """The node has its lookups."""
        self._lookups = lookups
        self._observe()

    def _observe(self) -> None:
        if self._lookups is not None:
            self._lookups.observer = self if self._listeners else None
            if not self._listeners:
                self._traces.clear()

    async def events(self) -> AsyncGenerator[bytes, None]:
        """Yield events, one or more at once, until the iterator is closed or cancelled."""
        listener = _Listener()
        self._listeners.append(listener)
        self._observe()
        try:
            if self._next_status is None:
                self._await_status()
            listener.state = self._state(with_peers=True)
            while True:
                yield listener.take()
                await listener.wait()
        finally:
            self._listeners.remove(listener)
            self._observe()
            if not self._listeners:
                self._stop()

    def _await_status(self) -> None:
        self._next_status = self._clock.callLater(STATUS_INTERVAL, self._tell_state)

    def _stop(self) -> None:
        cancel_timer(self._next_status)
        cancel_timer(self._telling)
        self._next_status = self._telling = None
        self._happened.clear()

    def _tell_state(self) -> None:
        self._await_status()
        self._statuses += 1
        state = self._state(with_peers=self._statuses % PEERS_EVERY == 0)
        for listener in self._listeners:
            listener.state.update(state)
        self._wake_all()

    def _state(self, with_peers: bool) -> dict[str, bytes]:
        """Return the events of the state, as far as there is one."""
        now, metrics = self._clock.seconds(), self._source.metrics()
        status = {"status": self._source.status(), "totals": totals(metrics), "at": now}
        state = {"status": event("status", status)}
        if with_peers and self._lookups is not None:
            state["peers"] = event("peers", {"peers": self._source.peers()})
        return state

    def _happens(self, make_event: Callable[[], bytes]) -> None:
        self._happened.append(make_event)
        if self._telling is None:
            self._telling = self._clock.callLater(TELL_DELAY, self._tell)

    def _tell(self) -> None:
        self._telling = None
        events = [make_event() for make_event in self._happened]
        self._happened.clear()
        for listener in self._listeners:
            listener.happened.extend(events)
        self._wake_all()

    def _wake_all(self) -> None:
        for listener in list(self._listeners):
            listener.wake()

    # as `LookupObserver`

    def lookup_began(self, lookup: AnyLookup, request: Request, rpc: Rpc) -> Rpc:
        """As `LookupObserver`."""
        began_at = self._clock.seconds()
        if not self._may_trace(began_at):
            return rpc
        tracing = TracingRpc(rpc, self._clock.seconds, partial(self._call_ended, lookup.target, began_at))
        self._traces[lookup] = type(request).__name__, began_at, tracing
        return tracing

    def _may_trace(self, now: float) -> bool:
        if now - self._second_began_at >= 1:
            self._second_began_at, self._begun = now, 0
        self._begun += 1
        return self._begun <= LOOKUPS_PER_SECOND

    def lookup_ended(self, lookup: AnyLookup) -> None:
        """As `LookupObserver`."""
        traced = self._traces.pop(lookup, None)
        if traced is not None:
            kind, began_at, tracing = traced
            content = {
                "kind": kind,
                "target": f"{lookup.target:064x}",
                "calls": len(tracing.calls),
                "failed": sum(call.outcome is CallOutcome.FAILED for call in tracing.calls),
                "hops": lookup.hops,
                "seconds": self._clock.seconds() - began_at,
            }
            self._happens(partial(event, "lookup", content))

    def _call_ended(self, target: int, began_at: float, call: TracedCall) -> None:
        self._happens(lambda: event("call", step_json(call, target, began_at)))


def step_json(call: TracedCall, target: int, began_at: float) -> StepJson:
    """Return a traced call as JSON; times are counted from `began_at`."""
    contact, namer = call.contact, call.named_by
    return StepJson(
        node_id=f"{contact.node_id:064x}",
        host=contact.address[0],
        port=contact.address[1],
        request=call.request,
        distance_bits=(contact.node_id ^ target).bit_length(),
        hop=call.hop,
        named_by=f"{namer.node_id:064x}" if namer is not None else None,
        sent_at=call.sent_at - began_at,
        ended_at=call.ended_at - began_at if call.ended_at is not None else None,
        outcome=call.outcome.value,
        contacts_named=call.contacts_named,
    )


_TOTALS = ("sent", "received", "failed", "dropped", "refused", "api")
_LATENCIES = ("p50", "p99", "api_p99", "commit_p99")


def totals(metrics: NodeMetrics | None) -> dict[str, float | None]:
    """Return the sums that the dashboard makes rates of, and percentiles of the latency of calls, of requests
    of clients and of commits."""
    if metrics is None:
        return dict.fromkeys(_TOTALS, 0) | dict.fromkeys(_LATENCIES)
    rpc, api, commits = metrics.rpc, metrics.api, metrics.commits
    session = metrics.session
    latency = _sum([method.latency for method in rpc.sent.values()])
    return {
        "sent": rpc.replies + rpc.failed,
        "received": sum(method.answered + method.refused for method in rpc.received.values()),
        "failed": rpc.failed,
        "dropped": rpc.malformed + rpc.unasked + _dropped_by(session),
        "refused": _troubling(rpc.refusals_sent) + _troubling(rpc.refusals_received),
        "api": api.puts + api.gets if api is not None else 0,
        "p50": _percentile(latency, 0.5),
        "p99": _percentile(latency, 0.99),
        "api_p99": _percentile(_sum([api.get_latency, api.put_latency]), 0.99) if api is not None else None,
        "commit_p99": _percentile(commits.latency, 0.99) if commits is not None else None,
    }


def _troubling(refusals: Mapping[Refusal, int]) -> int:
    return sum(count for reason, count in refusals.items() if reason not in ROUTINE_REFUSALS)


def _dropped_by(session: SessionMetrics | None) -> int:
    if session is None:
        return 0
    return (
        session.no_session
        + session.unauthentic
        + session.unasked_challenge
        + session.other_node
        + session.hello_over_limit
        + session.stale_finish
        + session.finish_over_limit
    )


def _sum(histograms: list[Histogram]) -> Histogram:
    summed = Histogram(histograms[0].bounds)
    for histogram in histograms:
        summed.counts = [a + b for a, b in zip(summed.counts, histogram.counts, strict=True)]
    return summed


def _percentile(histogram: Histogram, part: float) -> float | None:
    """Return the bound below which this part of the values is; None without any, or above all bounds."""
    wanted = part * histogram.count
    below = 0
    for bound, count in zip(histogram.bounds, histogram.counts, strict=False):
        below += count
        if wanted and below >= wanted:
            return bound
    return None
