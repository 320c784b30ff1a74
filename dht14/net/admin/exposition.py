"""The metrics of a node in the text format of Prometheus.

The declared counters are read when a scrape comes; nothing runs between scrapes. prometheus-client writes the
page once, and a template is made of it: the next scrapes only fill in the numbers, until there is a series
more or less. To write all names and labels for each scrape took ten times as long.

OpenMetrics, which Prometheus also reads, says nothing more of these metrics.
"""

import platform
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate, groupby
from math import inf
from operator import attrgetter

from attrs import frozen
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from dht14.metrics import Family, Histogram, MetricKind, Sample, Series

Samples = Callable[[], Iterable[Sample]]

_BUILD = Family("dht14_build_info", "The version of the node and of Python.", MetricKind.GAUGE)
_SCRAPE = Family(
    "dht14_scrape_seconds", "Seconds that the scrape before this one took the node.", MetricKind.GAUGE
)


class Exposition:
    """The page `/metrics` of one node."""

    CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(self, samples: Samples, version: str) -> None:
        self._samples = samples
        self._build = Series(_BUILD, {"version": version, "python": platform.python_version()})
        self._scrape = Series(_SCRAPE, {})
        self._process = ProcessCollector(registry=None)
        self._layout: list[object] = []
        """What tells the lines of the template apart."""
        self._template = ""
        self._seconds = 0.0

    def page(self) -> bytes:
        """Return all metrics as they are now."""
        began = time.perf_counter()
        samples = [*self._samples(), Sample(self._build, 1), Sample(self._scrape, self._seconds)]
        samples.sort(key=_FAMILY)
        process = list(self._process.collect())
        layout = [*(sample.series for sample in samples), *(metric.name for metric in process)]
        if layout != self._layout:
            self._layout, self._template = layout, _template(NodeCollector(samples, process))
        numbers: list[float] = []
        for _, value in samples:
            if isinstance(value, Histogram):
                numbers += _numbers(value)
            else:
                numbers.append(value)
        for metric in process:
            numbers += [sample.value for sample in metric.samples]
        page = (self._template % tuple(numbers)).encode()
        self._seconds = time.perf_counter() - began
        return page


_FAMILY = attrgetter("series.family.name")


@frozen
class NodeCollector(Collector):
    """Gives the samples of a node to prometheus-client, those of one family together, and other metrics."""

    _samples: Iterable[Sample]
    _others: Iterable[Metric] = ()

    def collect(self) -> Iterator[Metric]:
        """Yield one metric for each family."""
        for name, samples in groupby(self._samples, _FAMILY):
            yield _metric(name, list(samples))
        yield from self._others


def _metric(name: str, samples: list[Sample]) -> Metric:
    family = samples[0].series.family
    # The library takes the suffix of a counter off and puts it back.
    metric = Metric(name.removesuffix("_total"), family.documentation, family.kind.value)
    for series, value in samples:
        labels = dict(series.labels)
        if isinstance(value, Histogram):
            bounds = [*map(floatToGoString, [*value.bounds, inf])]
            *buckets, count, total = _numbers(value)
            for bound, below in zip(bounds, buckets, strict=True):
                metric.add_sample(f"{metric.name}_bucket", {**labels, "le": bound}, below)
            metric.add_sample(f"{metric.name}_count", labels, count)
            metric.add_sample(f"{metric.name}_sum", labels, total)
        else:
            metric.add_sample(name, labels, value)
    return metric


def _numbers(histogram: Histogram) -> list[float]:
    """Return the buckets as Prometheus counts them, each with all that are below it; the number of
    observations; their sum."""
    buckets = [*accumulate(histogram.counts)]
    return [*buckets, buckets[-1], histogram.total]


def _template(collector: Collector) -> str:
    """Return the page of these metrics with a place for each number."""
    page = generate_latest(collector).decode().replace("%", "%%")
    lines = page.removesuffix("\n").split("\n")
    return "".join(f"{line if line[0] == '#' else line.rpartition(' ')[0] + ' %s'}\n" for line in lines)
