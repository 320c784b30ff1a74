"""conf/prometheus and conf/grafana fit the metrics of a node, and docs/operations.md fits the alarms."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from dht14.app.node_view import ProcessMetrics
from dht14.database.metrics import CommitMetrics
from dht14.metrics import Sample, samples
from dht14.net.admin.exposition import Exposition
from dht14.net.api.metrics import ApiMetrics
from dht14.net.bulk.metrics import BulkClientMetrics, BulkServerMetrics
from dht14.sim.world import World
from tests.test_docs import anchors

TOP = Path(__file__).parent.parent
ALERTS = TOP / "conf" / "prometheus" / "alerts.yaml"
NAME = re.compile(r"\b(?:dht14|process)_[a-z0-9_]+\b")


def dashboard_expressions() -> list[str]:
    """Return every expression of the dashboard for Grafana."""
    panels: list[dict[str, Any]] = json.loads((TOP / "conf" / "grafana" / "dht14.json").read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", ())]


def alert_expressions() -> list[str]:
    """Return every expression of the alerts."""
    return re.findall(r"^ +expr: (.+)$", ALERTS.read_text(), re.MULTILINE)


def series_of_a_node() -> dict[str, set[str]]:
    """Return the labels of each series that a node exposes, by name."""
    world = World(nodes=1, seed=1, bootstrap_nodes=1, sealed=True)
    world.join()
    metrics = world.nodes[1].stack.metrics(
        api=ApiMetrics(), bulk_client=BulkClientMetrics(), bulk_server=BulkServerMetrics()
    )
    metrics.commits = CommitMetrics()  # The simulator keeps its records in memory.

    def all_samples() -> list[Sample]:
        return [
            *metrics.samples(),
            *samples(ProcessMetrics(ready=1, cut_off=0, disk_trouble=0, database_set_aside=0)),
        ]

    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(Exposition(all_samples, "0").page().decode()):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


class ExpressionTests(SynchronousTestCase):
    def test_names(self) -> None:
        """Every metric, and every label that is summed by or selected, is one that a node exposes."""
        known = series_of_a_node()
        expressions = [*dashboard_expressions(), *alert_expressions()]
        self.assertGreater(len(expressions), 30)
        for expression in expressions:
            names = NAME.findall(expression)
            self.assertTrue(names, expression)
            labels = {"instance"}.union(*(known.get(name, set()) for name in names))
            self.assertEqual([name for name in names if name not in known], [], expression)
            for listed in re.findall(r"\b(?:by|ignoring) \(([^)]*)\)", expression):
                self.assertLessEqual(set(listed.split(", ")), labels, expression)
            for selected in re.findall(r"[{,](\w+)[=!]", expression):
                self.assertIn(selected, labels, expression)


class RunbookTests(SynchronousTestCase):
    def test_alerts(self) -> None:
        """Each alarm names its runbook in docs/operations.md, and that the alarm; there is no other one."""
        page = (TOP / "docs" / "operations.md").read_text()
        pairs = re.findall(
            r'alert: (\w+)\n.*?runbook: "docs/operations.md#([\w-]+)"', ALERTS.read_text(), re.DOTALL
        )
        self.assertEqual(len(pairs), ALERTS.read_text().count("alert:"))
        _, _, runbooks = page.partition("\n## 14. Runbooks\n")
        for _, anchor in pairs:
            self.assertIn(anchor, anchors(page))
        found = re.findall(r"^### (.+)\n\n`(\w+)`: ", runbooks, re.MULTILINE)
        titled = {(alert, anchors(f"### {title}").pop()) for title, alert in found}
        self.assertEqual(titled, set(pairs))
        for part in runbooks.split("\n### ")[1:]:
            self.assertIn("\n- See: ", part)
            self.assertIn("\n- Do: ", part)


class PromtoolTests(SynchronousTestCase):
    """The rules as Prometheus itself reads them."""

    def promtool(self, *words: str) -> str:
        if shutil.which("promtool") is None:
            raise SkipTest("promtool is not installed (Debian: prometheus)")
        done = subprocess.run(
            ["promtool", *words], cwd=ALERTS.parent, capture_output=True, text=True, timeout=60, check=False
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def test_syntax(self) -> None:
        """The rules are valid."""
        self.assertIn(
            f"{len(alert_expressions())} rules found", self.promtool("check", "rules", "alerts.yaml")
        )

    def test_rules(self) -> None:
        """Each alarm is raised when it must be and not before: alerts_test.yaml, which tests all of them."""
        self.assertIn("SUCCESS", self.promtool("test", "rules", "alerts_test.yaml"))
        tested = set(re.findall(r"alertname: (\w+)", (ALERTS.parent / "alerts_test.yaml").read_text()))
        self.assertEqual(tested, set(re.findall(r"alert: (\w+)", ALERTS.read_text())))
