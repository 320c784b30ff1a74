"""The other clients of a soak: those that watch, that keep values, that scrape, and that come and go."""

import contextlib
import random
import socket
import struct
import time
from collections import deque
from http.client import HTTPException

from attrs import define, field

from dht14 import Client
from dht14.client.errors import DhtError
from dht14.kademlia.keyspace import id_to_bytes
from dht14.wire import api_messages
from tests.process.nodes import VoidPhone
from tests.process.soak_clients import API_TIMEOUT, SHORT_TTL, Clients
from tests.process.soak_nodes import SoakNode

WATCHED = 6
"""Keys that are watched, each at another node."""
KEPT = 8
"""Values that are kept at a time."""
READ_SECONDS = 10.0
"""Before the change is told, in which the read began that found it; it takes at most 5."""
NEWS_SECONDS = 40.0
"""Within which a watch tells the last value: it reads its key every 20 s, whatever happens."""


@define(eq=False)
class Watcher:
    """One watch, over all lives of its node."""

    key: int
    node: SoakNode
    client: Client
    last: bytes | None = None
    """What it was told last."""
    version: int = 0
    """Of an owner's value that it was told last."""


@define(eq=False)
class Kept:
    """A value that a node keeps."""

    node: SoakNode
    key: bytes
    value: bytes
    since: float


@define(eq=False)
class Guests:
    """They begin with `start` and end with those of `clients`."""

    clients: Clients
    watchers: list[Watcher] = field(factory=list, init=False)
    kept: deque[Kept] = field(factory=deque, init=False)
    _open: deque[socket.socket] = field(factory=deque, init=False)
    """Connections that are left open for a while."""
    _turn: int = field(default=0, init=False)

    def start(self, scrape_seconds: float = 15.0) -> None:
        """Start the threads. Each node is scraped once in this time."""
        clients = self.clients
        clients.repeat(self._scrape, scrape_seconds / len(clients.nodes))
        clients.repeat(self._come_and_go, 4 / clients.rate)
        clients.repeat(self._keep, 40 / clients.rate)
        for number, key in enumerate(clients.watchable(WATCHED)):
            node = clients.nodes[number % len(clients.nodes)]
            watcher = Watcher(key, node, Client(node.api_address, timeout=API_TIMEOUT))
            self.watchers.append(watcher)
            clients.begin(lambda watcher=watcher: self._watch(watcher))  # type: ignore[misc]

    def stop(self) -> None:
        """End the watches; the connections that are left open are closed."""
        for watcher in self.watchers:
            watcher.client.close()
        for one in self._open:
            one.close()

    # Watches

    def _watch(self, watcher: Watcher) -> None:
        """What is told is what a get finds at that moment, and is judged like one: while a put is under way,
        a watch may tell its value and then, once more, the one before it."""
        clients = self.clients
        for value in watcher.client.watch(id_to_bytes(watcher.key)):
            watcher.last = None if value is None else value.envelope or value.value
            now, went_back = time.monotonic(), False
            if value is not None and value.kind == "owner" and value.version is not None:
                went_back, watcher.version = value.version < watcher.version, value.version
            with clients.lock:
                clients.counts["changes told by watches"] += 1
                clients.counts["of these, an older version than before"] += went_back
                clients.history.get_responded(
                    watcher.key, watcher.last, now - READ_SECONDS, now, f"a watch at {watcher.node.name}"
                )

    def wait_for_news(self) -> None:
        """Return when each watch was told what its node gets; what is not told in time is a breach."""
        deadline = time.monotonic() + NEWS_SECONDS
        behind = list(self.watchers)
        while behind and time.monotonic() < deadline:
            time.sleep(1.0)
            behind = [watcher for watcher in behind if watcher.last != _now(watcher)]
        for watcher in behind:
            self.clients.breach(f"a watch at {watcher.node.name} was not told the last value")

    # Kept values

    def _keep(self) -> None:
        """Let a node keep one more value, or let the oldest go; look whether the others are there."""
        clients = self.clients
        node = clients.any_node()
        with contextlib.suppress(OSError, HTTPException, DhtError):
            self._look(node)
            if len(self.kept) >= KEPT:
                one = self.kept[0]
                with one.node.http("DELETE", f"v1/kept/{one.key.hex()}") as response:
                    response.read()
                    if response.status == 200:
                        self.kept.popleft()
                        clients.count("kept values let go")
            else:
                with clients.lock:
                    key, value = clients.rng.randbytes(32), clients.rng.randbytes(200)
                with Client(node.api_address, timeout=API_TIMEOUT) as client:
                    version = client.put(value, key=key, ttl=SHORT_TTL).version
                path = f"v1/kept/{key.hex()}?ttl={SHORT_TTL}&version={version}"
                with node.http("PUT", path, value) as response:
                    response.read()
                    if response.status == 200:
                        self.kept.append(Kept(node, key, value, time.monotonic()))
                        clients.count("values kept")

    def _look(self, node: SoakNode) -> None:
        for one in list(self.kept):
            with VoidPhone(node.api_port, API_TIMEOUT) as client:
                found = client.get(one.key)
            self.clients.count("gets of kept values")
            if found != one.value:
                age = time.monotonic() - one.since
                self.clients.breach(f"{node.name} did not find a value kept for {age:.0f} s")

    def look_for_kept(self) -> None:
        """Look for all kept values at each node."""
        for node in self.clients.nodes:
            self._look(node)

    # Scrapes, and connections that come and go

    def _scrape(self) -> None:
        """What operators and their programs ask, at the next node."""
        clients = self.clients
        node = clients.nodes[self._turn % len(clients.nodes)]
        self._turn += 1
        life = node.lives
        pages = ["metrics"] + ["v1/status", "v1/peers", "v1/kept", "readyz"] * (self._turn % 4 == 0)
        for page in pages:
            try:
                with node.http("GET", page) as response:
                    response.read()
                clients.count("HTTP requests")
            except (OSError, HTTPException) as error:
                clients.unanswered(node, life, error)

    def _come_and_go(self) -> None:
        clients = self.clients
        node = clients.any_node()
        with clients.lock:
            rng = random.Random(clients.rng.random())
        with contextlib.suppress(OSError, HTTPException):
            rng.choice((_idle, _cut, _reset, _noise, _greedy, _listen))(self, node, rng)
            clients.count("connections that came and went")
        while len(self._open) > 20 or (self._open and rng.random() < 0.3):
            self._open.popleft().close()

    def leave_open(self, connection: socket.socket) -> None:
        """Close it later."""
        self._open.append(connection)


