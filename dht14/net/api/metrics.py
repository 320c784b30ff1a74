"""What the API counts: requests by outcome, connections, refusals and bad frames."""

from enum import Enum

from attrs import define

from dht14.metrics import Family, Histogram, MetricKind, counter, gauge
from dht14.records.receipt import NoRecord, PutOutcome, PutReason, Receipt

REQUESTS = Family("dht14_api_requests_total", "API requests begun, by method.")
REPLIES = Family("dht14_api_replies_total", "API replies, by outcome.")
OUTCOMES = Family(
    "dht14_api_outcomes_total", "API requests that have ended, by method and outcome; as the node knows them."
)
LATENCY = Family(
    "dht14_api_latency_seconds",
    "Seconds from the begin of an API request until its reply, by method. Waiting for its turn is not in it.",
    MetricKind.HISTOGRAM,
    (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
)
REFUSED = Family("dht14_api_connections_refused_total", "API connections that were refused, by reason.")
BAD_FRAMES = Family(
    "dht14_api_bad_frames_total", "API connections that were closed for a bad frame, by reason."
)


class BadFrame(Enum):
    """Why a frame is bad. The values are the texts of the decoder, as the log shows them."""

    UNKNOWN_TYPE = "unknown type"
    WRONG_SIZE = "wrong size for its type"
    TOO_SMALL = "size below the minimum"
    EMPTY_VALUE = "empty value"
    UNKNOWN_FLAG = "unknown flag"
    TOO_SLOW = "not finished in time"
    OTHER = "other"

    @classmethod
    def of(cls, reason: str) -> "BadFrame":
        """Return the member for a text of the decoder."""
        try:
            return cls(reason)
        except ValueError:
            return cls.OTHER


@define
class ApiMetrics:
    """What happened at the API since the start, and how many connections there are now."""

    puts: int = REQUESTS.value(method="PUT")
    gets: int = REQUESTS.value(method="GET")
    successes: int = REPLIES.value(outcome="success")
    failures: int = REPLIES.value(outcome="failure")
    found: int = OUTCOMES.value("The record was found.", method="GET", outcome="found")
    not_found: dict[NoRecord, int] = OUTCOMES.by("outcome", NoRecord, "Why there is none.", method="GET")
    put_outcomes: dict[PutOutcome, int] = OUTCOMES.by("outcome", PutOutcome, method="PUT")
    put_not_ready: int = OUTCOMES.value("The node could not put yet.", method="PUT", outcome="not_ready")
    get_latency: Histogram = LATENCY.value(method="GET")
    put_latency: Histogram = LATENCY.value(method="PUT")
    throttled: int = counter(
        "dht14_api_throttled_total", "Times that the token bucket of a client ran empty."
    )
    connections: int = gauge("dht14_api_connections", "API connections that are open.")
    left_behind: int = gauge(
        "dht14_api_connections_left_behind",
        "API connections whose client is gone while its PUTs are at work.",
    )
    not_allowed: int = REFUSED.value("The address is not in api_allow.", reason="not_allowed")
    too_many: int = REFUSED.value("There are too many, of all clients or of this one.", reason="too_many")
    watches_refused: int = counter(
        "dht14_api_watches_refused_total",
        "Watches refused because the connection, or all of its address or subnet, had their share.",
    )
    bad_frames: dict[BadFrame, int] = BAD_FRAMES.by("reason", BadFrame)

    def got(self, result: object, seconds: float) -> None:
        """A GET has ended, `seconds` after it came."""
        self.get_latency.observe(seconds)
        if isinstance(result, NoRecord):
            self.not_found[result] += 1
        else:
            self.found += 1

    def put(self, receipt: Receipt, seconds: float) -> None:
        """A PUT has ended, `seconds` after it came."""
        self.put_latency.observe(seconds)
        if receipt.reason is PutReason.NOT_READY:
            self.put_not_ready += 1
        else:
            self.put_outcomes[receipt.outcome] += 1
