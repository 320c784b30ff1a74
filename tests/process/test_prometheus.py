"""A real Prometheus scrapes real nodes."""

import json
import shutil
import subprocess
import urllib.parse
import urllib.request
from functools import partial
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest

from tests.process.nodes import Twistd, eventually
from tests.process.ports import free_port
from tests.process.test_start import ProcessTestCase
from tests.test_monitoring import ALERTS, dashboard_expressions

NODES = 5
MAY_BE_EMPTY = ("outcome!~", "refusals_total")
"""Expressions of what need not have happened in a network that is well."""


class PrometheusTests(ProcessTestCase):
    """Five nodes, and a Prometheus that scrapes each of them once a second."""

    def setUp(self) -> None:
        super().setUp()
        if shutil.which("prometheus") is None:
            raise SkipTest("prometheus is not installed (Debian: prometheus)")
        first = self.network.bootstrap_node()
        self.targets: list[str] = []
        self.nodes = [self.node(first) for _ in range(NODES)]
        for node in self.nodes:
            node.wait_for("Joined")
            node.wait_for_api()

    def node(self, seed: Twistd) -> Twistd:
        target = f"127.0.0.1:{free_port()}"
        self.targets.append(target)
        return self.network.node(seeds=(seed,), environment={"DHT14_NODE_ADMIN_ADDRESS": target})

    def start_prometheus(self) -> str:
        """Start Prometheus with the alerts that DHT-14 ships; return its address."""
        port = free_port()
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(ALERTS)],
            "scrape_configs": [{"job_name": "dht14", "static_configs": [{"targets": self.targets}]}],
        }
        path = self.folder / "prometheus.yaml"
        path.write_text(json.dumps(config))
        with Path(self.folder / "prometheus.log").open("wb") as log:
            process = subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={path}",
                    f"--storage.tsdb.path={self.folder / 'series'}",
                    f"--web.listen-address=127.0.0.1:{port}",
                ],
                stdout=log,
                stderr=log,
            )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return f"http://127.0.0.1:{port}"

    def test_dashboard(self) -> None:
        """Every node is scraped, every expression of the dashboard for Grafana has an answer, and no alarm is
        raised."""
        address = self.start_prometheus()

        def query(expression: str) -> list[dict[str, Any]]:
            text = urllib.parse.urlencode({"query": expression.replace("$instance", ".*")})
            try:
                with urllib.request.urlopen(f"{address}/api/v1/query?{text}", timeout=10) as answer:
                    found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
            except OSError:  # It has not started yet.
                return []
            return found

        eventually(lambda: len(query("up == 1")) == NODES, "a scrape of each node")
        client = self.nodes[0].client()
        for number in range(20):
            self.assertTrue(client.put(number.to_bytes(32, "big"), b"value"))
            self.assertEqual(client.get(number.to_bytes(32, "big")), b"value")
        # A rate needs two scrapes.
        eventually(lambda: query("sum(increase(dht14_puts_total[1m])) > 0"), "the puts")
        for expression in dashboard_expressions():
            if not any(rare in expression for rare in MAY_BE_EMPTY):
                eventually(partial(query, expression), expression)
        self.assertEqual(query("ALERTS"), [])
        self.assertEqual(query("sum(dht14_ready)")[0]["value"][1], str(NODES))
