from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SynchronousTestCase

from dht14.metrics import Family, Histogram, MetricKind, Sample
from dht14.net.admin.exposition import Exposition

REQUESTS = Family("dht14_test_requests_total", "Requests.")
CONTACTS = Family("dht14_test_contacts", "Contacts.", MetricKind.GAUGE)
LATENCY = Family("dht14_test_seconds", "Seconds.", MetricKind.HISTOGRAM, (0.1, 1.0))


class ExpositionTests(SynchronousTestCase):
    def setUp(self) -> None:
        latency = Histogram(LATENCY.bounds)
        for seconds in (0.05, 0.5, 0.7, 3.0):
            latency.observe(seconds)
        self.samples = [
            Sample(REQUESTS, {"method": "ping", "outcome": "answered"}, 5),
            Sample(REQUESTS, {"method": "store", "outcome": "failed"}, 2),
            Sample(CONTACTS, {}, 7),
            Sample(LATENCY, {"method": "ping"}, latency),
        ]
        self.exposition = Exposition(lambda: self.samples, "1.2")

    def test_values(self) -> None:
        """Counters, gauges and histograms are exposed, buckets cumulative."""
        found = {
            (sample.name, *sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(self.exposition.page().decode())
            for sample in family.samples
        }
        ping = ("method", "ping")
        self.assertEqual(found["dht14_test_requests_total", ping, ("outcome", "answered")], 5)
        self.assertEqual(found[("dht14_test_contacts",)], 7)
        buckets = [found["dht14_test_seconds_bucket", ("le", le), ping] for le in ("0.1", "1.0", "+Inf")]
        self.assertEqual(buckets, [1, 3, 4])
        self.assertEqual(found["dht14_test_seconds_count", ping], 4)
        self.assertAlmostEqual(found["dht14_test_seconds_sum", ping], 4.25)

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
