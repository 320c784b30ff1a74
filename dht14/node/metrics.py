"""What the operations of a node count: the PUTs of its clients by outcome."""

from attrs import define

from dht14.metrics import Family
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
