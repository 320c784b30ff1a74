import json
from typing import Any

from dht14.cmd.trace import WATERFALL, chrome_events, waterfall
from tests.cmd.admin_case import AdminCommandCase

KEY = "3b" * 32


def step(number: int, sent_at: float, ended_at: float | None, outcome: str = "nothing") -> dict[str, Any]:
    return {
        "node_id": f"{number:064x}",
        "host": "127.0.0.1",
        "port": 8000 + number,
        "request": "FindValue",
        "distance_bits": 250,
        "hop": number // 2,
        "named_by": f"{0:064x}" if number > 1 else None,
        "sent_at": sent_at,
        "ended_at": ended_at,
        "outcome": outcome,
        "contacts_named": 8 if outcome == "nothing" else 0,
    }


TRACE: Any = {
    "key": KEY,
    "outcome": "found",
    "seconds": 0.016,
    "hops": 1,
    "steps": [
        step(0, 0.0, 0.004),
        step(1, 0.0, 0.012, "failed"),
        step(2, 0.004, 0.016, "holds"),
        step(3, 0.015, None, "pending"),
    ],
    "value_bytes": 5,
    "version": 7,
}
MISSING: Any = TRACE | {"outcome": "not found", "value_bytes": None, "version": None}


class TextTests(AdminCommandCase):
    """The trace as a picture of letters."""

    def test_summary(self) -> None:
        """The first lines say what was found, and how."""
        lines = waterfall(TRACE)
        self.assertEqual(lines[0], f"key {KEY}")
        self.assertEqual(lines[1], "found: 5 bytes, version 7; 16.0 ms, 4 calls, 1 hop")
        self.assertEqual(waterfall(MISSING)[1], "not found; 16.0 ms, 4 calls, 1 hop")
        nothing = waterfall(MISSING | {"steps": [], "hops": 0, "seconds": 0.0})
        self.assertEqual(nothing, ["not found; 0.0 ms, 0 calls, 0 hops"])

    def test_bars(self) -> None:
        """Each call has its place in the time; one that has not ended goes on to the end."""
        bars = [line.split("|")[1] for line in waterfall(TRACE)[4:]]
        quarter = WATERFALL // 4
        self.assertEqual(bars[0], "=" * quarter + " " * 3 * quarter)
        self.assertEqual(bars[1], "=" * 3 * quarter + " " * quarter)
        self.assertEqual(bars[2], " " * quarter + "=" * 3 * quarter)
        self.assertTrue(bars[3].endswith(">"))
        self.assertEqual({len(bar) for bar in bars}, {WATERFALL})

    def test_no_time(self) -> None:
        """Calls that took no time, or that ended after the get, stay within the picture."""
        for trace in (TRACE | {"seconds": 0.0}, TRACE | {"seconds": 0.001}):
            for line in waterfall(trace)[4:]:
                self.assertEqual(len(line.split("|")[1]), WATERFALL)

    def test_rows(self) -> None:
        """A row has hop, node, address, outcome and milliseconds."""
        row = waterfall(TRACE)[6].split("|")[0].split()
        self.assertEqual(row, ["1", "0" * 16, "127.0.0.1:8002", "holds", "12.0"])
        self.assertIn("nothing, named 8", waterfall(TRACE)[4])


class ChromeTests(AdminCommandCase):
    """The trace for Perfetto."""

    def spans(self, trace: Any) -> list[Any]:
        content: Any = json.loads(json.dumps(chrome_events(trace)))
        return [event for event in content["traceEvents"] if event["ph"] == "X"]

    def test_times(self) -> None:
        """There is a span for the get and one for each call, in microseconds."""
        whole, first, *_, last = self.spans(TRACE)
        self.assertEqual((whole["ts"], whole["dur"], whole["name"]), (0, 16_000, "get: found"))
        self.assertEqual((first["ts"], first["dur"]), (0, 4_000))
        self.assertEqual(first["args"]["node_id"], "0" * 64)
        self.assertEqual((last["ts"], last["dur"]), (15_000, 1_000))
        self.assertEqual(len(self.spans(TRACE)), 5)

    def test_rows(self) -> None:
        """Spans of one row never overlap: a viewer would draw them wrongly."""
        ends: dict[int, int] = {}
        for span in self.spans(TRACE):
            self.assertGreaterEqual(span["ts"], ends.get(span["tid"], 0))
            ends[span["tid"]] = span["ts"] + span["dur"]
        self.assertEqual(len(ends), 3)

    def test_row_is_used_again(self) -> None:
        """A call that begins when another ends takes its row."""
        rows = [span["tid"] for span in self.spans(TRACE)]
        self.assertEqual(rows, [0, 1, 2, 1, 2])


class CommandTests(AdminCommandCase):
    """`dht14 trace`."""

    def trace(self, *words: str, trace: Any) -> tuple[object, bytes]:
        outcome = self.ask("trace", KEY, *words, answers={f"/v1/trace/{KEY}": trace})
        return outcome.code, outcome.out

    def test_pipe(self) -> None:
        """In a pipe: one line for each call."""
        code, out = self.trace(trace=TRACE)
        rows = [line.split("\t") for line in out.decode().splitlines()]
        self.assertEqual(code, 0)
        self.assertEqual(rows[2], ["1", f"{2:064x}", "127.0.0.1:8002", "holds", "4.0", "16.0", "0", "0" * 64])
        self.assertEqual(rows[3][5:], ["-", "0", "0" * 64])

    def test_terminal(self) -> None:
        """On a terminal: the picture."""
        printed = self.ask_at_terminal("trace", KEY, answers={f"/v1/trace/{KEY}": TRACE})
        self.assertEqual(printed.splitlines(), waterfall(TRACE))

    def test_text(self) -> None:
        """--format text: the picture in a pipe, too."""
        self.assertEqual(
            self.trace("--format", "text", trace=TRACE)[1].decode().splitlines(), waterfall(TRACE)
        )

    def test_json(self) -> None:
        """--json and --format json are the answer of the node."""
        self.assertEqual(json.loads(self.trace("--json", trace=TRACE)[1]), TRACE)

    def test_chrome(self) -> None:
        """--format chrome is one JSON document."""
        self.assertEqual(json.loads(self.trace("--format", "chrome", trace=TRACE)[1]), chrome_events(TRACE))

    def test_not_found(self) -> None:
        """What is not found is exit code 1, and the trace is shown all the same; not ready is 3."""
        code, out = self.trace("--format", "json", trace=MISSING)
        self.assertEqual((code, json.loads(out)), (1, MISSING | {"error": "not_found"}))

    def test_not_ready(self) -> None:
        """A node that is not ready is exit code 3."""
        self.assertEqual(self.trace(trace=MISSING | {"outcome": "not ready"})[0], 3)

    def test_missing_in_pipe(self) -> None:
        """In a pipe stderr says how the get ended."""
        outcome = self.ask("trace", KEY, answers={f"/v1/trace/{KEY}": MISSING})
        self.assertEqual((outcome.code, outcome.error), (1, "not found; 16.0 ms, 4 calls, 1 hop\n"))

    def test_unknown_format(self) -> None:
        """An unknown format is wrong usage."""
        outcome = self.ask("trace", KEY, "--format", "svg", answers={})
        self.assertEqual(outcome.code, 2)
