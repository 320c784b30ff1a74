"""What maintenance counts: passes, and copies offered to other nodes."""

from attrs import define

from dht14.metrics import Family, MetricKind, counter, gauge
from dht14.records.kept import KeptState, RenewalFailure

PASSES = Family("dht14_maintenance_passes_total", "Passes of periodic maintenance, by pass and outcome.")
COPIES = Family(
    "dht14_copies_offered_total", "Copies of records that this node offered to other nodes, by outcome."
)

KEPT = Family("dht14_kept_values", "Values on the list of kept values, by state.", MetricKind.GAUGE)
KEPT_BYTES = Family(
    "dht14_kept_bytes", "Bytes of the list of kept values, by what they are.", MetricKind.GAUGE
)
RENEWALS = Family("dht14_kept_renewals_total", "Renewals of kept values, by outcome.")
FAILED_RENEWALS = Family("dht14_kept_renewals_failed_total", "Failed renewals of kept values, by reason.")


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


@define(kw_only=True)
class KeptMetrics:
    """What `KeptRenewals` counts; the gauges are those of its last scan."""

    states: dict[KeptState, int] = KEPT.by("state", KeptState)
    used: int = KEPT_BYTES.value("Bytes in use.", of="used")
    limit: int = KEPT_BYTES.value("Bytes that may be used.", of="limit")
    failing: int = gauge("dht14_kept_failing", "Kept values whose last renewal failed.")
    overdue: float = gauge(
        "dht14_kept_overdue_seconds",
        "Seconds for which the longest overdue kept value waits for its renewal.",
    )
    renewed: int = RENEWALS.value("The holders have the value for another life.", outcome="renewed")
    failed: int = RENEWALS.value("It is tried again.", outcome="failed")
    replaced: int = RENEWALS.value("Another value is under the key now.", outcome="replaced")
    deleted: int = RENEWALS.value("The owner has deleted the value.", outcome="deleted")
    failures: dict[RenewalFailure, int] = FAILED_RENEWALS.by("reason", RenewalFailure)

    @property
    def ended(self) -> int:
        """The renewals that have ended, however they did."""
        return self.renewed + self.failed + self.replaced + self.deleted
