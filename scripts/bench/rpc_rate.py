"""Question: how many exchanges a second does one core carry, beside a bare Twisted UDP echo?

Both ends in one process over 127.0.0.1, 64 in flight. B is the stock Twisted port echoing 100 bytes; the
others are whole nodes: timeouts, tables and checks included. Taken in turns; medians and the ratio to B, by
the time of the processor: what else runs on the machine does not count. Junk are datagrams that are refused,
both their sending and their refusal counted; of a handshake both sides are.

    python scripts/bench/rpc_rate.py [ROUNDS]
"""

import os
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import deferLater, react

from dht14.kademlia.contact import Address, Contact
from dht14.kademlia.keyspace import random_id
from dht14.net.bulk.client import BulkClient
from dht14.net.bulk.tls import NodeTls
from dht14.net.rpc.udp_port import UdpPort
from dht14.security.hello_limiter import HelloLimiter
from dht14.security.identity import Identity, Puzzle
from dht14.security.prekey_clock import PrekeyClock
from dht14.security.shares import Priority
from dht14.session.acceptor import Limits
from dht14.session.encrypted import EncryptedLayer
from dht14.session.layer import Target
from dht14.sim.memory_store import MemoryStore
from dht14.stack import Stack, StackOptions
from dht14.stack_builder import StackInputs, build_stack
from dht14.wire.messages import FindNode, Ping, Reply, Request

EXCHANGES = 20_000
HANDSHAKES = 1_000
IN_FLIGHT = 64
CONTACTS = 200
PUZZLE = Puzzle("bench", 0)
UNLIMITED = Limits(peer_rate=0)

Round = Callable[[], "Deferred[float]"]
"""Does its work many times and fires with the rate per second."""


class Echo(DatagramProtocol):
    """Echoes every datagram."""

    transport: Any

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        self.transport.write(datagram, addr)


class EchoClient(DatagramProtocol):
    """Keeps IN_FLIGHT datagrams in flight."""

    transport: Any

    def __init__(self, server: Any) -> None:
        self._server = server
        self._datagram = bytes(100)

    def run(self) -> "Deferred[float]":
        self._left, self._begun = EXCHANGES, time.process_time()
        self._done: Deferred[float] = Deferred()
        for _ in range(IN_FLIGHT):
            self.transport.write(self._datagram, self._server)
        return self._done

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        self._left -= 1
        if self._left >= IN_FLIGHT:
            self.transport.write(datagram, addr)
        elif self._left == 0:
            self._done.callback(EXCHANGES / (time.process_time() - self._begun))


class Caller:
    """Keeps IN_FLIGHT calls in flight; a `CallObserver`."""

    def __init__(self, stack: Stack, server: Contact, request: Request) -> None:
        self._stack, self._server, self._request = stack, server, request

    def run(self) -> "Deferred[float]":
        self._left, self._begun = EXCHANGES, time.process_time()
        self._done: Deferred[float] = Deferred()
        for _ in range(IN_FLIGHT):
            self._call()
        return self._done

    def _call(self) -> None:
        self._stack.rpc.call(self._server, self._request, self)

    def call_answered(self, contact: Contact, reply: Reply) -> None:
        self._left -= 1
        if self._left >= IN_FLIGHT:
            self._call()
        elif self._left == 0:
            self._done.callback(EXCHANGES / (time.process_time() - self._begun))

    def call_slow(self, contact: Contact) -> None: ...
    def call_silent(self, contact: Contact) -> None: ...
    def call_failed(self, contact: Contact) -> None: ...


