from dht14.net.admin.walks import DEFAULT_WALK
from dht14.node.walk import MAX_WALK
from tests.net.admin.case import GONE, AdminCase


class WalkTests(AdminCase):
    """`GET /v1/nodes`."""

    def test_events(self) -> None:
        """What a walk finds is sent as it comes; the client says how many nodes it wants at most."""
        _, transport = self.send("GET", "/v1/nodes?limit=7")
        self.assertIn(b"text/event-stream", transport.value())
        self.assertIn(b'event: status\ndata: {"n": 1}', transport.value())
        self.assertEqual(self.view.limits, [7])

    def test_one_at_a_time(self) -> None:
        """A second walk is refused until the first one has ended."""
        channel, _ = self.send("GET", "/v1/nodes")
        refused = self.ask("GET", "/v1/nodes")
        self.assertEqual(refused.status, 429)
        self.assertIn("walks for another client", refused.content["error"])
        channel.connectionLost(GONE)
        self.assertTrue(self.view.is_closed)
        self.send("GET", "/v1/nodes")
        self.assertEqual(self.view.limits, [DEFAULT_WALK, DEFAULT_WALK])

    def test_limit(self) -> None:
        """A limit out of bounds, or another parameter, is refused and begins nothing."""
        for query in ("limit=0", f"limit={MAX_WALK + 1}", "limit=x", "limit=1&limit=2", "limits=3"):
            self.assertEqual(self.ask("GET", f"/v1/nodes?{query}").status, 400, query)
        self.assertEqual(self.view.limits, [])

    def test_not_started(self) -> None:
        """A node without an id cannot walk."""
        self.assertEqual(self.ask("GET", "/v1/nodes?limit=13").status, 503)
