"""What the operations of a node count: the PUTs of its clients by outcome, and the keys that they watch."""

from enum import Enum

from attrs import define

from dht14.metrics import Family, counter, gauge
from dht14.records.receipt import PutOutcome, PutReason

PUTS = Family("dht14_puts_total", "PUTs of clients that have ended, by outcome.")
FAILED_PUTS = Family(
    "dht14_puts_failed_total",
    "PUTs of clients whose value is not stored at as many nodes as needed, by reason.",
)


@define
class PutMetrics:
    """What `RecordWriter` counts."""

    outcomes: dict[PutOutcome, int] = PUTS.by("outcome", PutOutcome)
    failures: dict[PutReason, int] = FAILED_PUTS.by("reason", PutReason)
    """By reason, those with the outcome NOT_STORED."""


class ReadCause(Enum):
    """Why a watched key was read."""

    CLIENT = "client"
    """A client began to watch it, or asked for its state."""
    HINT = "hint"
    """A holder said that it has changed."""
    POLL = "poll"
    """Its record has expired, or nobody had said anything about it for long enough."""


WATCH_READS = Family("dht14_watch_reads_total", "Reads of watched keys, by cause.")
WATCH_NOTIFICATIONS = Family(
    "dht14_watch_notifications_total", "NOTIFYs that this node received, by whether it watches the key."
)


@define
class WatchMetrics:
    """What `Watches` and `Notifier` count."""

    watched: int = gauge("dht14_watched_keys", "Keys that this node watches for its clients.")
    subscriptions: int = gauge("dht14_watches", "Watches of the clients of this node.")
    leases: int = gauge("dht14_watch_leases", "Leases that this node has given: whom it tells of changes.")
    refused: int = counter(
        "dht14_watches_refused_total", "Watches of clients refused because there were too many."
    )
    changes: int = counter("dht14_watch_changes_total", "Changes that clients were told.")
    reads: dict[ReadCause, int] = WATCH_READS.by("cause", ReadCause)
    notified: int = WATCH_NOTIFICATIONS.value("From a holder with a lease for it.", outcome="taken")
    unasked: int = WATCH_NOTIFICATIONS.value(
        "This node does not watch the key, or did not ask the sender.", outcome="refused"
    )
