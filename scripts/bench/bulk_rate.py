"""Question: how many values of 64 KB a second does one core carry over the bulk channel, beside bare Twisted
TLS?

Both ends in one process over 127.0.0.1, 4 values under way, or one where each has a connection of its own.
Bare is Twisted's TLS with the same certificates, both ways as well: bytes come, and as soon as they are whole
the other side is told. The bulk channel besides redeems a ticket for each, reads the value from the store in
memory or puts it there, and checks its SHA-256. Taken in turns; medians, by the time of the processor.

    python scripts/bench/bulk_rate.py [ROUNDS]
"""

import os
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable
from hashlib import sha256
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import ClientFactory, Factory, Protocol
from twisted.internet.task import react
from twisted.protocols.tls import TLSMemoryBIOFactory

from dht14.kademlia.contact import Contact
from dht14.kademlia.neighbourhood import Neighbourhood
from dht14.kademlia.parameters import MAX_VALUE
from dht14.kademlia.routing_table import RoutingTable
from dht14.net.bulk.client import BulkClient
from dht14.net.bulk.server import BulkServer
from dht14.net.bulk.tls import NodeTls
from dht14.node.network_clock import NetworkClock
from dht14.node.responder import Responder
from dht14.node.transfers import Download, Transfer, Upload
from dht14.records.advertised import AdvertisedRecord
from dht14.records.record import Record
from dht14.security.identity import Identity, Puzzle, public_key_in
from dht14.security.subnets import parties_of
from dht14.security.tickets import Tickets
from dht14.sim.memory_store import MemoryStore
from dht14.wire.messages import Offer, Reply

VALUES, CONNECTIONS = 2_000, 200
AT_ONCE = 4
PUZZLE = Puzzle("bench", 0)
KEY, VERSION = 5, 7
VALUE = random.Random(1).randbytes(MAX_VALUE)

Round = Callable[[], "Deferred[float]"]
"""Does its work many times and fires with the rate per second."""


class Repeated:
    """Keeps a number of operations in flight."""

    def __init__(self, count: int, at_once: int, begin: "Callable[[], Deferred[Any]]") -> None:
        self._count, self._at_once, self._begin = count, at_once, begin

    def run(self) -> "Deferred[float]":
        self._left, self._waiting = self._count, self._count - self._at_once
        self._begun = time.process_time()
        self._done: Deferred[float] = Deferred()
        for _ in range(self._at_once):
            self._begin().addCallbacks(self._ended, self._done.errback)
        return self._done

    def _ended(self, _: object) -> None:
        self._left -= 1
        if self._waiting:
            self._waiting -= 1
            self._begin().addCallbacks(self._ended, self._done.errback)
        elif not self._left:
            self._done.callback(self._count / (time.process_time() - self._begun))


class Taker(Protocol):
    """Reports each whole value."""

    transport: Any
    had = 0

    def dataReceived(self, data: bytes) -> None:
        self.had += len(data)
        while self.had >= MAX_VALUE:
            self.had -= MAX_VALUE
            self.transport.write(b"whole")


