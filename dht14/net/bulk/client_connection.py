"""One connection of the bulk client, and the transfers that wait for it or are under way on it."""

from collections import deque
from enum import Enum, auto
from typing import Any, Protocol

from attrs import define, field
from twisted.internet import protocol
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConnector, IHandshakeListener, IPushProducer
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from dht14.errors import CallFailed, Interrupted, Malformed, Withdrawn
from dht14.kademlia.contact import Contact
from dht14.kademlia.parameters import OPERATION_TIMEOUT
from dht14.net.bulk.deadlines import MIN_RATE
from dht14.net.bulk.metrics import BulkClientMetrics
from dht14.net.bulk.tls import peer_public_key
from dht14.security.identity import VerifyProof, public_key_in
from dht14.security.tickets import MAX_TICKETS_PER_PEER
from dht14.wire.bulk_messages import UploadAnswer, decode_answer, tag_of
from dht14.wire.frames import FrameSplitter
from dht14.wire.reply_filter import without_private_contacts

CONNECT_TIMEOUT = 5.0
"""From the first packet to the end of the handshake."""

ANSWER_TIMEOUT = 3.0
"""Seconds that an answer may take after the one before, on top of the time of its transfer at MIN_RATE."""

IDLE_TIMEOUT = 50.0
"""Seconds that a connection stays open without a transfer: less than the server keeps it, so that the client
never sends on a connection that the server is closing."""

MAX_UNDER_WAY = 8
"""Transfers under way on one connection."""

MAX_WAITING = MAX_TICKETS_PER_PEER - MAX_UNDER_WAY
"""Transfers that wait on one connection. With more, the ticket of the oldest would not be valid any more."""

MAX_WAIT = OPERATION_TIMEOUT
"""Seconds that a transfer may wait. Nobody waits longer for its end: over a slow path it would delay those
that are waited for, and with an invalid ticket end the connection."""


@define(eq=False)
class PendingTransfer:
    """One value on its way."""

    ticket: bytes
    value: bytes
    """The value to send; empty in a fetch."""
    length: int
    """Bytes of the value, in either direction."""
    asked_at: float
    ended: "Deferred[Any]" = field(factory=Deferred)


class ConnectPhase(Enum):
    """The life of a connection."""

    CONNECTING = auto()
    OPEN = auto()
    GONE = auto()


class BulkPool(Protocol):
    """The pool of a connection."""

    verify_proof: VerifyProof
    reactor: Any
    metrics: BulkClientMetrics

    def connection_used(self, connection: "BulkConnection") -> None:
        """A transfer was sent on this connection."""

    def connection_closed(self, connection: "BulkConnection") -> None:
        """A connection has ended."""

    def peer_refused(self, contact: Contact, reason: str) -> None:
        """A peer has another key, or breaks the protocol."""


