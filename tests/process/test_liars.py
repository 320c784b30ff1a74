"""What nodes that advertise values without having them cost the clients of other nodes."""

import sys
import time

from tests.process.test_network import NetworkTestCase

HONEST, LIARS = 10, 3
LIAR = (sys.executable, "-m", "tests.process.liar")
SLOWEST = 1.0
"""Seconds. A claim costs 0.4 s at most, and a node that made a false one costs nothing for ten minutes;
the rest is for a busy machine. Every liar cost more than a second, at every get, when claims were believed
first."""


class LiarsTests(NetworkTestCase):
    runs_alone = True
    """It measures how long gets take."""

    def test_claims(self) -> None:
        """One, two and three nodes that claim to have newer, larger values hold up no get: with proven copies
        at hand a claim is not waited for."""
        cluster = self.cluster(HONEST)
        values = self.some_values(20)
        self.put(cluster, values)
        reader = cluster[0]
        for count in range(1, LIARS + 1):
            liar = self.network.node(seeds=tuple(self.network.processes[:2]), program=LIAR)
            liar.wait_for("Joined")
            for node in (reader, cluster[count]):
                with node.client() as client:
                    slowest = 0.0
                    for key, value in values.items():
                        began = time.monotonic()
                        self.assertEqual(client.get(key), value)
                        slowest = max(slowest, time.monotonic() - began)
                self.assertLess(slowest, SLOWEST, f"{count} liars")
