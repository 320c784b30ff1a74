"""What unknown peers may send to a real node: anything. The numbers can be raised from the environment."""

import os
import random
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from dht14.errors import Malformed
from dht14.kademlia.contact import Contact
from dht14.security.identity import Identity, Puzzle
from dht14.wire import api_messages
from dht14.wire.datagram import decode, encode
from dht14.wire.messages import (
    FindNode,
    FindValue,
    Message,
    Nodes,
    Outranked,
    Ping,
    Pong,
    Refused,
    Reply,
    Store,
    Stored,
    Value,
)
from dht14.wire.schema import REPLIES
from tests.fuzz.mutations import mutated
from tests.independent_peer import IndependentPeer, is_pong
from tests.process.nodes import DIFFICULTY, Network, Twistd, VoidPhone

DATAGRAMS = int(os.environ.get("HOSTILE_DATAGRAMS", "20000"))
FRAMES = int(os.environ.get("HOSTILE_FRAMES", "1000"))

WARM_UP = 2000
"""Datagrams after which all caches of a node that are bounded by less are full."""

MAX_GROWTH = 16 << 20
"""Bytes that a node's memory may grow by. A leak of one datagram in ten would be more."""

LINES = 300
"""Lines of log that unknown peers can cause in one run: the allowance of the API, and a few more."""

PUZZLE = Puzzle("main", DIFFICULTY)
NEARER = tuple(
    Contact(identity.node_id, (host, 9), identity.proof)
    for host in ("127.0.0.1", "::1")
    for identity in [Identity.made_up(PUZZLE, random.Random(host))]
)
MESSAGES: tuple[Message, ...] = (
    Ping(),
    FindNode(7),
    FindValue(7),
    Store(7, 1 << 60, 60_000, 8, 99, bytes(300)),
    Pong(),
    Nodes(NEARER),
    Value(1 << 60, 60_000, 8, True, bytes(300)),
    Stored(NEARER),
    Outranked(1 << 60, NEARER),
    Refused(()),
)


def well_formed(payload: bytes) -> bool:
    """Whether this is a message: a node may answer it then."""
    try:
        decode(payload, PUZZLE.verify_proof)
    except Malformed:
        return False
    return True


class HostileTestCase(SynchronousTestCase):
    """Two nodes of one network, of which unknown peers know the first."""

    def setUp(self) -> None:
        self.network = Network(Path(self.mktemp()).absolute())
        self.addCleanup(self.network.stop)
        self.rng = random.Random(14)
        unthrottled = {"DHT14_RATE_LIMITER_REQUESTS_PER_SECOND": "0"}
        self.node = self.network.node(environment=unthrottled).wait_for_api()
        self.other = self.network.node(seeds=(self.node,)).wait_for_api()
        self.other.wait_for("Joined")
        with self.node.client() as client:
            self.assertTrue(client.put(bytes(32), b"put before"))

    def memory(self, node: Twistd) -> int:
        """Bytes that a node's process holds."""
        status = Path(f"/proc/{node.process.pid}/status").read_text()
        (line,) = (line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) * 1024

    def assert_unharmed(self) -> None:
        """The node serves as before, has logged little and no bug, and ends as it should."""
        for node in (self.node, self.other):
            with node.client() as client:
                self.assertEqual(client.get(bytes(32)), b"put before")
                self.assertTrue(client.put(bytes([1] * 32), b"put after"))
        events = self.node.events()
        self.assertEqual([event for event in events if event["level"] in ("error", "critical")], [])
        self.assertEqual([event for event in events if "traceback" in event], [])
        self.assertLess(len(events), LINES)
        self.assertEqual((self.node.stop(), self.node.stderr()), (0, ""))


