"""A target of several steps: the admin surface over HTTP, with several connections at once."""

import json
from collections.abc import Iterator
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.logger import capturedLogs

from dht14.kademlia.keyspace import hash_id
from dht14.metrics import Family, Sample, Series
from dht14.net.admin.access import AccessRules
from dht14.net.admin.site import AdminParts, admin_factory
from tests.fuzz.steps import step, steps
from tests.net.admin.case import GONE, FakeView

TOKEN = "c3VwZXJzZWNyZXQtdG9rZW4tb2YtYS1mdXp6ZXI"
REQUESTS = Family("dht14_fuzz_requests_total", "Requests.")
HOST = b"Host: 127.0.0.1:7480"
WITH_TOKEN = b"Authorization: Bearer " + TOKEN.encode()
VERBS = (b"GET", b"PUT", b"POST", b"DELETE", b"HEAD", b"OPTIONS", b"PATCH", b"BREW")
PATHS = (
    *(b"/", b"/page.js", b"/healthz", b"/readyz", b"/metrics", b"/openapi.json", b"/nothing", b"/v1"),
    *(b"/v1/status", b"/v1/peers", b"/v1/table", b"/v1/records", b"/v1/records?limit=5&after=ab"),
    *(
        b"/v1/values/key",
        b"/v1/values/key?ttl=60&replication=8",
        b"/v1/values/bad",
        b"/v1/values/" + b"0" * 64,
    ),
    *(b"/v1/kept", b"/v1/kept/key?version=1", b"/v1/kept?ttl=60", b"/v1/locate/key", b"/v1/trace/key"),
    *(b"/v1/events", b"/v1/watch/key", b"/v1/nodes?limit=7", b"/v1/loglevel?level=debug", b"/v1/loglevel"),
    *(b"/v1/files", b"/v1/files/key", b"/v1/files?ttl=60"),
)
HEADERS = (
    *(HOST, b"Host: node.example", b"Host: evil.example", b"Origin: http://127.0.0.1:7480", b"Origin: null"),
    *(b"Transfer-Encoding: chunked", b"Connection: close", b"Expect: 100-continue", b"Range: bytes=0-3"),
    *(
        b"Authorization: Bearer",
        b"Authorization: Basic eDp5",
        b"Accept: text/event-stream",
        b"Content-Length: 3",
    ),
    *(b"Accept: application/openmetrics-text", b"Content-Type: application/json", b"Accept-Encoding: gzip"),
)
CONNECTIONS = 4

RAW, ASK, ASK_WITH_TOKEN, LEAVE, WAIT, ANSWER, PAUSE, RESUME = range(8)
KINDS = 8


class Browser:
    """Clients on some connections, and the view that they ask."""

    def __init__(self) -> None:
        self.clock = MemoryReactorClock()
        self.view = FakeView()
        self.factory = admin_factory(
            AdminParts(
                view=self.view,
                samples=lambda: [Sample(Series(REQUESTS, {"method": "ping"}), 5)],
                version="0.0",
                parse_key=_parse_key,
                set_log_level=self.view.levels.append,
                clock=self.clock,
            ),
            AccessRules(TOKEN, ("node.example",)),
        )
        self.connections: dict[int, tuple[Any, Any]] = {}
        self.answers: list[bytes] = []
        """All that was sent, by connection."""
        self.has_token = False
        """Whether any request had the token."""

    def take(self, what: int, data: bytes) -> None:
        """One step. The first byte of `data` names the connection."""
        number, rest = sum(data[:1]) % CONNECTIONS, data[1:]
        if what == RAW:
            self.say(number, rest)
        elif what in (ASK, ASK_WITH_TOKEN):
            self.has_token = self.has_token or what == ASK_WITH_TOKEN
            self.say(number, request(rest, WITH_TOKEN if what == ASK_WITH_TOKEN else b"X-None: 1"))
        elif what == LEAVE:
            self.leave(number)
        elif what == WAIT:
            for _ in range(min(sum(data[:1]), 70)):
                self.clock.advance(1.0)
        elif what == ANSWER:
            for stream in self.view.streams:
                if not stream.called:
                    stream.callback(None)
        elif number in self.connections:
            producer = self.connections[number][1].producer
            if producer is not None and what == PAUSE:
                producer.pauseProducing()
            elif producer is not None:
                producer.resumeProducing()
        self.close_what_ended()

    def say(self, number: int, data: bytes) -> None:
        if number not in self.connections:
            channel = self.factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 50_000))
            assert channel is not None
            transport = StringTransport()
            channel.makeConnection(transport)
            self.connections[number] = channel, transport
        if data:
            self.connections[number][0].dataReceived(data)
            self.clock.advance(0)

    def leave(self, number: int) -> None:
        if number in self.connections:
            channel, transport = self.connections.pop(number)
            self.answers.append(transport.value())
            channel.connectionLost(GONE)

    def close_what_ended(self) -> None:
        """The node has ended some connections."""
        for number, (_, transport) in list(self.connections.items()):
            if transport.disconnecting or transport.disconnected:
                self.leave(number)

    def end(self) -> None:
        """What holds after any input."""
        for number in list(self.connections):
            self.leave(number)
        for _ in range(5):
            self.clock.advance(31.0)
        assert not self.factory.protocols, "a connection that never ends"
        if not self.has_token:
            view = self.view
            assert not (view.puts or view.gets or view.levels or view.limits or view.keeping.asked)
            assert not view.streams and view.pending is None
        for sent in self.answers:
            self.judge(sent)

    def judge(self, sent: bytes) -> None:
        """Each answer begins as one, none is an error of the node, and an error says what is wrong."""
        assert not sent or sent.startswith(b"HTTP/1."), sent[:100]
        head, _, body = sent.partition(b"\r\n\r\n")
        status = int(head.split()[1]) if sent else 200
        assert status < 500 or status == 503, head
        if b"application/json" in head and status not in (200, 100) and b"Content-Length" in head:
            length = int(head.split(b"Content-Length: ")[1].split()[0])
            if len(body) >= length > 0 and not body.startswith(b"HTTP/1."):  # HEAD has no body.
                assert json.loads(body[:length])["error"]


