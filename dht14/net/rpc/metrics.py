"""What the UDP side of a node counts: RPCs by method, direction and outcome, datagrams, probes,
standstills."""

import re
from typing import get_args

from attrs import define

from dht14.metrics import Family, Histogram, MetricKind, counter, group
from dht14.records.store import Refusal
from dht14.wire.messages import Request

REQUESTS = Family(
    "dht14_rpc_requests_total",
    "RPC requests by method, direction (sent, received) and outcome; each request has one outcome.",
)
DROPPED = Family("dht14_datagrams_dropped_total", "Datagrams received and dropped, by reason.")
REFUSALS = Family("dht14_rpc_refusals_total", "REFUSED replies, by direction and reason.")
LATENCY = Family(
    "dht14_rpc_latency_seconds",
    "Seconds from sending a request for the first time to its reply, by method.",
    MetricKind.HISTOGRAM,
    (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5),
)
PROBES = Family(
    "dht14_probe_outcomes_total", "Reachability probes that have ended, or were not sent, by outcome."
)
PROBE_DROPPED = Family(
    "dht14_probe_datagrams_dropped_total", "Datagrams dropped at the probe port, by reason."
)
LAG = Family(
    "dht14_reactor_lag_seconds",
    "Seconds by which a timer that is set once a second was late.",
    MetricKind.HISTOGRAM,
    (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0),
)


@define
class SentRequests:
    """Requests of one method that this node sent."""

    answered: int = REQUESTS.value(
        "A reply other than REFUSED came before the soft timeout.", direction="sent", outcome="answered"
    )
    slow: int = REQUESTS.value(
        "A reply other than REFUSED came after the soft timeout, or the peer was already slow.",
        direction="sent",
        outcome="slow",
    )
    refused: int = REQUESTS.value("The reply was REFUSED.", direction="sent", outcome="refused")
    failed: int = REQUESTS.value("No reply came before the hard timeout.", direction="sent", outcome="failed")
    over_limit: int = REQUESTS.value(
        "It was not sent: too many requests wait for this address.", direction="sent", outcome="dropped_limit"
    )
    resent: int = counter("dht14_rpc_requests_resent_total", "Requests sent a second time, by method.")
    paced: int = counter("dht14_rpc_requests_paced_total", "Requests delayed by pacing, by method.")
    spared: int = counter(
        "dht14_rpc_requests_spared_total",
        "Requests not sent because another one to the same unresponsive address is under way, by method.",
    )
    latency: Histogram = LATENCY.value()

    @property
    def replies(self) -> int:
        """Requests that were answered in any way."""
        return self.answered + self.slow + self.refused


@define
class ReceivedRequests:
    """Requests of one method that other nodes sent to this one."""

    answered: int = REQUESTS.value(
        "This node sent a reply other than REFUSED.", direction="received", outcome="answered"
    )
    refused: int = REQUESTS.value("This node replied REFUSED.", direction="received", outcome="refused")
    over_limit: int = REQUESTS.value(
        "The sender is over its rate limit.", direction="received", outcome="dropped_limit"
    )
    late: int = REQUESTS.value(
        "It may have waited in the kernel for too long: this process stood still.",
        direction="received",
        outcome="dropped_late",
    )


def method_name(request: type[Request]) -> str:
    """The name of an RPC as documentation and Prometheus write it: `FIND_NODE`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", request.__name__).upper()


METHODS: dict[type[Request], str] = {request: method_name(request) for request in get_args(Request)}
"""Every RPC and its name."""


@define
class RpcMetrics:
    """What `RpcProtocol` counts."""

    sent: dict[str, SentRequests] = group(
        "method", factory=lambda: {method: SentRequests() for method in METHODS.values()}
    )
    """By method."""
    received: dict[str, ReceivedRequests] = group(
        "method", factory=lambda: {method: ReceivedRequests() for method in METHODS.values()}
    )
    """By method."""
    refusals_sent: dict[Refusal, int] = REFUSALS.by("reason", Refusal, "This node refused.", direction="sent")
    refusals_received: dict[Refusal, int] = REFUSALS.by(
        "reason", Refusal, "Another node refused.", direction="received"
    )
    malformed: int = DROPPED.value("It does not decode.", reason="malformed")
    unasked: int = DROPPED.value("A reply to no request of this node.", reason="unasked")
    unsendable: int = counter(
        "dht14_datagrams_unsendable_total",
        "Datagrams that the host could not send: no route, no buffer, or the wrong address family.",
    )

    @property
    def replies(self) -> int:
        """Requests of this node that were answered."""
        return sum(method.replies for method in self.sent.values())

    @property
    def failed(self) -> int:
        """Requests of this node that were not answered before the hard timeout."""
        return sum(method.failed for method in self.sent.values())


@define
class ProbeMetrics:
    """What `ProbeProtocol` counts."""

    sent: int = counter("dht14_probes_sent_total", "Reachability probes sent to callers.")
    answered: int = PROBES.value("The contact can be called.", outcome="answered")
    unanswered: int = PROBES.value("The contact is not reachable for others.", outcome="unanswered")
    displaced: int = PROBES.value(
        "It was ended early, for a party that has fewer probes under way.", outcome="displaced"
    )
    over_limit: int = PROBES.value("It was not sent: too many are under way.", outcome="dropped_limit")
    malformed: int = PROBE_DROPPED.value(reason="malformed")
    unasked: int = PROBE_DROPPED.value("An answer to no probe under way.", reason="unasked")
    unsendable: int = counter(
        "dht14_probe_datagrams_unsendable_total", "Datagrams of probes that the host could not send."
    )


@define
class StandstillMetrics:
    """What `StandstillDetector` counts."""

    standstills: int = counter(
        "dht14_standstills_total", "Times that the whole process stood still for longer than 2 s."
    )
    lag: Histogram = LAG.value()
