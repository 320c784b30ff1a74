"""What unknown peers do to real nodes. Each attack is a function that returns what it saw."""

import contextlib
import os
import random
import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from attrs import define, field, frozen
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from OpenSSL import SSL

from dht14.errors import Malformed
from dht14.kademlia.contact import Address, Contact
from dht14.kademlia.parameters import K
from dht14.net.bulk.tls import NodeTls
from dht14.security.identity import Identity, Puzzle
from dht14.session.handshake import HELLO_BYTES, Challenge
from dht14.session.initiator import Initiator
from dht14.session.layer import Target
from dht14.wire.datagram import decode, encode
from dht14.wire.messages import FindNode, FindValue, Nodes, Ping
from tests.independent_peer import IndependentPeer, Responder, is_pong
from tests.process.nodes import DIFFICULTY, Twistd
from tests.process.space import Datagram, Forger, Line

PUZZLE = Puzzle("main", DIFFICULTY)
PING = encode(b"our ping", Ping())
VICTIM, UNKNOWN_PEER = ("198.19.66.1", 6_666), ("198.19.77.1", 7_777)
"""Whose address is forged, and where an attacker is."""


@define
class Exchange:
    """What went to a node and what came back."""

    sent: int = 0
    """Datagrams."""
    bytes_sent: int = 0
    bytes_back: int = 0
    kinds: "Counter[int]" = field(factory=Counter)
    """First bytes of what came back."""

    def __str__(self) -> str:
        share = self.bytes_back / self.bytes_sent
        kinds = ", ".join(f"{count} of kind {kind:#04x}" for kind, count in self.kinds.items())
        return (
            f"{self.sent} datagrams, {self.bytes_sent} bytes; back {kinds or 'nothing'}: {share:.3f} a byte"
        )


def all_kinds(rng: random.Random) -> Iterator[bytes]:
    """Datagrams of every kind and length, a HELLO among ten of them."""
    number = 0
    while True:
        number += 1
        if number % 10:
            yield bytes([0x40 + number % 19]) + rng.randbytes(number % 1_400)
        else:
            yield b"\x41" + rng.randbytes(HELLO_BYTES - 1)


def unknown_peers(line: Line, forger: Forger, node: Address, count: int, rng: random.Random) -> Exchange:
    """Send `count` datagrams under the victim's address, no faster than the node takes them."""
    seen = Exchange()

    def back() -> None:
        for datagram in line.datagrams():
            if datagram.target == VICTIM:
                seen.bytes_back += len(datagram.payload)
                seen.kinds[datagram.payload[0]] += 1

    for datagram in all_kinds(rng):
        forger.send(VICTIM, node, datagram)
        seen.sent += 1
        seen.bytes_sent += len(datagram)
        if seen.sent % 100 == 0:
            time.sleep(0.01)
            back()
        if seen.sent >= count:
            break
    time.sleep(0.5)
    back()
    return seen