class DatagramTests(HostileTestCase):
    """What comes by UDP, also from a peer with a session."""

    def setUp(self) -> None:
        super().setUp()
        self.peer = IndependentPeer("main", DIFFICULTY, self.node.p2p_port)
        self.addCleanup(self.peer.close)
        self.ping = encode(b"our ping", Ping())
        self.assertTrue(is_pong(self.peer.call(self.ping), self.ping))

    def send(self, datagrams: Iterator[bytes], count: int) -> None:
        """Send `count` datagrams, no faster than the node reads them: it must answer a PING now and then.

        It must answer nothing else.
        """
        cid = self.peer.session.cid
        for number in range(count):
            self.peer.send(next(datagrams))
            if number % 100 == 99:
                self.peer.send(self.peer.session.data(self.ping))
                while not is_pong(payload := self.peer.session.open(self.peer.receive(cid)), self.ping):
                    # The node may ask us something, too.
                    self.assertNotIsInstance(decode(payload, PUZZLE.verify_proof)[1], REPLIES)

    def flood(self, datagrams: Iterator[bytes], count: int) -> None:
        """Send `count` datagrams: the memory of the node must not grow, and it must go on as before."""
        self.send(datagrams, WARM_UP)
        before = self.memory(self.node)
        self.send(datagrams, count)
        self.assertLess(self.memory(self.node) - before, MAX_GROWTH)
        self.assert_unharmed()

    def message(self) -> bytes:
        return encode(self.rng.randbytes(8), self.rng.choice(MESSAGES))

    def test_malformed(self) -> None:
        """Random and mutated datagrams get no answer, fill no memory and no log, and do no harm."""

        def junk() -> Iterator[bytes]:
            session = self.peer.session
            while True:
                whole = self.rng.choice((session.hello, session.data(self.message()), session.last_finish))
                datagram = (
                    mutated(self.rng, whole)
                    if self.rng.random() < 0.8
                    else self.rng.randbytes(self.rng.randrange(1500))
                )
                # One that is left as it was, or is a HELLO still, may well be answered.
                if datagram != whole and not (len(datagram) == 256 and datagram[0] == 0x41):
                    yield datagram

        self.flood(junk(), DATAGRAMS)

    def test_malformed_messages(self) -> None:
        """So do random and mutated messages inside a session."""

        def junk() -> Iterator[bytes]:
            while True:
                payload = mutated(self.rng, self.message())[:1100]
                if not well_formed(payload):
                    yield self.peer.session.data(payload)

        self.flood(junk(), DATAGRAMS // 2)

    def test_unasked(self) -> None:
        """Well-formed replies that nobody asked for, with made-up contacts, change nothing."""
        replies = [message for message in MESSAGES if isinstance(message, Reply)]

        def unasked() -> Iterator[bytes]:
            while True:
                payload = encode(self.rng.randbytes(8), self.rng.choice(replies))
                yield self.peer.session.data(payload)

        self.flood(unasked(), DATAGRAMS // 4)


class FrameTests(HostileTestCase):
    """The same at the API."""

    def frame(self) -> bytes:
        """Something like a request, or not."""
        rng = self.rng
        key = rng.randbytes(32)
        wholes = (
            api_messages.encode_put(
                rng.randrange(100), rng.randrange(256), key, rng.randbytes(rng.randint(1, 1000))
            ),
            api_messages.encode_get(key),
            api_messages.encode_success(key, b"value"),
            api_messages.encode_failure(key),
        )
        return (
            mutated(rng, rng.choice(wholes)) if rng.random() < 0.8 else rng.randbytes(rng.randrange(1, 100))
        )

    def send(self, count: int) -> None:
        """One connection for each frame; half of the clients wait for what comes, half just leave."""
        assert self.node.api_port is not None
        for _ in range(count):
            with VoidPhone(self.node.api_port) as client:
                client.socket.sendall(self.frame())
                if self.rng.random() < 0.5:
                    client.socket.shutdown(socket.SHUT_WR)
                    self.read_to_the_end(client)

    def read_to_the_end(self, client: VoidPhone) -> None:
        """What comes are whole replies; then the node hangs up."""
        try:
            while True:
                client.reply()
        except ConnectionError:
            return

    def test_frames(self) -> None:
        """Random and mutated frames close their connections, and nobody else notices."""
        bystander = self.node.client()
        self.addCleanup(bystander.close)
        self.send(FRAMES // 4)
        before = self.memory(self.node)
        self.send(FRAMES)
        self.assertLess(self.memory(self.node) - before, MAX_GROWTH)
        self.assertEqual(bystander.get(bytes(32)), b"put before")
        bystander.close()
        self.assert_unharmed()

    def test_half_frames(self) -> None:
        """Clients that begin a frame and stay silent hold up neither others nor the end."""
        with self.node.client() as client:
            held = [self.node.client() for _ in range(50)]
            for one in held:
                self.addCleanup(one.close)
                one.socket.sendall(api_messages.encode_get(bytes(32))[: self.rng.randrange(1, 36)])
            self.assertEqual(client.get(bytes(32)), b"put before")
        self.assertEqual(self.node.kill(signal.SIGTERM), 0)
