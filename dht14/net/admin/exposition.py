"""The metrics of a node in the formats of Prometheus.

The declared counters are read when a scrape comes; nothing is kept here and nothing runs between scrapes.
"""

import platform
import time
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from dht14.metrics import Histogram, MetricKind, Sample

Samples = Callable[[], Iterable[Sample]]


class NodeCollector(Collector):
    """Reads the samples of one node."""

    def __init__(self, samples: Samples, version: str) -> None:
        self._samples = samples
        self._version = version

    def collect(self) -> Iterator[Metric]:
        """Yield one metric for each family."""
        began = time.perf_counter()
        families: dict[str, list[Sample]] = {}
        for sample in self._samples():
            families.setdefault(sample.family.name, []).append(sample)
        for name, samples in families.items():
            yield _metric(name, samples)
        build = {"version": self._version, "python": platform.python_version()}
        yield InfoMetricFamily("dht14_build", "The version of the node and of Python.", value=build)
        taken = time.perf_counter() - began
        yield GaugeMetricFamily("dht14_scrape_seconds", "Seconds that this scrape took the node.", taken)


class Exposition:
    """The page `/metrics` of one node."""

    def __init__(self, samples: Samples, version: str) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(NodeCollector(samples, version))
        ProcessCollector(registry=self._registry)

    def page(self, accept: str | None) -> tuple[bytes, str]:
        """Return the metrics in the format that the client accepts, and its content type."""
        encode, content_type = choose_encoder(accept or "")
        return encode(self._registry), content_type


def _metric(name: str, samples: list[Sample]) -> Metric:
    family = samples[0].family
    labels = sorted({label for sample in samples for label in sample.labels})
    rows = [([str(sample.labels.get(label, "")) for label in labels], sample.value) for sample in samples]
    if family.kind is MetricKind.HISTOGRAM:
        histogram = HistogramMetricFamily(name, family.documentation, labels=labels)
        for values, value in rows:
            assert isinstance(value, Histogram)
            histogram.add_metric(values, _buckets(value), value.total)
        return histogram
    make = CounterMetricFamily if family.kind is MetricKind.COUNTER else GaugeMetricFamily
    metric = make(name, family.documentation, labels=labels)
    for values, value in rows:
        assert not isinstance(value, Histogram)
        metric.add_metric(values, value)
    return metric


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """Return the buckets as Prometheus counts them: each with all that are below it."""
    buckets: list[tuple[str, float]] = []
    below = 0
    for bound, count in zip([*map(float, histogram.bounds), float("inf")], histogram.counts, strict=True):
        below += count
        buckets.append(("+Inf" if bound == float("inf") else str(bound), below))
    return buckets