def _parse_key(text: str) -> int:
    if text == "bad":
        raise ValueError("the key is bad")
    return (
        int(text, 16) if len(text) == 64 and text.isalnum() and text == "0" * 64 else hash_id(text.encode())
    )


def request(data: bytes, more: bytes) -> bytes:
    """A request: `verb u8 | path u8 | number of headers u8 | headers u8 … | body`."""
    verb, path = VERBS[sum(data[:1]) % len(VERBS)], PATHS[sum(data[1:2]) % len(PATHS)]
    count = sum(data[2:3]) % 4
    headers = [HOST, more, *(HEADERS[at % len(HEADERS)] for at in data[3 : 3 + count])]
    body = data[3 + count :]
    if b"Transfer-Encoding: chunked" in headers:
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
    elif b"Content-Length: 3" not in headers and body:
        headers.append(b"Content-Length: %d" % len(body))
    return b"%b %b HTTP/1.1\r\n%b\r\n\r\n%b" % (verb, path, b"\r\n".join(headers), body)


def admin_http(raw: bytes) -> None:
    """Whatever clients say over HTTP, they get answers that are some, nothing of the node without its token,
    and no error of the node; and each connection ends."""
    with capturedLogs() as events:
        browser = Browser()
        for what, data in steps(raw):
            browser.take(what % KINDS, data)
        browser.end()
    for event in events:
        assert "log_failure" not in event, event["log_failure"]


def http_steps() -> Iterator[bytes]:
    """Each page with and without the token, streams that are left or paused, and bytes that are no HTTP."""
    for path in range(len(PATHS)):
        yield step(ASK, bytes([0, 0, path, 0])) + step(ASK_WITH_TOKEN, bytes([1, 0, path, 0]))
    for verb, path in ((1, 13), (1, 18), (2, 17), (3, 13), (3, 18), (2, 25), (1, 27), (4, 9), (7, 0)):
        yield step(ASK_WITH_TOKEN, bytes([0, verb, path, 0]) + b'{"keys": ["a", "b"]}')
    yield step(ASK_WITH_TOKEN, bytes([0, 1, 13, 1, 5]) + b"value") + step(RAW, b"\0" + b"0\r\n\r\n")
    yield step(ASK_WITH_TOKEN, bytes([0, 0, 22, 0])) + step(ANSWER) + step(PAUSE, b"\0") + step(WAIT, b"\x40")
    yield step(ASK_WITH_TOKEN, bytes([0, 0, 23, 0])) + step(RESUME, b"\0") + step(LEAVE, b"\0")
    yield step(RAW, b"\0GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n") + step(RAW, b"\1\x16\x03\x01")
    yield step(RAW, b"\0GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n") + step(WAIT, b"\x1f")
    yield step(RAW, b"\2PUT /v1/values/k HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 70000\r\n\r\nxx")
