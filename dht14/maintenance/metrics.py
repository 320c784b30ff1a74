"""What maintenance counts: passes, and copies offered to other nodes."""

from attrs import define

from dht14.metrics import Family, counter

PASSES = Family("dht14_maintenance_passes_total", "Passes of periodic maintenance, by pass and outcome.")
COPIES = Family(
    "dht14_copies_offered_total", "Copies of records that this node offered to other nodes, by outcome."
)


@define
class PassMetrics:
    """What one `Periodic` counts."""

    succeeded: int = PASSES.value(outcome="succeeded")
    failed: int = PASSES.value(outcome="failed")
    seconds: float = counter("dht14_maintenance_pass_seconds_total", "Seconds spent in passes, by pass.")


@define
class CopyMetrics:
    """What `Replicator` counts."""

    stored: int = COPIES.value("The other node has the record now.", outcome="stored")
    outranked: int = COPIES.value("The other node has a newer record.", outcome="outranked")
    refused: int = COPIES.value("The other node refused it.", outcome="refused")
    unanswered: int = COPIES.value("The other node did not answer in time.", outcome="unanswered")
