"""The side of the bulk channel that asks: a pool of connections that are kept, one to a peer. DESIGN 4.4."""

from collections import Counter, OrderedDict, deque
from enum import Enum, auto
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import (
    IConnector,
    IHandshakeListener,
    IPushProducer,
)
from twisted.internet.protocol import ClientFactory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from dht14.errors import CallFailed, Malformed
from dht14.kademlia.contact import Contact
from dht14.net.bulk.deadlines import Deadlines
from dht14.net.bulk.tls import NodeTls, WholeWrites, peer_public_key
from dht14.net.log_limiter import LogLimiter
from dht14.security.identity import VerifyProof, public_key_in
from dht14.wire.bulk_messages import UploadAnswer, decode_answer, tag_of
from dht14.wire.frames import FrameSplitter
from dht14.wire.messages import Reply
from dht14.wire.reply_filter import without_private_contacts

CONNECT_SECONDS = 5.0
"""From the first packet to the end of the handshake."""

ANSWER_SECONDS = 3.0
"""How long an answer may take, on top of what all that is under way takes at the floor."""

FLOOR = 8 * 1024
"""Bytes per second that a peer is given at least."""

KEPT_SECONDS = 50.0
"""How long a connection stays open without a transfer; less long than the other side keeps it."""

MOST_AT_ONCE = 8
"""Transfers under way on one connection."""

MOST_WAITING = 256
"""Transfers that wait for their turn on one connection."""

MOST_CONNECTIONS = 128


@define(eq=False)
class PendingTransfer:
    """One value on its way."""

    ticket: bytes
    value: bytes
    """What is sent; nothing where it is asked for."""
    length: int
    """Bytes that pass, in the one direction or the other."""
    ended: "Deferred[Any]" = field(factory=Deferred)


class ConnectPhase(Enum):
    """The life of a connection."""

    CONNECTING = auto()
    OPEN = auto()
    GONE = auto()