def _now(watcher: Watcher) -> bytes | None:
    with VoidPhone(watcher.node.api_port, API_TIMEOUT) as client:
        return client.get(id_to_bytes(watcher.key))


def _connected(node: SoakNode) -> socket.socket:
    return socket.create_connection(("127.0.0.1", node.api_port), API_TIMEOUT)


def _idle(guests: Guests, node: SoakNode, rng: random.Random) -> None:
    guests.leave_open(_connected(node))


def _cut(guests: Guests, node: SoakNode, rng: random.Random) -> None:
    """Half a frame."""
    connection = _connected(node)
    connection.sendall(api_messages.encode_put(60, 8, rng.randbytes(32), bytes(5_000))[:3_000])
    guests.leave_open(connection)


def _reset(guests: Guests, node: SoakNode, rng: random.Random) -> None:
    """A request, and a reset at once."""
    with _connected(node) as connection:
        connection.sendall(api_messages.encode_get(rng.randbytes(32)))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _noise(guests: Guests, node: SoakNode, rng: random.Random) -> None:
    """Another protocol."""
    with _connected(node) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n" + rng.randbytes(100))
        connection.recv(100)


def _greedy(guests: Guests, node: SoakNode, rng: random.Random) -> None:
    """Many requests, whose replies nobody reads."""
    with _connected(node) as connection:
        connection.sendall(b"".join(api_messages.encode_get(rng.randbytes(32)) for _ in range(10)))


def _listen(guests: Guests, node: SoakNode, rng: random.Random) -> None:
    """A reader of the event stream, for a moment."""
    with node.http("GET", "v1/events") as response:
        response.read(200)