@implementer(IHandshakeListener, IPushProducer)
class BulkConnection(protocol.Protocol):
    """The connection to one peer, from its first transfer on, and the queue of its transfers.

    Nothing is written before the peer has proven the key of the contact, nor while the peer does not read.
    """

    transport: TLSMemoryBIOProtocol

    def __init__(self, pool: BulkPool, contact: Contact) -> None:
        self.contact = contact
        self.connector: IConnector | None = None
        self._pool = pool
        self._phase = ConnectPhase.CONNECTING
        self._waiting: deque[PendingTransfer] = deque()
        self._under_way: dict[bytes, PendingTransfer] = {}
        """By tag, the oldest first."""
        self._is_paused = False
        self._splitter = FrameSplitter()
        self.deadline = pool.reactor.seconds() + CONNECT_TIMEOUT
        """When the connection, the next answer or the next transfer must have come."""

    @property
    def idle(self) -> bool:
        """Whether it is open and has no transfer."""
        return self._phase is ConnectPhase.OPEN and not self._waiting and not self._under_way

    def enqueue(self, transfer: PendingTransfer) -> "Deferred[Any]":
        """Append a transfer to the queue; fires with its result."""
        if len(self._waiting) >= MAX_WAITING or self._phase is ConnectPhase.GONE:
            transfer.ended.errback(CallFailed())
        else:
            self._waiting.append(transfer)
            self._proceed()
        return transfer.ended

    # Called by the transport

    def connectionMade(self) -> None:
        self.transport.registerProducer(self, True)

    def handshakeCompleted(self) -> None:
        """The handshake is over (Twisted calls). Nothing was sent before."""
        try:
            if peer_public_key(self.transport.getHandle()) != public_key_in(self.contact.proof):
                raise Malformed("it has the key of another node")
        except Malformed as flaw:
            self._pool.peer_refused(self.contact, str(flaw))
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
            self._pool.peer_refused(self.contact, str(flaw))
            self.close()

    def pauseProducing(self) -> None:
        """The peer reads more slowly than this node writes."""
        self._is_paused = True

    def resumeProducing(self) -> None:
        """The peer has read."""
        self._is_paused = False
        self._proceed()

    def stopProducing(self) -> None:
        """`connectionLost` follows and does all."""

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        self.connection_failed(Interrupted if self._phase is ConnectPhase.OPEN else CallFailed)

    # Transfers

    def _proceed(self) -> None:
        """Send the transfers that may be sent, and set the deadline."""
        while (
            self._phase is ConnectPhase.OPEN
            and self._waiting
            and not self._is_paused
            and len(self._under_way) < MAX_UNDER_WAY
        ):
            self._send(self._waiting.popleft())
        if self.idle:
            self._expect(IDLE_TIMEOUT)

    def _send(self, transfer: PendingTransfer) -> None:
        tag = tag_of(transfer.ticket)
        if transfer.ended.called:
            return  # Cancelled meanwhile.
        if tag in self._under_way or self._pool.reactor.seconds() - transfer.asked_at > MAX_WAIT:
            transfer.ended.errback(CallFailed())
            return
        self._pool.connection_used(self)
        self._under_way[tag] = transfer
        if len(self._under_way) == 1:
            self._expect_answer()
        self.transport.write(transfer.ticket + transfer.value)

    def _answered(self, tag: bytes, answer: UploadAnswer) -> None:
        transfer = self._under_way.pop(tag, None)
        if transfer is None:
            raise Malformed("an answer to no transfer")
        self._expect_answer()
        if transfer.ended.called:
            return
        if answer is None and not transfer.value:
            transfer.ended.errback(Withdrawn())
        elif answer is None or isinstance(answer, bytes) == bool(transfer.value):
            transfer.ended.errback(CallFailed())
        elif isinstance(answer, bytes):
            transfer.ended.callback(answer)
        else:
            transfer.ended.callback(without_private_contacts(answer, self.contact.address[0]))

    def _expect_answer(self) -> None:
        """Expect the answer to the oldest transfer. Later ones give it no more time: a connection that has
        stalled must not last for as long as there is something to send."""
        oldest = next(iter(self._under_way.values()), None)
        if oldest is not None:
            self._expect(ANSWER_TIMEOUT + oldest.length / MIN_RATE)

    def _expect(self, seconds: float) -> None:
        self.deadline = self._pool.reactor.seconds() + seconds

    # The end of the connection

    def deadline_passed(self) -> None:
        """As `HasDeadline`."""
        metrics = self._pool.metrics
        if self.idle:
            metrics.idle += 1
        else:
            metrics.slow += 1
        self.close()

    def close(self) -> None:
        """Cut the connection. Its transfers fail."""
        if self._phase is ConnectPhase.GONE:
            return
        self.connection_failed()
        if self.connected:
            self.transport.abortConnection()
        elif self.connector is not None:
            self.connector.stopConnecting()

    def connection_failed(self, error: type[CallFailed] = CallFailed) -> None:
        """The connection has ended, or could not be made. Its transfers fail."""
        if self._phase is ConnectPhase.GONE:
            return
        self._phase = ConnectPhase.GONE
        self._pool.connection_closed(self)
        failed = [*self._under_way.values(), *self._waiting]
        self._under_way.clear()
        self._waiting.clear()
        for transfer in failed:
            if not transfer.ended.called:
                transfer.ended.errback(error())


class SingleConnection(protocol.ClientFactory):
    """Makes one connection."""

    noisy = False

    def __init__(self, connection: BulkConnection) -> None:
        self._connection = connection

    def buildProtocol(self, addr: object) -> BulkConnection:
        return self._connection

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        self._connection.connection_failed()
