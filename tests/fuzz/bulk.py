"""Targets of the bulk channel: frames, the stream inside TLS in either direction, and TLS itself."""

import random
from contextlib import suppress
from typing import Any

from cryptography.x509 import Certificate
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure

from dht14.errors import Malformed
from dht14.kademlia.neighbourhood import Neighbourhood
from dht14.kademlia.parameters import MAX_VALUE
from dht14.kademlia.routing_table import RoutingTable
from dht14.net.bulk.client import BulkClient
from dht14.net.bulk.client_connection import BulkConnection
from dht14.net.bulk.server import BulkServer, BulkServerConnection
from dht14.net.bulk.tls import ALPN, NodeTls, _certificate
from dht14.node.network_clock import NetworkClock
from dht14.node.responder import Responder
from dht14.node.transfers import Download, Transfer, Upload
from dht14.records.record import Record
from dht14.security.identity import Identity, public_key_in
from dht14.security.subnets import parties_of
from dht14.security.tickets import MAX_TICKETS_PER_PEER, Tickets
from dht14.sim.memory_store import MemoryStore
from dht14.wire.bulk_messages import decode_answer, encode_answer
from dht14.wire.frames import FrameSplitter
from dht14.wire.messages import Offer, Outranked, Refused, Stored
from tests.fakes import BEGINNING
from tests.fuzz.hellos import hello_of, steps_of
from tests.fuzz.steps import step, steps
from tests.net.bulk.tls_case import ASKER, ASKER_CONTACT, HOLDER, HOLDER_CONTACT, PUZZLE

HOLDER_TLS, ASKER_TLS = NodeTls(HOLDER.private_key), NodeTls(ASKER.private_key)
KEY, VALUE = 5, bytes(range(256)) * 8
TICKET = bytes(range(16))
ANSWERS = (Stored(()), Outranked(7, ()), Refused(()), VALUE, None)


def bulk_answer(raw: bytes) -> None:
    """One frame of a holder."""
    with suppress(Malformed):
        tag, answer = decode_answer(raw, PUZZLE.verify_proof)
        again = encode_answer(tag + bytes(8), answer)
        assert decode_answer(again, PUZZLE.verify_proof) == (tag, answer)
        assert again[2:] == raw[2:] or hasattr(answer, "nearer")


def bulk_answers() -> list[bytes]:
    return [encode_answer(TICKET, answer) for answer in ANSWERS]


