"""A target of several steps: a client of the bulk channel in real TLS, with any certificate, whose records
are changed, cut or held back on the way."""

import random
from contextlib import suppress
from functools import cache
from typing import Any

from OpenSSL import SSL
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.logger import capturedLogs
from twisted.python.failure import Failure

from dht14.kademlia.neighbourhood import Neighbourhood
from dht14.kademlia.routing_table import RoutingTable
from dht14.net.bulk.server import BulkServer
from dht14.net.bulk.tls import NodeTls
from dht14.node.network_clock import NetworkClock
from dht14.node.responder import Responder
from dht14.node.transfers import Download, Transfer, Upload
from dht14.records.record import Record
from dht14.security.identity import public_key_in
from dht14.security.subnets import parties_of
from dht14.security.tickets import Tickets
from dht14.sim.memory_store import MemoryStore
from dht14.wire.bulk_messages import decode_answer
from dht14.wire.frames import FrameSplitter
from dht14.wire.messages import Offer
from tests.fakes import BEGINNING
from tests.fuzz.steps import step, steps
from tests.net.bulk.test_tls import impostors
from tests.net.bulk.tls_case import ASKER, ASKER_CONTACT, HOLDER, PUZZLE

KEY, VALUE = 5, bytes(range(256)) * 80

SAY, FETCH, PUSH, CHANGE, HOLD_BACK, LET_GO, WAIT, CLOSE = range(8)
KINDS = 8


@cache
def callers() -> list[Any]:
    """The TLS of those who may call: the asker first, whose tickets count."""
    return [NodeTls(ASKER.private_key), *impostors().values()]