@implementer(IHandshakeListener, IPushProducer)
class BulkConnection(Protocol):
    """The connection to one peer, from the moment when it is wanted, and the transfers that wait for it.

    Nothing is written before the peer has shown the key of the contact, and nothing while it does not read.
    """

    log = Logger()
    transport: TLSMemoryBIOProtocol

    def __init__(self, pool: "BulkClient", contact: Contact) -> None:
        self.contact = contact
        self.connector: IConnector | None = None
        """What makes the connection."""
        self._pool = pool
        self._phase = ConnectPhase.CONNECTING
        self._waiting: deque[PendingTransfer] = deque()
        self._under_way: dict[bytes, PendingTransfer] = {}
        """By tag."""
        self._under_way_bytes = 0
        self._choked = False
        self._splitter = FrameSplitter()
        self.deadline = pool.reactor.seconds() + CONNECT_SECONDS
        """When what is waited for now must have come."""

    @property
    def idle(self) -> bool:
        """Whether nobody waits for anything."""
        return self._phase is ConnectPhase.OPEN and not self._waiting and not self._under_way

    def carry(self, transfer: PendingTransfer) -> "Deferred[Any]":
        """Let this transfer take place when its turn comes."""
        if len(self._waiting) >= MOST_WAITING or self._phase is ConnectPhase.GONE:
            transfer.ended.errback(CallFailed())
        else:
            self._waiting.append(transfer)
            self._proceed()
        return transfer.ended

    # What the transport tells us.

    def connectionMade(self) -> None:
        self.transport.registerProducer(self, True)

    def handshakeCompleted(self) -> None:
        """The handshake is over (Twisted calls). Until now nothing was sent."""
        try:
            if peer_public_key(self.transport.getHandle()) != public_key_in(self.contact.proof):
                raise Malformed("the key of another node")
        except Malformed as flaw:
            self._pool.refused(self.contact, str(flaw))
            self.close()
            return
        self._phase = ConnectPhase.OPEN
        self._proceed()

    def dataReceived(self, data: bytes) -> None:
        self._splitter.feed(data)
        try:
            while self._phase is ConnectPhase.OPEN and (frame := self._splitter.next_frame()) is not None:
                self._answered(*decode_answer(frame, self._pool.verify_proof))
                self._proceed()
        except Malformed as flaw:
            self._pool.refused(self.contact, str(flaw))
            self.close()

    def pauseProducing(self) -> None:
        """The peer does not read as fast as we write."""
        self._choked = True

    def resumeProducing(self) -> None:
        """It has read."""
        self._choked = False
        self._proceed()

    def stopProducing(self) -> None:
        """Comes with `connectionLost`, which sees to everything."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.gone()

    # The work

    def _proceed(self) -> None:
        """Send what may be sent, and expect what is due."""
        while (
            self._phase is ConnectPhase.OPEN
            and self._waiting
            and not self._choked
            and len(self._under_way) < MOST_AT_ONCE
        ):
            self._send(self._waiting.popleft())
        if self.idle:
            self._expect(KEPT_SECONDS)

    def _send(self, transfer: PendingTransfer) -> None:
        tag = tag_of(transfer.ticket)
        if transfer.ended.called:
            return  # Given up meanwhile.
        if tag in self._under_way:
            transfer.ended.errback(CallFailed())
            return
        self._pool.used(self)
        self._under_way[tag] = transfer
        self._under_way_bytes += transfer.length
        self._expect(ANSWER_SECONDS + self._under_way_bytes / FLOOR)
        self.transport.write(transfer.ticket + transfer.value)

    def _answered(self, tag: bytes, answer: UploadAnswer) -> None:
        transfer = self._under_way.pop(tag, None)
        if transfer is None:
            raise Malformed("an answer to nothing")
        self._under_way_bytes -= transfer.length
        self._expect(ANSWER_SECONDS + self._under_way_bytes / FLOOR)
        if transfer.ended.called:
            return
        if answer is None or isinstance(answer, bytes) == bool(transfer.value):
            transfer.ended.errback(CallFailed())
        elif isinstance(answer, bytes):
            transfer.ended.callback(answer)
        else:
            transfer.ended.callback(without_private_contacts(answer, self.contact.address[0]))

    def _expect(self, seconds: float) -> None:
        self.deadline = self._pool.reactor.seconds() + seconds

    # The end

    def too_slow(self) -> None:
        """As `HasDeadline`."""
        self._pool.counters["idle" if self.idle else "slow"] += 1
        self.close()

    def close(self) -> None:
        """Cut the connection. What waits for it fails."""
        if self._phase is ConnectPhase.GONE:
            return
        self.gone()
        if self.connected:
            self.transport.abortConnection()
        elif self.connector is not None:
            self.connector.stopConnecting()

    def gone(self) -> None:
        """The connection is no more, or never was. What waits for it fails."""
        if self._phase is ConnectPhase.GONE:
            return
        self._phase = ConnectPhase.GONE
        self._pool.left(self)
        failed = [*self._under_way.values(), *self._waiting]
        self._under_way.clear()
        self._waiting.clear()
        for transfer in failed:
            if not transfer.ended.called:
                transfer.ended.errback(CallFailed())


class _Dial(ClientFactory):
    """One attempt to connect a line."""

    noisy = False

    def __init__(self, line: BulkConnection) -> None:
        self._line = line

    def buildProtocol(self, addr: object) -> BulkConnection:
        return self._line

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        self._line.gone()


class BulkClient:
    """The `Bulk` of a node: lines that are open to peers, and kept while they are used."""

    log = Logger()

    def __init__(
        self, tls: NodeTls, verify_proof: VerifyProof, reactor: Any, source: str | None = None
    ) -> None:
        """`source` is the address to connect from, where the node has one of its own."""
        self.verify_proof = verify_proof
        self.reactor = reactor
        self.counters: Counter[str] = Counter()
        """Connections: those opened, and how others ended early."""
        self._tls = tls
        self._source = source
        self._lines: OrderedDict[Contact, BulkConnection] = OrderedDict()
        """The least recently used first."""
        self._notes = LogLimiter(reactor.seconds())
        self._watch = Deadlines(reactor)
        self._stopped = False

    def push(self, contact: Contact, ticket: bytes, value: bytes) -> "Deferred[Reply]":
        """As `Bulk.push`."""
        return self._carry(contact, PendingTransfer(ticket, value, len(value)))

    def fetch(self, contact: Contact, ticket: bytes, length: int) -> "Deferred[bytes]":
        """As `Bulk.fetch`."""
        return self._carry(contact, PendingTransfer(ticket, b"", length))

    def stop(self) -> None:
        """Cut all lines. What waits fails, and whatever is asked for from now on."""
        self._stopped = True
        for line in list(self._lines.values()):
            line.close()

    def _carry(self, contact: Contact, transfer: PendingTransfer) -> "Deferred[Any]":
        line = self._lines.get(contact) or self._open(contact)
        if line is None:
            return fail(CallFailed())
        return line.carry(transfer)

    def _open(self, contact: Contact) -> BulkConnection | None:
        """A new line, if the peer's key is known and there is room for one more."""
        if self._stopped or not contact.proof or not self._has_room():
            return None
        line = self._lines[contact] = BulkConnection(self, contact)
        self._watch.begin(line)
        host, port = contact.address
        dial = TLSMemoryBIOFactory(self._tls, True, _Dial(line), self.reactor)
        dial.protocol = WholeWrites
        bind = None if self._source is None else (self._source, 0)
        self.counters["opened"] += 1
        line.connector = self.reactor.connectTCP(host, port, dial, timeout=CONNECT_SECONDS, bindAddress=bind)
        return line

    def _has_room(self) -> bool:
        """Whether one more may be opened; for that one that is idle may have to go."""
        if len(self._lines) >= MOST_CONNECTIONS:
            idle = next((line for line in self._lines.values() if line.idle), None)
            if idle is not None:
                idle.close()
        return len(self._lines) < MOST_CONNECTIONS

    def used(self, line: BulkConnection) -> None:
        """A line has carried something."""
        self._lines.move_to_end(line.contact)

    def left(self, line: BulkConnection) -> None:
        """A line is gone."""
        del self._lines[line.contact]
        self._watch.end(line)

    def refused(self, contact: Contact, reason: str) -> None:
        """A peer is not who it should be, or does what it should not."""
        self.counters["refused"] += 1
        if self._notes.is_due(contact.address, self.reactor.seconds()):
            self.log.warn(
                "The bulk connection to {host} port {port} is cut: {reason}. More of this from there is only "
                "counted for a while.",
                host=contact.address[0],
                port=contact.address[1],
                reason=reason,
            )
