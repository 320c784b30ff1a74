"""Serves the dashboard of a node that has only its socket, at a port of 127.0.0.1.

The socket is for its owner alone, and every user of this host can connect to the port. So all requests need
the token of this server, but for the files of the page itself: a browser loads these before the page can
send a token. `Host` and `Origin` are checked as the node does (`net/admin/access.py`).
"""

import json
import socket
import sys
import threading
from http.client import HTTPException, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from dht14.cmd.admin_client import AdminClient
from dht14.kademlia.parameters import MAX_VALUE
from dht14.net.admin.access import AccessRules

PAGE_FILES = ("/", "/page.css", "/page.js")
"""The paths that need no token; the same for every node."""

MAX_CONNECTIONS = 32
IDLE_TIMEOUT = 30.0
"""Seconds in which a browser must send its request, and take what is sent to it."""

_PASSED_ON = ("Accept", "Content-Type")
_PASSED_BACK = (
    "Allow",
    "Cache-Control",
    "Content-Length",
    "Content-Security-Policy",
    "Content-Type",
    "Referrer-Policy",
    "Retry-After",
    "X-Content-Type-Options",
)


class DashboardServer(ThreadingHTTPServer):
    """Passes requests with the right token on to the socket of a node."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, client: AdminClient, token: str, port: int) -> None:
        self.client = client
        self.rules = AccessRules(token)
        self._free = threading.Semaphore(MAX_CONNECTIONS)
        super().__init__(("127.0.0.1", port), _Passage)

    @property
    def at(self) -> tuple[str, int]:
        """The address where it listens."""
        host, port = self.socket.getsockname()
        return str(host), int(port)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Accept a connection, unless there are too many."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection in its thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """End quietly a connection that the browser has ended; print the traceback of a bug."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Passage(BaseHTTPRequestHandler):
    """One request on its way to the node and back. Each has a connection of its own."""

    protocol_version = "HTTP/1.1"
    timeout = IDLE_TIMEOUT
    server: DashboardServer

    def _pass(self) -> None:
        self.close_connection = True
        body = self._body() if self._is_admitted() else None
        if body is None:
            return
        connection = None
        try:
            connection = self.server.client.connection()
            headers = {name: text for name in _PASSED_ON if (text := self.headers.get(name)) is not None}
            connection.request(self.command, self.path, body or None, headers)
            response = connection.getresponse()
        except (OSError, HTTPException):
            self._refuse(502, "the node does not answer", "Is it running? See dht14 status.")
        else:
            self._send_back(response)
        finally:
            if connection is not None:
                connection.close()

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _pass

    def _is_admitted(self) -> bool:
        """Check who sends the request, and answer it if it is refused."""
        host, rules = self.headers.get("Host"), self.server.rules
        if not rules.accepts_host(host):
            self._refuse(403, "this server is not known by that name", "Use the link of dht14 dashboard.")
        elif not rules.accepts_origin(self.headers.get("Origin"), host):
            self._refuse(403, "a page of another origin sent this request")
        elif self.path not in PAGE_FILES and not rules.accepts_token(self.headers.get("Authorization")):
            self._refuse(401, "the token is missing or wrong", "Use the link of dht14 dashboard.")
        elif self.path in PAGE_FILES and self.command not in ("GET", "HEAD"):
            self._refuse(405, f"{self.command} is not possible here", "Possible are: GET, HEAD.")
        else:
            return True
        return False

    def _body(self) -> bytes | None:
        """Return the body of the request; None if it was refused."""
        text = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not (text.isascii() and text.isdigit()):
            self._refuse(411, "the length of the body is missing", "Send Content-Length.")
        elif len(text) > 9 or int(text) > MAX_VALUE:
            self._refuse(413, f"a value has at most {MAX_VALUE} bytes")
        else:
            return self.rfile.read(int(text))
        return None

    def _send_back(self, response: HTTPResponse) -> None:
        self.send_response(response.status)
        for name, text in response.getheaders():
            if name.title() in map(str.title, _PASSED_BACK) or name.lower().startswith("x-dht14-"):
                self.send_header(name, text)
        self.send_header("Connection", "close")
        self.end_headers()
        try:
            # An event is passed on as soon as it is there; the node sends one every second.
            while piece := response.read1(1 << 16):
                self.wfile.write(piece)
        except (HTTPException, OSError):
            # The node has ended, or the browser: it sees that the answer is incomplete.
            self.connection.shutdown(socket.SHUT_RDWR)

    def _refuse(self, status: int, error: str, hint: str = "") -> None:
        body = json.dumps({"error": error, "hint": hint}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Write no access log: paths name keys."""

    def version_string(self) -> str:
        """Return the header `Server`, without versions."""
        return "DHT-14"