@define
class Forged:
    """What was made of the datagrams that pass between nodes."""

    forged: int = 0
    replayed: int = 0
    to_unknown_peers: "Counter[int]" = field(factory=Counter)
    """First bytes of what the nodes sent to the attacker."""

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} of kind {kind:#04x}" for kind, count in self.to_unknown_peers.items())
        return f"{self.forged} forged, {self.replayed} replayed; the attacker got {kinds or 'nothing'}"


def forgeries(
    line: Line,
    forger: Forger,
    nodes: set[Address],
    goes_on: Callable[[], bool],
    most: int,
    rng: random.Random,
) -> Forged:
    """Listen to what passes between nodes. For each datagram send forged ones from the right address, with
    the right connection id and a likely counter, and ones that passed before, from the right address and
    others."""
    seen = Forged()
    heard: list[Datagram] = []
    while goes_on() and seen.forged + seen.replayed < most:
        for datagram in line.datagrams():
            if datagram.target == UNKNOWN_PEER:
                seen.to_unknown_peers[datagram.payload[0]] += 1
            if datagram.source not in nodes or datagram.target not in nodes or len(datagram.payload) < 20:
                continue
            heard.append(datagram)
            for payload in _forged(datagram.payload, rng):
                forger.send(datagram.source, datagram.target, payload)
                seen.forged += 1
            for old in rng.sample(heard, min(3, len(heard))):
                forger.send(rng.choice((old.source, old.source, UNKNOWN_PEER)), old.target, old.payload)
                seen.replayed += 1
            if len(heard) > 5_000:
                del heard[rng.randrange(len(heard))]
        time.sleep(0.001)
    return seen


def _forged(payload: bytes, rng: random.Random) -> Iterator[bytes]:
    kind, cid, counter, rest = payload[:1], payload[1:9], payload[9:17], payload[17:]
    ahead = (int.from_bytes(counter, "big") + rng.randrange(1, 2_000)) % (1 << 64)
    yield kind + cid + counter + rng.randbytes(len(rest))
    yield kind + cid + ahead.to_bytes(8, "big") + rest
    yield kind + rng.randbytes(8) + counter + rest
    changed = bytearray(payload)
    changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    yield bytes(changed)
    yield rng.choice((b"\x42", b"\x44", b"\x45")) + cid + rng.randbytes(rng.choice((40, 172)))


@frozen
class Caller:
    """One address of an attacker, with a handshake under way."""

    socket: socket.socket
    identity: Identity

    def hello(self, node: Address) -> Initiator:
        initiator = Initiator.begin(Target(node, None, False), os.urandom(8), os.urandom(32), time.time())
        initiator.enqueue(PING)
        self.socket.sendto(initiator.datagram, node)
        return initiator


def handshakes(node: Address, callers: list[Caller], count: int, at_once: int = 64) -> Counter[str]:
    """Make `count` sessions with a node, each from the next caller; return how many got how far."""
    fates: Counter[str] = Counter()
    poll = select.epoll()
    by_fd = {caller.socket.fileno(): caller for caller in callers}
    for fd in by_fd:
        poll.register(fd, select.EPOLLIN)
    under_way: dict[int, tuple[Initiator, float]] = {}
    turn = 0
    while fates.total() < count:
        while len(under_way) < min(at_once, count - fates.total()):
            caller = callers[turn % len(callers)]
            turn += 1
            if caller.socket.fileno() not in under_way:
                under_way[caller.socket.fileno()] = caller.hello(node), time.monotonic()
        for fd, _ in poll.poll(0.1):
            datagram = by_fd[fd].socket.recv(2_000)
            if fd in under_way and datagram[1:9] == under_way[fd][0].cid:
                if _goes_on(by_fd[fd], under_way[fd][0], datagram, node):
                    continue
                del under_way[fd]
                fates["accepted"] += 1
        for fd, (initiator, began) in list(under_way.items()):
            if time.monotonic() - began > 1.0:
                fates["given up after " + ("HELLO" if initiator.datagram[0] == 0x41 else "FINISH")] += 1
                del under_way[fd]
    poll.close()
    return fates


def _goes_on(caller: Caller, initiator: Initiator, datagram: bytes, node: Address) -> bool:
    """Answer a CHALLENGE; False when this was the ACCEPT."""
    if datagram[0] != 0x42:
        return datagram[0] != 0x44
    try:
        challenge = Challenge.parse(datagram)
    except Malformed:
        return True
    initiator.finish(challenge, caller.identity, PUZZLE.verify_proof(challenge.proof), time.time())
    caller.socket.sendto(initiator.datagram, node)
    return True


def is_in_session(peer: IndependentPeer) -> bool:
    """Whether the node answers a peer in the session that it has, whatever else it sends there."""
    peer.send(peer.session.data(PING))
    try:
        while not is_pong(peer.response(), PING):
            pass
    except TimeoutError:
        return False
    return True


class Liar(IndependentPeer):
    """Something like a node: in every lookup it names nodes at the victim's address, on many ports."""

    def __init__(self, *where: Any) -> None:
        super().__init__(*where)
        self._responders: dict[Address, Responder] = {}

    def serve(self, datagram: bytes, address: Address) -> None:
        self.responder = self._responders.setdefault(address, self._responder())
        with contextlib.suppress(AssertionError, AttributeError):  # Of a session that is over.
            super().serve(datagram, address)

    def _responder(self) -> Responder:
        return Responder(self.proofs, self.identity, os.urandom)

    def reply_to(self, request: bytes) -> bytes:
        rpc_id, message = decode(request, PUZZLE.verify_proof)
        if isinstance(message, FindNode | FindValue):
            return encode(rpc_id, Nodes(tuple(at_victim(random.Random(request), K))))
        return super().reply_to(request)


def at_victim(rng: random.Random, count: int) -> Iterator[Contact]:
    """Contacts with good proofs that are not where they are said to be."""
    for _ in range(count):
        identity = Identity.made_up(PUZZLE, rng)
        yield Contact(identity.node_id, (VICTIM[0], rng.randrange(1_024, 65_536)), identity.proof)


def callers(count: int, rng: random.Random) -> list[Caller]:
    """Return attackers at `count` addresses of 127.0.0.0/8, which have no limit for a subnet."""
    made = []
    for number in range(count):
        skt = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        skt.bind((f"127.{1 + number // 250}.{number % 250}.1", 0))
        made.append(Caller(skt, Identity.made_up(PUZZLE, rng)))
    return made


@define
class HalfOpen:
    """Connections that begin a message and then send almost nothing."""

    sockets: dict[int, tuple[socket.socket, float]] = field(factory=dict)
    closed_after: list[float] = field(factory=list)

    def open(self, target: Address, first: bytes, count: int, hosts: int) -> None:
        """Connect `count` times, from `hosts` addresses, and send the beginning."""
        for number in range(count):
            skt = socket.socket()
            skt.bind((f"127.200.0.{1 + number % hosts}", 0))
            skt.connect(target)
            skt.send(first)
            self.sockets[skt.fileno()] = skt, time.monotonic()

    def trickle(self, goes_on: Callable[[], bool], every: float = 10.0) -> None:
        """Send one byte now and then, and watch which are closed."""
        poll = select.epoll()
        for fd in self.sockets:
            poll.register(fd, select.EPOLLIN)
        next_byte = time.monotonic() + every
        while self.sockets and goes_on():
            for fd, _ in poll.poll(0.2):
                self._read(fd, poll)
            if time.monotonic() >= next_byte:
                next_byte += every
                for skt, _ in self.sockets.values():
                    _say(skt)
        poll.close()

    def _read(self, fd: int, poll: select.epoll) -> None:
        skt, began = self.sockets[fd]
        try:
            if skt.recv(65_536):
                return
        except OSError:
            pass
        poll.unregister(fd)
        del self.sockets[fd]
        skt.close()
        self.closed_after.append(time.monotonic() - began)

    def close(self) -> None:
        for skt, _ in self.sockets.values():
            skt.close()
        self.sockets.clear()


def _say(skt: socket.socket) -> None:
    try:
        skt.send(b"\0")
    except OSError:
        return


def tls_handshakes(target: Address, seconds: float) -> int:
    """Make TLS connections, one after the other in some threads, with a key of one's own; how many came
    about."""
    tls, made = NodeTls(Ed25519PrivateKey.generate()), Counter[str]()
    until = time.monotonic() + seconds

    def connect_on_and_on() -> None:
        while time.monotonic() < until:
            with socket.create_connection(target, 5) as plain:
                made[_shaken(tls, plain)] += 1

    threads = [threading.Thread(target=connect_on_and_on) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return made["done"]


def _shaken(tls: NodeTls, plain: socket.socket) -> str:
    connection = SSL.Connection(tls._context, plain)
    connection.set_connect_state()
    plain.settimeout(None)
    try:
        connection.do_handshake()
    except (SSL.Error, OSError):
        return "refused"
    return "done"


def addresses(nodes: list[Twistd]) -> set[Address]:
    """Where these nodes are."""
    return {node.at for node in nodes}
