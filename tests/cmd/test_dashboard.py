import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
import webbrowser
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dht14.cmd import dashboard
from tests.cmd.admin_case import AdminCommandCase
from tests.cmd.admin_server import STATUS, TOKEN, AdminServer
from tests.cmd.shell import Outcome, run
from tests.process.nodes import TIMEOUT, environment

EMPTY: dict[str, Any] = {"records": [], "next": None}
ANSWERS: dict[str, Any] = {"/v1/status": STATUS, "/v1/records?limit=1": EMPTY}


class LinkTests(AdminCommandCase):
    """`dht14 dashboard`, of a node at HOST:PORT."""

    def dashboard(self, *words: str, answers: dict[str, Any] | None = None) -> Outcome:
        with AdminServer(self.data_dir, ANSWERS if answers is None else answers, TOKEN) as self.server:
            return run("dashboard", *self.server.words, *words)

    def test_link(self) -> None:
        """The link has the token in its fragment."""
        outcome = self.dashboard()
        link = f"http://{self.server.address}/#token={TOKEN}"
        self.assertEqual((outcome.code, outcome.out.decode()), (0, f"{link}\n"))
        again = self.dashboard("--json")
        self.assertEqual(json.loads(again.out), {"url": f"http://{self.server.address}/#token={TOKEN}"})

    def test_not_ready(self) -> None:
        """A node that has no id yet has a dashboard already."""
        busy = (503, {"error": "the node has not started", "hint": "See /readyz."})
        self.assertEqual(self.dashboard(answers={"/v1/records?limit=1": busy}).code, 0)

    def test_wrong_token(self) -> None:
        """A link that would not work is not printed."""
        with AdminServer(self.data_dir, ANSWERS, TOKEN) as server:
            (Path(self.data_dir) / "admin.token").write_text("another")
            outcome = run("dashboard", *server.words)
        self.assertEqual((outcome.code, outcome.out), (3, b""))

    def test_port(self) -> None:
        """--port is for a node that has only its socket."""
        self.assertEqual(self.dashboard("--port", "9").code, 2)

    def test_open(self) -> None:
        """A browser is given a file that only this user can read: its arguments are seen by everybody."""
        opened: list[tuple[str, int, str]] = []

        def remember(url: str) -> bool:
            path = Path(url.removeprefix("file://"))
            opened.append((url, stat.S_IMODE(path.stat().st_mode), path.read_text()))
            return False

        self.patch(webbrowser, "open", remember)
        self.patch(dashboard, "LOADING_TIME", 0)
        outcome = self.dashboard("--open")
        ((url, mode, page),) = opened
        self.assertNotIn(TOKEN, url)
        self.assertEqual(mode, 0o600)
        self.assertIn(f"http://{self.server.address}/#token={TOKEN}", page)
        self.assertIn("no browser was found", outcome.error)
        self.assertFalse(os.path.exists(url.removeprefix("file://")))


