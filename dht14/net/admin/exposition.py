"""The metrics of a node in the text format of Prometheus.

The declared counters are read when a scrape comes; nothing is kept here and nothing runs between scrapes.
OpenMetrics, which Prometheus also reads, says nothing more of these metrics, and costs the node one half more
to write.
"""

import platform
import time
from collections.abc import Callable, Iterable, Iterator
from math import inf

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from dht14.metrics import Histogram, Sample

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

    CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(self, samples: Samples, version: str) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(NodeCollector(samples, version))
        ProcessCollector(registry=self._registry)

    def page(self) -> bytes:
        """Return all metrics as they are now."""
        return generate_latest(self._registry)


def _metric(name: str, samples: list[Sample]) -> Metric:
    family = samples[0].family
    # The library takes the suffix of a counter off and puts it back.
    metric = Metric(name.removesuffix("_total"), family.documentation, family.kind.value)
    for _, labels, value in samples:
        if isinstance(value, Histogram):
            _add_histogram(metric, dict(labels), value)
        else:
            metric.add_sample(name, dict(labels), value)
    return metric


def _add_histogram(metric: Metric, labels: dict[str, str], histogram: Histogram) -> None:
    """Add the buckets as Prometheus counts them: each with all that are below it."""
    below = 0
    for bound, count in zip([*histogram.bounds, inf], histogram.counts, strict=True):
        below += count
        metric.add_sample(f"{metric.name}_bucket", {**labels, "le": floatToGoString(bound)}, below)
    metric.add_sample(f"{metric.name}_count", labels, below)
    metric.add_sample(f"{metric.name}_sum", labels, histogram.total)
