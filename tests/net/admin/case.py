"""An admin surface without sockets: requests are bytes, answers are parsed bytes."""

import json
from collections.abc import AsyncGenerator
from typing import Any

from attrs import define, field, frozen
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from dht14.kademlia.keyspace import hash_id
from dht14.metrics import Family, Sample, Series
from dht14.net.admin.access import AccessRules
from dht14.net.admin.site import AdminParts, admin_factory
from dht14.net.admin.view import (
    BucketJson,
    HolderJson,
    KeptPageJson,
    KeptValueJson,
    NotStarted,
    PeerJson,
    ReadinessJson,
    RecordsJson,
    StatusJson,
    TraceJson,
    UnkeptFileJson,
    WatchesJson,
    event,
)
from dht14.net.api.states import KeyStates
from dht14.records.kept import KeepRefusal, KeptBy
from dht14.records.receipt import NoRecord, PutOutcome, Receipt
from dht14.records.record import Record

TOKEN = "t" * 43
GONE = Failure(ConnectionDone())
PEER = PeerJson(
    node_id="ab" * 32,
    host="192.0.2.1",
    port=8000,
    shared_bits=3,
    rtt=0.02,
    last_seen=1.5,
    failures=0,
    holds_values=True,
)
REQUESTS = Family("dht14_test_requests_total", "Requests.")
from tests.net.api.case import QuickNode


def parse_key(text: str) -> int:
    if text == "bad":
        raise ValueError("the key is bad")
    return int(text, 16) if len(text) == 64 else hash_id(text.encode())


@frozen
class Response:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def content(self) -> Any:
        return json.loads(self.body)


def kept_value(key: int, value: bytes = b"", version: int | None = None) -> KeptValueJson:
    return KeptValueJson(
        key=key_of(key),
        kind="open",
        version=version or 0,
        bytes=len(value),
        ttl=600,
        replication=8,
        state="renewed",
        failure=None,
        failing_for=None,
        kept_for=0.0,
        renewed=0.0,
        due_in=300.0,
        expires_in=600.0,
        by=["key"],
    )


@define
class FakeKeeping:
    """A `KeepingView` that keeps what it is given, unless it has a `refusal`."""

    refusal: KeepRefusal | NoRecord | None = None
    values: dict[int, KeptValueJson] = field(factory=dict)
    asked: list[tuple[int, bytes, int | None, int, int]] = field(factory=list)
    asked_by: list[KeptBy] = field(factory=list)

    def page(self, after: str, limit: int) -> KeptPageJson:
        if after == "never":
            raise ValueError("this cursor was never given")
        return {"values": list(self.values.values())[:limit], "next": None, "used": 1, "limit": 2}

    async def keep(
        self, key: int, value: bytes, version: int | None, ttl: int, replication: int, by: KeptBy
    ) -> KeptValueJson | KeepRefusal | NoRecord:
        self.asked.append((key, value, version, ttl, replication))
        self.asked_by.append(by)
        if self.refusal is not None:
            return self.refusal
        return self.values.setdefault(key, kept_value(key, value, version))

    async def unkeep(self, key: int, by: KeptBy) -> KeptBy | KeepRefusal | None:
        self.asked_by.append(by)
        if isinstance(self.refusal, KeepRefusal):
            return self.refusal
        return KeptBy(0) if self.values.pop(key, None) is not None else None

    async def unkeep_file(self, key: int) -> UnkeptFileJson | KeepRefusal | None:
        left = await self.unkeep(key, KeptBy.FILE)
        if left is None or isinstance(left, KeepRefusal):
            return left
        return UnkeptFileJson(key=f"{key:064x}", ended=3, shared=2, by_key=1, complete=True)