class _Handle:
    """What TLS knows of the other side."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity

    def get_alpn_proto_negotiated(self) -> bytes:
        return ALPN

    def get_peer_certificate(self, as_cryptography: bool) -> Certificate:
        return _certificate(self._identity.private_key)

    def get_peer_cert_chain(self, as_cryptography: bool) -> None:
        return None


class Wire(StringTransport):
    """A connection whose other side has shown its key."""

    def __init__(self, identity: Identity) -> None:
        super().__init__()
        self._handle = _Handle(identity)
        self.cut = False

    def getHandle(self) -> _Handle:
        return self._handle

    def abortConnection(self) -> None:
        self.cut = True


FETCH, PUSH, RAW, WAIT = range(4)


class Peer:
    """A peer on one connection to a holder of values."""

    def __init__(self) -> None:
        self.clock = MemoryReactorClock()
        self.clock.advance(BEGINNING)
        self.tickets: Tickets[Transfer] = Tickets(random.Random(14))
        store = MemoryStore(HOLDER.node_id, 1 << 24, lambda record: True)
        store.offer(
            Record(key=KEY, value=VALUE, version=7, expires_at=BEGINNING + 600, replication=8),
            BEGINNING,
            lambda verdict: None,
        )
        responder = Responder(
            Neighbourhood(RoutingTable(HOLDER.node_id)),
            store,
            86_400.0,
            self.tickets,
            NetworkClock(self.clock.seconds, self.clock.seconds),
        )
        self.server = BulkServer(responder, HOLDER_TLS, parties_of, self.clock)
        self.connection = BulkServerConnection(self.server, "192.0.2.1", ())
        self.wire: Any = Wire(ASKER)
        self.connection.makeConnection(self.wire)
        self.connection.handshakeCompleted()

    def take(self, what: int, data: bytes) -> None:
        """One step; bytes after a cut are ignored."""
        now = self.clock.seconds()
        if what == WAIT:
            for _ in range(min(len(data), 100)):
                self.clock.advance(1.0)
        elif what == FETCH:
            self.say(self.ticket(Download(KEY, 7, len(VALUE)), len(VALUE)) + data)
        elif what == PUSH:
            length = min(int.from_bytes(data[:2], "big"), MAX_VALUE) or 1
            digest = Record(key=KEY + 1, value=data[2:], version=7, expires_at=0.0, replication=8).digest
            offer = Offer(KEY + 1, 7, 60_000, 8, 0, False, length, digest)
            self.say(self.ticket(Upload(offer, ASKER_CONTACT, now), length) + data[2:])
        else:
            self.say(data)

    def ticket(self, transfer: Transfer, length: int) -> bytes:
        return self.tickets.issue(public_key_in(ASKER.proof), transfer, length, self.clock.seconds())

    def say(self, data: bytes) -> None:
        if not self.wire.cut and data:
            self.connection.dataReceived(data)

    def answers(self) -> list[Any]:
        """The answers so far."""
        splitter = FrameSplitter()
        splitter.feed(self.wire.value())
        found = []
        while (frame := splitter.next_frame()) is not None:
            found.append(decode_answer(frame, PUZZLE.verify_proof)[1])
        assert not splitter.begun, "half a frame"
        return found


def bulk_holder(raw: bytes) -> None:
    """Whatever a peer says inside TLS, it gets whole answers, and no more than it had tickets for."""
    peer = Peer()
    tickets = 0
    for what, data in steps(raw):
        tickets += what % 4 in (FETCH, PUSH)
        peer.take(what % 4, data)
    assert len(peer.answers()) <= tickets and len(peer.tickets) <= MAX_TICKETS_PER_PEER
    peer.connection.connectionLost(Failure(ConnectionDone()))
    assert not peer.server._connections and not peer.connection._buffer


def holder_steps() -> list[bytes]:
    pushed = (100).to_bytes(2, "big") + bytes(100)
    return [
        step(FETCH) + step(FETCH) + step(PUSH, pushed),
        step(PUSH, pushed[:50]) + step(RAW, pushed[50:]) + step(FETCH),
        step(PUSH, pushed + b"more") + step(RAW, bytes(12)),
        step(PUSH, pushed[:50]) + step(WAIT, bytes(70)),
        step(WAIT, bytes(6)) + step(FETCH),
    ]


def bulk_asker(raw: bytes) -> None:
    """Whatever a holder says inside TLS, the asker learns once how the transfer ended, with no bytes but
    those it asked for."""
    clock = MemoryReactorClock()
    clock.advance(BEGINNING)
    client = BulkClient(ASKER_TLS, PUZZLE.verify_proof, clock)
    results: list[object] = []
    for asked in (
        client.fetch(HOLDER_CONTACT, TICKET, len(VALUE)),
        client.push(HOLDER_CONTACT, bytes(16), VALUE),
    ):
        asked.addBoth(results.append)
    (connection,) = client._connections.values()
    assert isinstance(connection, BulkConnection)
    wire: Any = Wire(HOLDER)
    connection.makeConnection(wire)
    connection.handshakeCompleted()
    for _, data in steps(raw):
        if not wire.cut:
            connection.dataReceived(data)
            clock.advance(1.0)
    for _ in range(60):
        clock.advance(1.0)
    assert len(results) == 2 and not client._connections
    assert all(isinstance(result, (Failure, bytes, Stored, Outranked, Refused)) for result in results)


def asker_steps() -> list[bytes]:
    frames = [encode_answer(ticket, answer) for answer in ANSWERS for ticket in (TICKET, bytes(16))]
    return [
        *(step(0, frame) for frame in frames),
        step(0, frames[6]) + step(0, frames[1][:7]) + step(0, frames[1][7:]),
    ]


def tls_bytes(raw: bytes) -> None:
    """Bytes that are not TLS, and hellos with any fields (0, then `hellos`), get nothing but alerts and
    handshakes, and do not reach the holder."""
    said_by_holder(raw)


def said_by_holder(raw: bytes) -> bytes:
    """Return what a holder says to these bytes."""
    if raw[:1] == b"\0":
        raw = hello_of(raw[1:])
    clock = MemoryReactorClock()
    clock.advance(BEGINNING)
    responder = Responder(
        Neighbourhood(RoutingTable(HOLDER.node_id)),
        None,
        60.0,
        Tickets(random.Random(1)),
        NetworkClock(clock.seconds, clock.seconds),
    )
    server = BulkServer(responder, HOLDER_TLS, parties_of, clock)
    connection = server.buildProtocol(IPv4Address("TCP", "192.0.2.1", 5))
    assert connection is not None
    wire: Any = Wire(ASKER)
    connection.makeConnection(wire)
    for at in range(0, len(raw), 500):
        connection.dataReceived(raw[at : at + 500])
        clock.advance(0)
    said: bytes = wire.value()
    assert not server.metrics.refused and len(said) < 4_096
    connection.connectionLost(Failure(ConnectionDone()))
    return said


def tls_hellos() -> list[bytes]:
    """The first bytes of the client of a node."""
    clock = MemoryReactorClock()
    client = BulkClient(ASKER_TLS, PUZZLE.verify_proof, clock)
    client.fetch(HOLDER_CONTACT, TICKET, 1).addErrback(lambda failure: None)
    dial: Any = clock.tcpClients.pop()[2].buildProtocol(None)
    wire: Any = Wire(HOLDER)
    dial.makeConnection(wire)
    hello = wire.value()
    parts = list(steps_of(hello))
    again = [b"\0" + b"".join(parts)]
    # Without each of its fields, and with each of them twice.
    again += [b"\0" + b"".join(parts[:at] + parts[at + 1 :]) for at in range(len(parts))]
    again += [b"\0" + b"".join([*parts, part]) for part in parts]
    return [hello, hello[:100], b"GET / HTTP/1.1\r\n\r\n", *again]
