"""An admin surface for the tests of the commands: scripted answers on a Unix socket or a TCP port."""

import json
import os
import socketserver
import threading
import typing
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from typing import Any

TOKEN = "t" * 43

PEER: dict[str, Any] = {
    "node_id": "ab" * 32,
    "host": "192.0.2.1",
    "port": 8000,
    "shared_bits": 3,
    "rtt": 0.0204,
    "last_seen": 1.5,
    "failures": 2,
    "holds_values": True,
}
STATUS: dict[str, Any] = {
    "version": "1.0",
    "node_id": "cd" * 32,
    "network": "main",
    "role": "node",
    "phase": "working",
    "ready": True,
    "reasons": [],
    "joined": True,
    "cut_off": False,
    "uptime": 7_000.0,
    "p2p_address": "127.0.0.1:8000",
    "api_address": "127.0.0.1:7400",
    "contacts": 12,
    "network_size": 1_400,
    "storage": {
        "records": 1_003,
        "used": 3 << 20,
        "limit": 1 << 30,
        "largest_share": 1 << 20,
        "trouble": None,
    },
    "kept": None,
    "watches": {"clients": 0, "keys": 0, "leases": 0},
    "advice": "All is well.",
}


@typing.final
class AdminServer:
    """Answers each path with the JSON document that `answers` has for it, or with (status, document).

    It listens at `admin.sock` in the folder `data_dir`, or, if a `token` is given, at a port of 127.0.0.1,
    where it wants the token. A document of bytes is sent as it is.
    """

    def __init__(self, data_dir: str, answers: Mapping[str, Any], token: str | None = None) -> None:
        os.makedirs(data_dir, exist_ok=True)
        self.data_dir = data_dir
        self.answers = answers
        self.token = token
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        handler = type("Handler", (_Handler,), {"owner": self})
        if token is None:
            self.server: Any = _UnixServer(os.path.join(data_dir, "admin.sock"), handler)
            self.words: tuple[str, ...] = ("--data-dir", data_dir)
        else:
            self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler)
            with open(os.path.join(data_dir, "admin.token"), "w") as file:
                file.write(f"{token}\n")
            self.address = f"127.0.0.1:{self.server.server_address[1]}"
            self.words = ("--data-dir", data_dir, "--admin-address", self.address)
        self.server.daemon_threads = True
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))

    def __enter__(self) -> "AdminServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()

    @property
    def paths(self) -> list[str]:
        """The paths that were asked for."""
        return [path for _, path, _, _ in self.requests]


class _UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    pass


class _Handler(BaseHTTPRequestHandler):
    owner: AdminServer

    def setup(self) -> None:
        self.client_address = ("", 0)  # Over a Unix socket it has none.
        super().setup()

    def do_GET(self) -> None:
        owner = self.owner
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        owner.requests.append((self.command, self.path, dict(self.headers), body))
        if owner.token is not None and self.headers.get("Authorization") != f"Bearer {owner.token}":
            self._send(401, {"error": "the token is missing or wrong", "hint": "Send it."})
            return
        answer = owner.answers.get(self.path, (404, {"error": "no such page", "hint": ""}))
        self._send(*(answer if isinstance(answer, tuple) else (200, answer)))

    do_POST = do_PUT = do_DELETE = do_GET

    def _send(self, status: int, content: Any) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Write no access log."""