class Junk(DatagramProtocol):
    """Sends datagrams that a node refuses, IN_FLIGHT at a time. The cost of sending is not counted."""

    transport: Any

    def __init__(self, reactor: Any, stack: Stack, server: Address) -> None:
        self._reactor, self._stack, self._server = reactor, stack, server
        self._datagram = b"\x45" + random.Random(4).randbytes(99)

    def run(self) -> "Deferred[float]":
        return Deferred.fromCoroutine(self._run())

    async def _run(self) -> float:
        refused = 0.0
        for _ in range(EXCHANGES // IN_FLIGHT):
            for _ in range(IN_FLIGHT):
                self.transport.write(self._datagram, self._server)
            begun = time.process_time()
            await deferLater(self._reactor, 0)
            refused += time.process_time() - begun
        return EXCHANGES / refused


class Handshakes:
    """Two session layers that exchange datagrams directly: the cost of cryptography and checks."""

    def run(self) -> "Deferred[float]":
        rng, now = random.Random(5), time.time()
        sides = [Identity.made_up(PUZZLE, rng) for _ in range(2)]
        one, two = (
            EncryptedLayer(
                identity=i,
                verify_proof=PUZZLE.verify_proof,
                rng=rng,
                limits=UNLIMITED,
                is_contact=lambda _: False,
                priority_of=lambda _: Priority.UNKNOWN,
                hello_limiter=HelloLimiter(),
                now=now,
                prekey_clock=PrekeyClock(time.time),
            )
            for i in sides
        )
        begun = time.process_time()
        for number in range(HANDSHAKES):
            home, away = ("127.0.0.1", 1), ("127.0.0.1", number)
            # Slow enough for the limits, which count by this clock.
            now += 0.01
            (hello,) = one.reach(Target(away, sides[1].node_id, True), b"request", now)
            _, _, (challenge,) = two.received(hello, home, now)
            _, _, (finish,) = one.received(challenge, away, now)
            peer, _, _ = two.received(finish, home, now)
            assert peer is not None
            one.received(peer.seal(b"response", now), away, now)
        return succeed(HANDSHAKES / (time.process_time() - begun))


def _node(reactor: Any, number: int, sealed: bool) -> tuple[Stack, Contact]:
    rng = random.Random(number)
    own = Identity.made_up(PUZZLE, rng)
    stack = build_stack(
        StackInputs(
            make_store=MemoryStore.of,
            identity=own,
            verify_proof=PUZZLE.verify_proof,
            clock=reactor,
            wall=time.time,
            rng=random.SystemRandom(),
            resolve=lambda host, port: succeed([]),
            bulk=BulkClient(NodeTls(own.private_key), PUZZLE.verify_proof, reactor),
            options=StackOptions(sealed=sealed, limits=UNLIMITED),
        )
    )
    port = UdpPort(("127.0.0.1", 0), stack.rpc, reactor)
    port.startListening()
    UdpPort(("127.0.0.1", 0), stack.probe, reactor).startListening()
    for known in range(CONTACTS):
        identity = Identity.made_up(PUZZLE, rng)
        contact = Contact(identity.node_id, ("127.0.0.1", 1024 + known), identity.proof)
        stack.table.confirmed(contact, reactor.seconds(), 0.001)
    return stack, Contact(stack.table.own_id, ("127.0.0.1", port.getHost().port))


def _questions(reactor: Any) -> dict[str, Round]:
    echo = reactor.listenUDP(0, Echo(), interface="127.0.0.1")
    echo_client = EchoClient(("127.0.0.1", echo.getHost().port))
    reactor.listenUDP(0, echo_client, interface="127.0.0.1")
    target = random_id(random.Random(3))
    questions: dict[str, Round] = {"B: bare echo": echo_client.run}
    for number, layer in enumerate(("plain", "sealed")):
        asking, _ = _node(reactor, 2 * number, layer == "sealed")
        serving, server = _node(reactor, 2 * number + 1, layer == "sealed")
        questions[f"{layer} PING"] = Caller(asking, server, Ping()).run
        questions[f"{layer} FIND_NODE, 20 contacts"] = Caller(asking, server, FindNode(target)).run
        junk = Junk(reactor, serving, server.address)
        reactor.listenUDP(0, junk, interface="127.0.0.1")
        questions[f"{layer}: junk refused"] = junk.run
    questions["handshakes, both sides"] = Handshakes().run
    return questions


async def _main(reactor: Any, rounds: int) -> None:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    questions = _questions(reactor)
    rates: dict[str, list[float]] = {name: [] for name in questions}
    for _ in range(rounds):
        for name, run in questions.items():
            rates[name].append(await run())
    base = statistics.median(rates["B: bare echo"])
    print(f"{platform.python_implementation()} {platform.python_version()}, {rounds} rounds, medians")
    for name, found in rates.items():
        rate = statistics.median(found)
        print(f"{name:30}{rate:10.0f}/s{rate / base:8.2f} B")


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    react(lambda reactor: Deferred.fromCoroutine(_main(reactor, count)))
