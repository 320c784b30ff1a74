import json
import os
import subprocess
import sys
from typing import Any

from dht14.cmd import pages
from tests.cmd.admin_case import AdminCommandCase
from tests.cmd.admin_server import AdminServer
from tests.process.nodes import TIMEOUT, environment

KEY = "3b" * 32
RECORD: dict[str, Any] = {
    "key": KEY,
    "kind": "open",
    "version": 7,
    "bytes": 5,
    "replication": 8,
    "expires_in": 600.04,
    "cached": False,
    "deleted": False,
}
HOLDER: dict[str, Any] = {
    "node_id": "ab" * 32,
    "host": "2001:db8::1",
    "port": 8000,
    "this_node": False,
    "outcome": "holds",
    "version": 7,
    "kind": "open",
    "bytes": 5,
    "expires_in": 600.0,
    "seconds": 0.0123,
}
SILENT = HOLDER | dict.fromkeys(("version", "kind", "bytes", "expires_in")) | {"outcome": "no answer"}


class LocateTests(AdminCommandCase):
    """`dht14 locate`."""

    def test_locate(self) -> None:
        """The holders of a key; a text is a key, as everywhere."""
        answers = {f"/v1/locate/{KEY}": {"key": KEY, "holders": [HOLDER, SILENT]}}
        outcome = self.ask("locate", KEY, answers=answers)
        first, second = outcome.out.decode().splitlines()
        self.assertEqual(outcome.code, 0)
        self.assertEqual(
            first.split("\t"),
            ["ab" * 32, "[2001:db8::1]:8000", "holds", "7", "open", "5", "600.0", "12.3"],
        )
        self.assertIn("\tno answer\t-\t-\t-\t-\t", second)

    def test_locate_nothing(self) -> None:
        """If nobody holds the key: exit code 1, and the list all the same."""
        answers = {f"/v1/locate/{KEY}": {"key": KEY, "holders": [SILENT]}}
        outcome = self.ask("locate", KEY, "--json", answers=answers)
        self.assertEqual(outcome.code, 1)
        self.assertEqual(json.loads(outcome.out), {"key": KEY, "holders": [SILENT], "error": "not_found"})

    def test_locate_alone(self) -> None:
        """A node that knows no other says so."""
        outcome = self.ask("locate", KEY, answers={f"/v1/locate/{KEY}": {"key": KEY, "holders": []}})
        self.assertEqual((outcome.code, outcome.out), (1, b""))
        self.assertIn("no other node can be asked", outcome.error)

    def test_bad_key(self) -> None:
        """What looks like a key and is none is wrong usage, and nothing is asked."""
        outcome = self.ask("locate", "0x12", answers={})
        self.assertEqual((outcome.code, self.server.requests), (2, []))


class KeysTests(AdminCommandCase):
    """`dht14 keys`."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(pages, "PAGE", 2)
        records = [RECORD | {"version": n} for n in range(5)]
        self.answers = {
            "/v1/records?limit=2": {"records": records[:3], "next": "aa"},
            "/v1/records?after=aa&limit=2": {"records": records[3:], "next": None},
            "/v1/records?after=aa&limit=1": {"records": records[3:], "next": None},
        }

    def test_all_pages(self) -> None:
        """It follows the cursor to the end."""
        outcome = self.ask("keys", answers=self.answers)
        rows = [line.split("\t") for line in outcome.out.decode().splitlines()]
        self.assertEqual([row[3] for row in rows], list("01234"))
        self.assertEqual(rows[0], [KEY, "open", "5", "0", "8", "600.0", "held"])

    def test_terminal(self) -> None:
        """There is one head, and the columns of all pages are aligned."""
        lines = self.ask_at_terminal("keys", answers=self.answers).splitlines()
        self.assertEqual([line.startswith("KEY") for line in lines], [True] + [False] * 5)
        self.assertEqual(len({line.index("held") for line in lines[1:]}), 1)

    def test_reader_ends(self) -> None:
        """When the reader of the pipe has ended, no other page is asked for."""
        reader, writer = os.pipe()
        os.close(reader)
        with AdminServer(self.data_dir, self.answers) as server, open(writer, "wb") as closed:
            command = (
                "import sys; from dht14.cmd import pages; pages.PAGE = 2; from dht14.cmd.main import main"
            )
            done = subprocess.run(
                [sys.executable, "-c", f"{command}; sys.exit(main())", "keys", *server.words],
                stdout=closed,
                stderr=subprocess.PIPE,
                env=environment({}),
                timeout=TIMEOUT,
                check=False,
            )
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.assertEqual(server.paths, ["/v1/records?limit=2"])

    def test_limit(self) -> None:
        """--limit ends the list, even if a page has more records than were asked for."""
        outcome = self.ask("keys", "--limit", "4", "--json", answers=self.answers)
        self.assertEqual([record["version"] for record in json.loads(outcome.out)["records"]], [0, 1, 2, 3])

    def test_limit_of_one(self) -> None:
        """Where the limit is reached, no other page is asked for."""
        answers = {"/v1/records?limit=1": {"records": [RECORD, RECORD], "next": "aa"}}
        outcome = self.ask("keys", "--limit", "1", answers=answers)
        self.assertEqual((outcome.code, outcome.out.count(b"\n")), (0, 1))

    def test_states(self) -> None:
        """A tombstone and a cached copy are distinguished."""
        records = [RECORD | {"deleted": True}, RECORD | {"cached": True}]
        outcome = self.ask("keys", answers={"/v1/records?limit=2": {"records": records, "next": None}})
        self.assertEqual(
            [line.split("\t")[-1] for line in outcome.out.decode().splitlines()], ["deleted", "cached"]
        )
