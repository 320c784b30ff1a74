from typing import Any

from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SynchronousTestCase

from dht14.metrics import Family, Histogram, MetricKind, Sample, Series
from dht14.net.admin.exposition import Exposition, NodeCollector

REQUESTS = Family("dht14_test_requests_total", "Requests.")
CONTACTS = Family("dht14_test_contacts", "Contacts.", MetricKind.GAUGE)
LATENCY = Family("dht14_test_seconds", "Seconds.", MetricKind.HISTOGRAM, (0.1, 1.0))


def numbers(page: bytes) -> dict[tuple[Any, ...], float]:
    """Read a page: the values by name and labels."""
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


def name_of(sample: Sample) -> str:
    return sample.series.family.name


class ExpositionTests(SynchronousTestCase):
    def setUp(self) -> None:
        latency = Histogram(LATENCY.bounds)
        for seconds in (0.05, 0.5, 0.7, 3.0):
            latency.observe(seconds)
        self.samples = [
            Sample(Series(REQUESTS, {"method": "ping", "outcome": "answered"}), 5),
            Sample(Series(REQUESTS, {"method": "store", "outcome": "failed"}), 2),
            Sample(Series(CONTACTS, {}), 7),
            Sample(Series(LATENCY, {"method": "ping"}), latency),
        ]
        self.exposition = Exposition(lambda: self.samples, "1.2")

    def test_values(self) -> None:
        """Counters, gauges and histograms are exposed, buckets cumulative."""
        found = numbers(self.exposition.page())
        ping = ("method", "ping")
        self.assertEqual(found["dht14_test_requests_total", ping, ("outcome", "answered")], 5)
        self.assertEqual(found[("dht14_test_contacts",)], 7)
        buckets = [found["dht14_test_seconds_bucket", ("le", le), ping] for le in ("0.1", "1.0", "+Inf")]
        self.assertEqual(buckets, [1, 3, 4])
        self.assertEqual(found["dht14_test_seconds_count", ping], 4)
        self.assertAlmostEqual(found["dht14_test_seconds_sum", ping], 4.25)

    def test_next_scrape(self) -> None:
        """The next scrapes show numbers and series of their moment, as prometheus-client writes them."""
        self.exposition.page()
        latency = self.samples[-1].value
        assert isinstance(latency, Histogram)
        latency.observe(0.2)
        self.samples[0] = self.samples[0]._replace(value=6)
        self.assert_as_the_library()
        strange = Series(REQUESTS, {"method": 'a "b" %s\n', "outcome": "100 %"})
        self.samples.insert(0, Sample(strange, 1.5e-07))
        self.assert_as_the_library()
        self.samples.pop()
        self.assert_as_the_library()

    def assert_as_the_library(self) -> None:
        expected = numbers(generate_latest(NodeCollector(sorted(self.samples, key=name_of))))
        found = numbers(self.exposition.page())
        self.assertEqual({one: value for one, value in found.items() if "dht14_test" in one[0]}, expected)

    def test_families(self) -> None:
        """Each family has its kind and its documentation, once."""
        lines = self.exposition.page().decode().splitlines()
        for name, kind, documentation in (
            ("dht14_test_requests_total", "counter", "Requests."),
            ("dht14_test_contacts", "gauge", "Contacts."),
            ("dht14_test_seconds", "histogram", "Seconds."),
        ):
            self.assertEqual(lines.count(f"# HELP {name} {documentation}"), 1)
            self.assertEqual(lines.count(f"# TYPE {name} {kind}"), 1)

    def test_build(self) -> None:
        """The version is a label of its own metric."""
        self.assertIn(b"dht14_build_info{", self.exposition.page())
        self.assertIn(b'version="1.2"', self.exposition.page())