@define(slots=False)
class FakeView:
    """A `NodeView` with one contact."""

    reasons: list[str] = field(factory=list)
    put_result: Receipt = field(factory=lambda: Receipt(PutOutcome.STORED, 8, 8, version=3))
    found: Record | NoRecord = NoRecord.NOT_FOUND
    puts: list[tuple[int, bytes, int, int]] = field(factory=list)
    gets: list[tuple[int, bool]] = field(factory=list)
    pending: Deferred[TraceJson] | None = None
    node: QuickNode = field(factory=QuickNode)
    """What is watched."""
    streams: list[Deferred[None]] = field(factory=list)
    is_closed: bool = False
    """Whether a stream of events has ended."""
    levels: list[str] = field(factory=list)
    keeping: FakeKeeping = field(factory=FakeKeeping)
    limits: list[int] = field(factory=list)
    """Of the walks that began."""

    def readiness(self) -> ReadinessJson:
        return {"ready": not self.reasons, "reasons": self.reasons}

    def status(self) -> StatusJson:
        return StatusJson(
            version="0",
            node_id="cd" * 32,
            network="main",
            role="node",
            phase="working",
            ready=True,
            reasons=[],
            joined=True,
            cut_off=False,
            uptime=1.0,
            p2p_address="127.0.0.1:8000",
            api_address=None,
            contacts=1,
            network_size=None,
            storage=None,
            kept=None,
            watches=WatchesJson(clients=0, keys=0, leases=0),
            advice="All is well.",
        )

    def peers(self) -> list[PeerJson]:
        return [PEER]

    def table(self) -> list[BucketJson]:
        return [BucketJson(depth=0, capacity=20, contacts=[PEER], replacements=0, last_lookup=None)]

    def records(self, after: str, limit: int) -> RecordsJson:
        if after == "never":
            raise ValueError("this cursor was never given")
        return {"records": [], "next": None}

    async def put(self, key: int, value: bytes, ttl: int, replication: int) -> Receipt:
        self.puts.append((key, value, ttl, replication))
        return self.put_result

    async def get(self, key: int, content: bool) -> Record | NoRecord:
        self.gets.append((key, content))
        return self.found

    async def locate(self, key: int) -> list[HolderJson]:
        return []

    async def trace(self, key: int) -> TraceJson:
        self.pending = Deferred()
        return await self.pending

    def watch(self, key: int) -> KeyStates:
        return KeyStates(self.node, key)

    def walk(self, limit: int) -> AsyncGenerator[bytes, None]:
        if limit == 13:
            raise NotStarted
        self.limits.append(limit)
        return self.events()

    async def events(self) -> AsyncGenerator[bytes, None]:
        try:
            yield event("status", {"n": 1})
            ended: Deferred[None] = Deferred()
            self.streams.append(ended)
            await ended
            yield event("status", {"n": 2})
            yield event("status", {"n": 3})
            await Deferred()
        finally:
            self.is_closed = True


class AdminCase(SynchronousTestCase):
    """One site, over TCP unless `token` is None."""

    token: str | None = TOKEN
    make_view: type[FakeView] = FakeView

    def setUp(self) -> None:
        self.clock = Clock()
        self.view = self.make_view()
        self.factory = admin_factory(
            AdminParts(
                view=self.view,
                samples=lambda: [Sample(Series(REQUESTS, {"method": "ping"}), 5)],
                version="0.0",
                parse_key=parse_key,
                set_log_level=self.set_level,
                clock=self.clock,
            ),
            AccessRules(self.token, ("node.example",)),
        )

    def set_level(self, level: str) -> None:
        if level != "debug":
            raise ValueError("levels are: debug")
        self.view.levels.append(level)

    def connect(self) -> tuple[Any, StringTransport]:
        channel = self.factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 50_000))
        assert channel is not None
        transport = StringTransport()
        channel.makeConnection(transport)
        return channel, transport

    def send(
        self, verb: str, path: str, body: bytes = b"", token: str | None = TOKEN, **headers: str
    ) -> tuple[Any, StringTransport]:
        """Send one request; headers as `X_Name="..."`."""
        channel, transport = self.connect()
        given = {"Host": "127.0.0.1:7480", "Content_Length": str(len(body)), **headers}
        if token is not None:
            given["Authorization"] = f"Bearer {token}"
        lines = "".join(f"{name.replace('_', '-')}: {text}\r\n" for name, text in given.items() if text)
        channel.dataReceived(f"{verb} {path} HTTP/1.1\r\n{lines}\r\n".encode() + body)
        return channel, transport

    def ask(
        self, verb: str, path: str, body: bytes = b"", token: str | None = TOKEN, **headers: str
    ) -> Response:
        _, transport = self.send(verb, path, body, token, **headers)
        return parsed(transport.value())


def parsed(raw: bytes) -> Response:
    """Parse one answer."""
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return Response(
        int(first.split()[1]),
        {name.lower(): text for name, text in (line.split(": ", 1) for line in lines)},
        body,
    )


def key_of(number: int) -> str:
    return f"{number:064x}"
