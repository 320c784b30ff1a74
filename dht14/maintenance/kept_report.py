"""What an operator must know of the kept values: their numbers, and when renewals fail or end."""

from collections import Counter

from attrs import define, field
from twisted.logger import Logger

from dht14.maintenance.metrics import KeptMetrics
from dht14.records.kept import KeptState, KeptSummary, RenewalFailure, explained


@define
class KeptCensus:
    """What one scan of the list has found."""

    states: Counter[int] = field(factory=Counter)
    failures: Counter[int] = field(factory=Counter)
    overdue: float = 0.0

    @property
    def failing(self) -> int:
        """The number of values whose last renewal failed."""
        return self.failures.total()

    def add(self, summary: KeptSummary, now: float, is_damaged: bool) -> None:
        """Count one entry."""
        self.states[summary.state] += 1
        failure = RenewalFailure.DAMAGED if is_damaged else summary.failure
        if failure and (is_damaged or summary.state == KeptState.RENEWED):
            self.failures[failure] += 1
        self.overdue = max(self.overdue, summary.overdue(now))

    def show(self, metrics: KeptMetrics, used: int) -> None:
        """Show it in the metrics."""
        for state in KeptState:
            metrics.states[state] = self.states[state]
        metrics.failing, metrics.overdue, metrics.used = self.failing, self.overdue, used


@define(eq=False)
class KeptReport:
    """Writes the log lines of one list."""

    log = Logger()

    _in_bout: bool = field(default=False, init=False)
    """Whether it was logged that renewals fail, and not yet that this is over."""

    def stopped(self, replaced: int, deleted: int) -> None:
        """Log that values are not renewed any more, if there are any."""
        if replaced or deleted:
            self.log.warn(
                "Kept values are not renewed any more; replaced by others: {replaced}, deleted by their "
                "owners: {deleted}. dht14 kept lists them.",
                event="kept.ended",
                replaced=replaced,
                deleted=deleted,
            )

    def scanned(self, census: KeptCensus) -> None:
        """Log once when renewals begin to fail, and once when that is over."""
        if census.failing and not self._in_bout:
            (reason, _), *_ = census.failures.most_common(1)
            self.log.warn(
                "Kept values that could not be renewed: {failing} of {values}, most of them because "
                "{reason}. The node goes on trying; dht14 kept lists them.",
                event="kept.failing",
                failing=census.failing,
                values=census.states[KeptState.RENEWED],
                reason=explained(reason),
            )
        elif self._in_bout and not census.failing:
            self.log.info("All kept values are renewed again.", event="kept.renewed")
        self._in_bout = census.failing > 0