class Giver(Protocol):
    """Sends values, and counts the acknowledgements."""

    transport: Any

    def __init__(self) -> None:
        self.ready: Deferred[Giver] = Deferred()
        self._given: list[Deferred[None]] = []

    def connectionMade(self) -> None:
        self.ready.callback(self)

    def give(self) -> "Deferred[None]":
        given: Deferred[None] = Deferred()
        self._given.append(given)
        self.transport.write(VALUE)
        return given

    def dataReceived(self, data: bytes) -> None:
        for _ in range(len(data) // len(b"whole")):
            self._given.pop(0).callback(None)


class Bare:
    """Twisted's TLS alone."""

    def __init__(self, reactor: Any, server: NodeTls, client: NodeTls) -> None:
        self._reactor, self._client = reactor, client
        taking = TLSMemoryBIOFactory(server, False, Factory.forProtocol(Taker), reactor)
        self._port = reactor.listenTCP(0, taking, interface="127.0.0.1").getHost().port

    def connect(self) -> "Deferred[Giver]":
        giver = Giver()
        factory = ClientFactory()
        factory.buildProtocol = lambda addr: giver  # type: ignore[method-assign]
        giving = TLSMemoryBIOFactory(self._client, True, factory, self._reactor)
        self._reactor.connectTCP("127.0.0.1", self._port, giving)
        return giver.ready

    async def once(self) -> None:
        giver = await self.connect()
        await giver.give()
        giver.transport.abortConnection()


class Bulk:
    """The bulk channel between two nodes, without RPCs."""

    def __init__(
        self, reactor: Any, server: Identity, client: Identity, tls: tuple[NodeTls, NodeTls]
    ) -> None:
        self._reactor, self._identity, self._tls = reactor, client, tls[1]
        self._tickets: Tickets[Transfer] = Tickets(random.SystemRandom())
        self._store = MemoryStore(server.node_id, 1 << 30, lambda record: True)
        responder = Responder(
            Neighbourhood(RoutingTable(server.node_id)),
            self._store,
            86_400.0,
            self._tickets,
            NetworkClock(time.monotonic, time.time),
        )
        serving = BulkServer(responder, tls[0], parties_of, reactor)
        port = reactor.listenTCP(0, serving, interface="127.0.0.1").getHost().port
        self._holder = Contact(server.node_id, ("127.0.0.1", port), server.proof)
        self._digest = sha256(VALUE).digest()
        self._store.offer(
            Record(
                key=KEY, value=VALUE, version=VERSION, expires_at=reactor.seconds() + 80_000, replication=8
            ),
            reactor.seconds(),
            lambda _: None,
        )
        self.client = self._new_client()

    def _new_client(self) -> BulkClient:
        return BulkClient(self._tls, PUZZLE.verify_proof, self._reactor)

    def _ticket(self, errand: Transfer) -> bytes:
        now = self._reactor.seconds()
        return self._tickets.issue(public_key_in(self._identity.proof), errand, MAX_VALUE, now)

    def fetch(self, client: BulkClient) -> "Deferred[Record | None]":
        ticket = self._ticket(Download(KEY, VERSION, MAX_VALUE))
        claim = AdvertisedRecord(
            key=KEY,
            version=VERSION,
            expires_at=0.0,
            replication=8,
            owned=False,
            length=MAX_VALUE,
            digest=self._digest,
        )
        return client.fetch(self._holder, ticket, MAX_VALUE).addCallback(claim.with_value)

    def push(self, client: BulkClient) -> "Deferred[Reply]":
        now = self._reactor.seconds()
        offer = Offer(KEY, VERSION, 60_000, 8, 0, False, MAX_VALUE, self._digest)
        writer = Contact(self._identity.node_id, ("127.0.0.1", 1), self._identity.proof)
        return client.push(self._holder, self._ticket(Upload(offer, writer, now)), VALUE)

    async def once(self) -> None:
        client = self._new_client()
        await self.fetch(client)
        client.stop()


async def _questions(reactor: Any) -> dict[str, Round]:
    rng = random.Random(2)
    server, client = Identity.made_up(PUZZLE, rng), Identity.made_up(PUZZLE, rng)
    tls = NodeTls(server.private_key), NodeTls(client.private_key)
    bare, bulk = Bare(reactor, *tls), Bulk(reactor, server, client, tls)
    giver = await bare.connect()

    def coroutine(begin: Callable[[], Any]) -> "Callable[[], Deferred[None]]":
        return lambda: Deferred.fromCoroutine(begin())

    return {
        "bare TLS, kept": Repeated(VALUES, AT_ONCE, giver.give).run,
        "fetched, kept": Repeated(VALUES, AT_ONCE, lambda: bulk.fetch(bulk.client)).run,
        "pushed, kept": Repeated(VALUES, AT_ONCE, lambda: bulk.push(bulk.client)).run,
        "bare TLS, new each": Repeated(CONNECTIONS, 1, coroutine(bare.once)).run,
        "fetched, new each": Repeated(CONNECTIONS, 1, coroutine(bulk.once)).run,
    }


async def _main(reactor: Any, rounds: int) -> None:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    questions = await _questions(reactor)
    rates: dict[str, list[float]] = {name: [] for name in questions}
    for _ in range(rounds):
        for name, run in questions.items():
            rates[name].append(await run())
    print(f"{platform.python_implementation()} {platform.python_version()}, {rounds} rounds, medians")
    for name, found in rates.items():
        rate = statistics.median(found)
        base = statistics.median(rates["bare TLS, new each" if "new" in name else "bare TLS, kept"])
        print(f"{name:20}{rate:8.0f}/s{rate / base:8.2f} of bare TLS")


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    react(lambda reactor: Deferred.fromCoroutine(_main(reactor, count)))
