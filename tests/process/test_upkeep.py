"""Nodes that go, one after another or many at once, and what becomes of the values."""

import time

from tests.process.test_network import NetworkTestCase

NODES, VALUES = 6, 120
STOP_TIMEOUT = 10.0
"""Seconds within which a node that is told to end is gone, its values handed over."""


class HandOverTests(NetworkTestCase):
    runs_alone = True
    """It measures how long a node takes to stop."""

    def test_one_after_another(self) -> None:
        """Values with a single copy are all there when all nodes but one were stopped, one after another."""
        cluster = self.cluster(NODES)
        values = {self.rng.randbytes(32): self.rng.randbytes(100) for _ in range(VALUES)}
        for key, value in values.items():
            with self.rng.choice(cluster).client() as client:
                self.assertTrue(client.put(key, value, replication=1))
        last = cluster.pop()
        for node in cluster:
            began = time.monotonic()
            self.assertEqual(node.stop(), 0)
            self.assertLess(time.monotonic() - began, STOP_TIMEOUT)
            self.assertEqual(node.stderr(), "")
        self.assert_found([last], values)
        done = [
            event
            for node in cluster
            for event in node.events()
            if "Values handed over: {done}" in event["template"]
        ]
        self.assertTrue(done)
