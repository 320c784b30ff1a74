import json
import os
from typing import Any

from dht14.app.options import LogLevel
from dht14.cmd import inspect
from tests.cmd.admin_case import AdminCommandCase
from tests.cmd.admin_server import PEER, STATUS


class StatusTests(AdminCommandCase):
    """`dht14 status`."""

    def status(self, **changes: Any) -> list[str]:
        outcome = self.ask("status", answers={"/v1/status": STATUS | changes})
        self.assertEqual((outcome.code, outcome.error), (0, ""))
        os.unlink(f"{self.data_dir}/admin.sock")
        return outcome.out.decode().splitlines()

    def test_lines(self) -> None:
        """About ten lines; the last says what to do."""
        lines = self.status()
        self.assertEqual(lines[0], f"node      {'cd' * 32}")
        self.assertIn("state     ready", lines)
        self.assertIn("contacts  12 of about 1,400 nodes", lines)
        self.assertIn("records   1,003", lines)
        self.assertIn("storage   3.0 MiB of 1.0 GiB, 1.0 MiB of it held for the largest writer", lines)
        self.assertEqual(lines[-1], "All is well.")
        self.assertLessEqual(len(lines), 12)

    def test_watches(self) -> None:
        """Watches have their line once there are any."""
        self.assertFalse([line for line in self.status() if line.startswith("watches")])
        lines = self.status(watches={"clients": 1200, "keys": 7, "leases": 3})
        self.assertIn("watches   of clients: 1,200, of keys: 7", lines)

    def test_not_ready(self) -> None:
        """A node that is not ready, or alone, says so, and why."""
        lines = self.status(
            ready=False, reasons=["opening the database"], node_id=None, storage=None, api_address=None
        )
        self.assertIn("state     not ready: opening the database", lines)
        self.assertIn("API       none", lines)
        self.assertIn("proof of work", lines[0])
        alone = self.status(joined=False, network_size=None, advice="Check [bootstrap].")
        self.assertIn("state     ready, but alone: no other node answers", alone)
        self.assertEqual(alone[-1], "Check [bootstrap].")

    def test_json(self) -> None:
        """--json is the answer of the node."""
        outcome = self.ask("status", "--json", answers={"/v1/status": STATUS})
        self.assertEqual(json.loads(outcome.out), STATUS)


class ListTests(AdminCommandCase):
    """`dht14 peers`, `table`, `keys` and `locate`."""

    def test_peers(self) -> None:
        """In a pipe: whole ids, tabs, no head. On a terminal: a head and aligned columns."""
        answers = {"/v1/peers": {"peers": [PEER, PEER | {"holds_values": False, "port": 9}]}}
        outcome = self.ask("peers", answers=answers)
        first, second = outcome.out.decode().splitlines()
        self.assertEqual(first.split("\t"), ["ab" * 32, "192.0.2.1:8000", "3", "20.4", "1.5", "2", "yes"])
        self.assertTrue(second.endswith("\tno"))

    def test_peers_at_terminal(self) -> None:
        """On a terminal: a head, aligned columns, the beginning of ids."""
        text = self.ask_at_terminal("peers", answers={"/v1/peers": {"peers": [PEER]}})
        head, row = text.splitlines()
        self.assertTrue(head.startswith("NODE "))
        self.assertEqual(head.index("ADDRESS"), row.index("192.0.2.1"))
        self.assertIn("abababababababab  ", row)
        self.assertNotIn("\t", text)

    def test_other_shape(self) -> None:
        """An answer with other fields is no traceback."""
        shapes: list[Any] = [[{"id": 1}], [3], {}, None]
        for peers in shapes:
            outcome = self.ask("peers", answers={"/v1/peers": {"peers": peers}})
            self.assertEqual((outcome.code, outcome.error.count("\n")), (3, 1))
            os.unlink(f"{self.data_dir}/admin.sock")

    def test_hostile_text(self) -> None:
        """What would steer a terminal is escaped."""
        answers = {"/v1/peers": {"peers": [PEER | {"host": "\x1b[2J"}]}}
        self.assertNotIn("\x1b", self.ask_at_terminal("peers", answers=answers))

    def test_json(self) -> None:
        """--json is the answer of the node."""
        empty: dict[str, Any] = {"buckets": []}
        outcome = self.ask("table", "--json", answers={"/v1/table": empty})
        self.assertEqual(json.loads(outcome.out), empty)

    def test_table(self) -> None:
        """A line for each bucket; a lookup that was never made is a dash."""
        bucket = {
            "depth": 4,
            "capacity": 20,
            "contacts": [PEER, PEER | {"failures": 0}],
            "replacements": 3,
            "last_lookup": None,
        }
        outcome = self.ask("table", answers={"/v1/table": {"buckets": [bucket]}})
        self.assertEqual(outcome.out, b"4\t2\t20\t3\t1\t-\n")


class LogLevelTests(AdminCommandCase):
    """`dht14 log-level`."""

    def test_changed(self) -> None:
        """The level is posted; the answer says which is in force."""
        outcome = self.ask("log-level", "debug", answers={"/v1/loglevel?level=debug": {"level": "debug"}})
        self.assertEqual((outcome.code, outcome.out), (0, b"debug\n"))
        self.assertEqual(self.server.requests[0][0], "POST")

    def test_unknown(self) -> None:
        """An unknown level is wrong usage; the known ones are those of the node."""
        outcome = self.ask("log-level", "debugg", answers={})
        self.assertEqual(outcome.code, 2)
        self.assertIn("did you mean debug?", outcome.error)
        self.assertEqual(list(inspect.LOG_LEVELS), [level.value for level in LogLevel])
