import json
from typing import Any

from tests.cmd.admin_case import AdminCommandCase

NODE: dict[str, Any] = {
    "node_id": "ab" * 32,
    "host": "192.0.2.1",
    "port": 8000,
    "reachable": True,
    "rtt": 0.0204,
    "version": "dht14/0.1.0",
    "holds_values": True,
    "contacts_named": 20,
}
DEAD = NODE | {"reachable": False, "rtt": None, "version": None, "holds_values": None, "contacts_named": 0}
END: dict[str, Any] = {"nodes": 2, "reachable": 1, "unasked": 0, "left_out": 0, "seconds": 1.5}


def stream(*events: tuple[str, Any]) -> bytes:
    """Return events as the node sends them."""
    return "".join(f"event: {kind}\ndata: {json.dumps(content)}\n\n" for kind, content in events).encode()


WALK = stream(("node", NODE), ("node", DEAD), ("end", END))


class NodesTests(AdminCommandCase):
    """`dht14 nodes`."""

    def test_pipe(self) -> None:
        """In a pipe: a line for each node, with tabs; the sums are on stderr."""
        outcome = self.ask("nodes", "--limit", "50", answers={"/v1/nodes?limit=50": WALK})
        first, second = outcome.out.decode().splitlines()
        self.assertEqual(outcome.code, 0)
        self.assertEqual(
            first.split("\t"), ["ab" * 32, "192.0.2.1:8000", "yes", "20.4", "dht14/0.1.0", "yes", "20"]
        )
        self.assertEqual(second.split("\t")[2:], ["no", "-", "-", "-", "0"])
        self.assertEqual(outcome.error, "nodes: 2, reachable: 1, in 1.5 s\n")

    def test_terminal(self) -> None:
        """On a terminal: one head, aligned columns."""
        head, first, second = self.ask_at_terminal(
            "nodes", answers={"/v1/nodes?limit=1000": WALK}
        ).splitlines()
        self.assertTrue(head.startswith("NODE "))
        self.assertEqual(head.index("ADDRESS"), first.index("192.0.2.1"))
        self.assertEqual(head.index("REACHABLE"), second.index("no"))

    def test_json(self) -> None:
        """--json prints one object for each event."""
        outcome = self.ask("nodes", "--json", answers={"/v1/nodes?limit=1000": WALK})
        self.assertEqual([json.loads(line) for line in outcome.out.splitlines()], [NODE, DEAD, END])

    def test_nobody(self) -> None:
        """The exit code is 1 if no node answers."""
        ended = stream(("end", END | {"nodes": 0, "reachable": 0}))
        self.assertEqual(self.ask("nodes", answers={"/v1/nodes?limit=1000": ended}).code, 1)

    def test_bounds(self) -> None:
        """What was not asked is said."""
        ended = stream(("end", END | {"unasked": 1_200, "left_out": 3}))
        outcome = self.ask("nodes", answers={"/v1/nodes?limit=1000": ended})
        self.assertIn(
            "named and not asked: 1,200 (see --limit); left out, too many of one subnet: 3", outcome.error
        )

    def test_node_ends(self) -> None:
        """A node that ends before the walk does, or sends something else, is exit code 3 and one line."""
        for answer in (stream(("node", NODE)), stream(("node", 5)), b"event: node\ndata: {\n\n"):
            with self.subTest(answer):
                outcome = self.ask("nodes", answers={"/v1/nodes?limit=1000": answer})
                self.assertEqual((outcome.code, outcome.error.count("\n")), (3, 1))
                self.setUp()