class TlsTrial:
    """One input from start to end: one connection to a holder."""

    def __init__(self, caller: int) -> None:
        self.clock = MemoryReactorClock()
        self.clock.advance(BEGINNING)
        self.tickets: Tickets[Transfer] = Tickets(random.Random(14))
        store = MemoryStore(HOLDER.node_id, 1 << 24, lambda record: True)
        held = Record(key=KEY, value=VALUE, version=7, expires_at=BEGINNING + 600, replication=8)
        store.offer(held, BEGINNING, lambda verdict: None)
        self.server = BulkServer(
            Responder(
                Neighbourhood(RoutingTable(HOLDER.node_id)),
                store,
                86_400.0,
                self.tickets,
                NetworkClock(self.clock.seconds, self.clock.seconds),
            ),
            NodeTls(HOLDER.private_key),
            parties_of,
            self.clock,
        )
        self.is_asker = caller % len(callers()) == 0
        self.client: SSL.Connection = callers()[caller % len(callers())].clientConnectionForTLS(None)
        self.client.set_connect_state()
        holder = self.server.buildProtocol(IPv4Address("TCP", "192.0.2.1", 5))
        assert holder is not None
        self.holder: Any = holder
        self.wire = StringTransport()
        self.holder.makeConnection(self.wire)
        self.received = b""
        self.asked = 0
        self.changes = b""
        """What the next bytes to the holder are changed by."""
        self.held_back: bytearray | None = None
        self.pump()

    @property
    def is_open(self) -> bool:
        return not (self.wire.disconnecting or self.wire.disconnected)

    def pump(self) -> None:
        """Deliver what both sides have written, until neither writes more."""
        for _ in range(40):
            with suppress(SSL.Error):
                self.client.do_handshake()
            with suppress(SSL.Error):
                while data := self.client.recv(65_536):
                    self.received += data
            sent = b""
            with suppress(SSL.WantReadError):
                sent = self.client.bio_read(1 << 18)
            answered = self.wire.value()
            self.wire.clear()
            if sent:
                self.deliver(sent)
            if answered:
                with suppress(SSL.Error):
                    self.client.bio_write(answered)
            self.clock.advance(0)
            if not sent and not answered:
                return

    def deliver(self, sent: bytes) -> None:
        raw = bytearray(sent)
        for number, change in enumerate(self.changes[2:], int.from_bytes(self.changes[:2], "big")):
            raw[number % len(raw)] ^= change
        self.changes = b""
        if self.held_back is not None:
            self.held_back += raw
        elif self.is_open:
            self.holder.dataReceived(bytes(raw))

    def take(self, what: int, data: bytes) -> None:
        """One step."""
        if what == SAY:
            self.say(data)
        elif what == FETCH:
            self.asked += 1
            self.say(self.ticket(Download(KEY, 7, len(VALUE)), len(VALUE)) + data)
        elif what == PUSH:
            self.asked += 1
            digest = Record(key=KEY + 1, value=data or b"v", version=7, expires_at=0.0, replication=8).digest
            length = max(1, len(data))
            offer = Offer(KEY + 1, 7, 60_000, 8, 0, False, length, digest)
            self.say(self.ticket(Upload(offer, ASKER_CONTACT, BEGINNING), length) + (data or b"v"))
        elif what == CHANGE:
            self.changes = data
        elif what == HOLD_BACK:
            self.held_back = self.held_back or bytearray()
        elif what == LET_GO and self.held_back is not None:
            held, self.held_back = bytes(self.held_back), None
            length = int.from_bytes(data[:2], "big") or 1_000
            for at in range(0, min(len(held), 40 * length), length):
                if self.is_open:
                    self.holder.dataReceived(held[at : at + length])
        elif what == WAIT:
            for _ in range(min(sum(data[:1]), 100)):
                self.clock.advance(1.0)
        elif what == CLOSE:
            with suppress(SSL.Error):
                self.client.shutdown()
        self.pump()

    def ticket(self, transfer: Transfer, length: int) -> bytes:
        return self.tickets.issue(public_key_in(ASKER.proof), transfer, length, self.clock.seconds())

    def say(self, data: bytes) -> None:
        if data:
            with suppress(SSL.Error):
                self.client.send(data)

    def answers(self) -> list[Any]:
        """The whole answers so far; half of one may be on the way."""
        splitter = FrameSplitter()
        splitter.feed(self.received)
        found = []
        while (frame := splitter.next_frame()) is not None:
            found.append(decode_answer(frame, PUZZLE.verify_proof)[1])
        return found

    def end(self) -> None:
        """What holds after any input."""
        answers = self.answers()
        assert len(answers) <= self.asked
        assert self.is_asker or not self.received, "somebody else got an answer"
        self.holder.connectionLost(Failure(ConnectionDone()))
        self.clock.advance(120.0)
        assert not self.server._connections
        assert not self.clock.getDelayedCalls()


def tls_peer(raw: bytes) -> None:
    """Whoever calls and whatever becomes of the bytes, only the asker gets answers, at most one for each
    ticket, and the holder raises nothing and keeps nothing: `caller u8`, then steps."""
    with capturedLogs() as events:
        trial = TlsTrial(sum(raw[:1]))
        for what, data in steps(raw[1:]):
            trial.take(what % KINDS, data)
        trial.end()
    for event in events:
        assert "log_failure" not in event, event["log_failure"]


def tls_steps() -> list[bytes]:
    """Each caller, each kind of step, and the ones that belong together."""
    fetched, pushed = step(FETCH), step(PUSH, bytes(3_000))
    return [
        *(bytes([caller]) + fetched + pushed for caller in range(len(callers()))),
        b"\0" + step(HOLD_BACK) + fetched + pushed + step(LET_GO, b"\0\x07") + fetched,
        b"\0" + step(CHANGE, b"\0\x10\1") + fetched + fetched,
        b"\0" + fetched + step(CLOSE) + pushed,
        b"\0" + step(SAY, bytes(40)) + step(WAIT, b"\x46") + fetched,
        b"\0" + step(WAIT, b"\x06") + fetched + step(WAIT, b"\x3c") + fetched,
    ]