class ServedTests(AdminCommandCase):
    """`dht14 dashboard`, of a node that has only its socket."""

    def setUp(self) -> None:
        super().setUp()
        answers: dict[str, Any] = {
            "/": b"<html>",
            "/page.js": b"js",
            "/v1/status": STATUS,
            "/v1/values/k": {"key": "k"},
            "/v1/missing": (404, {"error": "no such page", "hint": ""}),
        }
        self.server = AdminServer(self.data_dir, answers)
        self.server.__enter__()
        self.addCleanup(self.server.__exit__)
        # A shell starts what runs in the background with this signal ignored.
        listen = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
        code = f"{listen}; import sys; from dht14.cmd.main import main; sys.exit(main())"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, "dashboard", "--data-dir", self.data_dir],
            env=environment({}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(self.end)
        assert self.process.stdout is not None
        link = urlsplit(self.process.stdout.readline().strip())
        assert link.hostname is not None and link.port is not None
        self.place = (link.hostname, link.port)
        self.token = link.fragment.removeprefix("token=")

    def end(self) -> tuple[int, str]:
        """Type Ctrl-C; return the exit code and stderr."""
        self.process.send_signal(signal.SIGINT)
        _, error = self.process.communicate(timeout=TIMEOUT)
        return self.process.returncode, error

    def fetch(
        self, path: str, method: str = "GET", body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> HTTPResponse:
        """Ask with the right token unless another is given."""
        connection = HTTPConnection(*self.place, timeout=TIMEOUT)
        self.addCleanup(connection.close)
        all_headers = {"Authorization": f"Bearer {self.token}"} | (headers or {})
        connection.request(method, path, body, {k: v for k, v in all_headers.items() if v})
        return connection.getresponse()

    def test_passes_on(self) -> None:
        """With the token of the link every page of the node is there, with its status."""
        self.assertEqual(self.place[0], "127.0.0.1")
        self.assertEqual(json.loads(self.fetch("/v1/status").read()), STATUS)
        response = self.fetch("/v1/missing")
        self.assertEqual((response.status, json.loads(response.read())["error"]), (404, "no such page"))
        self.assertEqual(self.fetch("/v1/values/k", "PUT", b"value").status, 200)
        method, _, headers, body = self.server.requests[-1]
        self.assertEqual((method, body), ("PUT", b"value"))
        self.assertNotIn("Authorization", headers)

    def test_page_needs_no_token(self) -> None:
        """The files of the page come without a token; everything else wants it, for every verb."""
        self.assertEqual(self.fetch("/", headers={"Authorization": ""}).read(), b"<html>")
        self.assertEqual(self.fetch("/page.js", headers={"Authorization": ""}).read(), b"js")
        before = len(self.server.requests)
        for authorization in ("", "Bearer wrong", f"Basic {self.token}"):
            for method in ("GET", "HEAD", "POST", "PUT", "DELETE"):
                for path in ("/v1/status", "/healthz", "/?", "//v1/status", "/page.js/../v1/status"):
                    response = self.fetch(path, method, headers={"Authorization": authorization})
                    self.assertIn(response.status, (401, 405), (method, path))
                    response.read()
        self.assertNotIn("/v1/status", self.server.paths[before:])

    def test_foreign_pages(self) -> None:
        """A rebound Host and a foreign Origin are refused, even with the token."""
        before = len(self.server.requests)
        for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"}):
            for method in ("GET", "POST", "PUT", "DELETE"):
                self.assertEqual(self.fetch("/v1/status", method, headers=headers).status, 403, headers)
        self.assertEqual(len(self.server.requests), before)
        own = f"http://{self.place[0]}:{self.place[1]}"
        self.assertEqual(self.fetch("/v1/status", headers={"Origin": own}).status, 200)

    def test_bodies(self) -> None:
        """A body that is too long, or without length, is refused."""
        path = "/v1/values/k"
        self.assertEqual(self.fetch(path, "PUT", headers={"Content-Length": "99999999"}).status, 413)
        self.assertEqual(self.fetch(path, "PUT", headers={"Content-Length": "-1"}).status, 411)
        self.assertEqual(self.fetch(path, "PUT", headers={"Transfer-Encoding": "chunked"}).status, 411)

    def test_node_ends(self) -> None:
        """Without the node the answer says so."""
        os.unlink(os.path.join(self.data_dir, "admin.sock"))
        response = self.fetch("/v1/status")
        self.assertEqual(response.status, 502)
        self.assertEqual(json.loads(response.read())["error"], "the node does not answer")

    def test_interrupt(self) -> None:
        """Ctrl-C ends it, with 0: that is how it is meant to end."""
        code, error = self.end()
        self.assertEqual((code, error), (0, "Serving the page of the node until Ctrl-C.\n"))

    def test_tokens_differ(self) -> None:
        """The token is made for this run."""
        self.assertTrue(re.fullmatch("[A-Za-z0-9_-]{43}", self.token))
        self.assertFalse(os.path.exists(os.path.join(self.data_dir, "admin.token")))


class RefusedTests(AdminCommandCase):
    """What cannot be served."""

    def test_no_node(self) -> None:
        """Without a node nothing is served."""
        began = time.monotonic()
        outcome = run("dashboard", "--data-dir", self.data_dir)
        self.assertEqual((outcome.code, outcome.out), (3, b""))
        self.assertLess(time.monotonic() - began, TIMEOUT)

    def test_port_in_use(self) -> None:
        """A port that is taken is named."""
        with AdminServer(self.data_dir, {"/v1/status": STATUS}) as server:
            elsewhere = AdminServer(f"{self.data_dir}/other", {}, TOKEN)
            with elsewhere:
                port = elsewhere.address.rpartition(":")[2]
                outcome = run("dashboard", *server.words, "--port", port)
        self.assertEqual(outcome.code, 2)
        self.assertIn(f"port {port}", outcome.error)
