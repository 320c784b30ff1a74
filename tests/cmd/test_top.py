import json
from typing import Any

from dht14.cmd.top import RATES
from tests.cmd.admin_case import AdminCommandCase
from tests.cmd.admin_server import STATUS, TOKEN, AdminServer
from tests.cmd.shell import run


def event(at: float, count: int, **changes: Any) -> bytes:
    totals = dict.fromkeys(RATES, count) | {"p50": 0.001, "p99": None} | changes
    content = {"status": STATUS, "totals": totals, "at": at}
    return f"event: status\ndata: {json.dumps(content)}\n\n".encode()


PEERS = b'event: peers\ndata: {"peers": []}\n\n'
EVENTS = b": connected\n\n" + event(1.0, 10) + PEERS + event(3.0, 20) + event(4.0, 25) + event(5.0, 1)


class TopTests(AdminCommandCase):
    """`dht14 top`."""

    def top(self, *words: str, events: bytes = EVENTS) -> tuple[object, list[str], str]:
        outcome = self.ask("top", *words, answers={"/v1/events": events})
        return outcome.code, outcome.out.decode().splitlines(), outcome.error

    def test_lines(self) -> None:
        """In a pipe: a line each second; counters that begin again are no negative rate."""
        code, lines, error = self.top("--count", "3")
        self.assertEqual((code, error), (0, ""))
        rows = [line.split("\t") for line in lines]
        self.assertEqual(rows[0][1:], ["ready", "12", "1003", *["5.0"] * 6, "1.0", "-"])
        self.assertEqual([row[4] for row in rows], ["5.0", "5.0", "0.0"])

    def test_json(self) -> None:
        """--json: one object each second."""
        _, lines, _ = self.top("--count", "1", "--json")
        (answer,) = map(json.loads, lines)
        self.assertEqual((answer["status"], answer["received"], answer["p50"]), (STATUS, 5.0, 0.001))

    def test_terminal(self) -> None:
        """On a terminal: a screen that is drawn again; the last line says what to do."""
        text = self.ask_at_terminal("top", "--count", "2", answers={"/v1/events": EVENTS})
        _, first, second = text.split("\x1b[H\x1b[J")
        self.assertEqual(len(first.splitlines()), len(second.splitlines()))
        self.assertIn("half of all calls within 1.0 ms", first)
        self.assertEqual(second.splitlines()[-1], STATUS["advice"])

    def test_node_ends(self) -> None:
        """When the node ends: exit code 3, after what was seen."""
        code, lines, error = self.top()
        self.assertEqual((code, len(lines)), (3, 3))
        self.assertIn("has ended", error)

    def test_refused(self) -> None:
        """A wrong token, and something that sends other events, are clear errors."""
        with AdminServer(self.data_dir, {}, TOKEN) as server:
            outcome = run("top", *server.words, "--token-file", __file__)
            self.assertEqual(outcome.code, 2)
        for wrong in (b"event: status\ndata: 5\n\n" * 2, b"event: status\ndata: {\n\n", event(1, 1) * 2):
            with AdminServer(f"{self.data_dir}/{len(wrong)}", {"/v1/events": wrong}) as server:
                outcome = run("top", *server.words)
            self.assertEqual((outcome.code, outcome.error.count("\n")), (3, 1), wrong)
