"""What a database counts: its commits."""

from attrs import define

from dht14.metrics import Family, Histogram, MetricKind, counter

COMMITS = Family(
    "dht14_database_commit_seconds",
    "Seconds from giving a batch of changes to the writer thread until it is on disk.",
    MetricKind.HISTOGRAM,
    (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
)


@define
class CommitMetrics:
    """The commits of one database."""

    latency: Histogram = COMMITS.value()
    failed: int = counter("dht14_database_commits_failed_total", "Commits that the disk did not take.")
