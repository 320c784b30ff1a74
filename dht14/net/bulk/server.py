"""The server side of the bulk channel: redeems tickets, receives values and sends them."""

from collections.abc import Callable
from enum import Enum, auto
from functools import partial

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import (
    IAddress,
    IHandshakeListener,
    IPushProducer,
    IReactorTime,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from dht14.errors import Malformed
from dht14.kademlia.parameters import MAX_VALUE
from dht14.net.bulk.deadlines import MIN_RATE, Deadlines
from dht14.net.bulk.metrics import BulkServerMetrics
from dht14.net.bulk.tls import NodeTls, WholeWrites, peer_public_key
from dht14.net.log_limiter import LogLimiter
from dht14.node.responder import Responder
from dht14.node.transfers import Upload
from dht14.security.rate_limiter import RateLimiter
from dht14.security.shares import SharedSlots
from dht14.security.subnets import Party, Scope
from dht14.security.tickets import TICKET_BYTES
from dht14.wire.bulk_messages import UploadAnswer, encode_answer

HANDSHAKE_TIMEOUT = 5.0
TICKET_TIMEOUT = 5.0
"""Seconds from the end of the handshake to the first ticket."""

SERVER_IDLE_TIMEOUT = 60.0
"""Seconds that a connection may stay open without a transfer."""

TRANSFER_GRACE = 2.0
"""Seconds that a transfer may take, on top of its time at MIN_RATE."""

MAX_UNCOMMITTED = 4
"""Values of one connection that wait for their commit; with more, it is not read."""

MAX_CONNECTIONS = 256
MAX_PER_SUBNET = 32
CONNECTION_LIMITS = {
    Scope.HOST: MAX_PER_SUBNET,
    Scope.SUBNET: MAX_PER_SUBNET,
    Scope.PROVIDER: 4 * MAX_PER_SUBNET,
    # A whole network may share one private address: it is not limited, but its connections give way first.
    Scope.PRIVATE_HOST: MAX_CONNECTIONS + 1,
}
MAX_PER_KEY = 2
"""A peer needs one. It opens a second one if it has lost the first and the server does not know yet."""
BUSY_MARGIN = 0.25
"""A busy connection is closed for another party only if its party exceeds its share by this part of it."""
ARRIVAL_RATE = 20
"""Connections accepted from one subnet in a second, twice as many in a burst: a handshake costs 1 ms."""


class UploadPhase(Enum):
    """What the connection waits for."""

    HANDSHAKE = auto()
    TICKET = auto()
    VALUE = auto()
    GONE = auto()


@implementer(IHandshakeListener, IPushProducer)
class BulkServerConnection(Protocol):
    """One connection of a peer.

    It holds at most `MAX_UNCOMMITTED` values and a buffer of one value's size: it does not read while more
    values wait for their commit, or while the peer does not read the values that it has asked for.
    """

    transport: TLSMemoryBIOProtocol

    def __init__(self, server: "BulkServer", host: str, parties: tuple[Party, ...]) -> None:
        self.host = host
        self.parties = parties
        self.tickets_redeemed = 0
        """Until the first one, the connection may belong to anybody."""
        self.used_at = 0.0
        """When the last ticket was redeemed; 0: never."""
        self.public_key = b""
        """The key that the peer has proven; empty before the end of the handshake."""
        self._server = server
        self._phase = UploadPhase.HANDSHAKE
        self._buffer = bytearray()
        self._upload: tuple[bytes, Upload] | None = None
        """The value that is coming now, with its ticket."""
        self._uncommitted = 0
        self._is_paused = False
        self._reading = True
        self.deadline = 0.0
        """When the next step of the peer must have come."""

    # Called by the transport

    def connectionMade(self) -> None:
        self._expect(HANDSHAKE_TIMEOUT)
        self._server.connection_opened(self)
        self.transport.registerProducer(self, True)

    def handshakeCompleted(self) -> None:
        """The peer has proven its key (Twisted calls). It must send a ticket now."""
        try:
            self.public_key = peer_public_key(self.transport.getHandle())
        except Malformed as flaw:
            self._cut(str(flaw))
            return
        self._phase = UploadPhase.TICKET
        self._expect(TICKET_TIMEOUT)
        self._server.peer_identified(self)

    def dataReceived(self, data: bytes) -> None:
        self._buffer += data
        self._advance()

    def pauseProducing(self) -> None:
        """The peer reads its values more slowly than it asks for them."""
        self._is_paused = True
        self._expect(2 * MAX_VALUE / MIN_RATE + TRANSFER_GRACE)

    def resumeProducing(self) -> None:
        """The peer has read them."""
        self._is_paused = False
        self._expect(SERVER_IDLE_TIMEOUT)
        self._advance()

    def stopProducing(self) -> None:
        """`connectionLost` follows and does all."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._phase = UploadPhase.GONE
        self._buffer.clear()
        self._server.connection_closed(self)

    # Transfers

    def _advance(self) -> None:
        """Process the buffer as far as possible, then set reading."""
        while self._uncommitted < MAX_UNCOMMITTED and not self._is_paused and self._next():
            pass
        self._set_reading()

    def _next(self) -> bool:
        """Process one ticket or one value; False if it is not complete yet."""
        if self._phase is UploadPhase.TICKET and len(self._buffer) >= TICKET_BYTES:
            self._redeem(self._take(TICKET_BYTES))
        elif self._upload is not None and len(self._buffer) >= self._upload[1].offer.length:
            self._received(*self._upload)
        else:
            return False
        return True

    def _take(self, length: int) -> bytes:
        with memoryview(self._buffer) as there:
            taken = bytes(there[:length])
        del self._buffer[:length]
        return taken

    def _redeem(self, ticket: bytes) -> None:
        now = self._server.clock.seconds()
        transfer = self._server.responder.redeem(ticket, self.public_key, now)
        if transfer is None:
            self._cut("invalid ticket")
            return
        self.tickets_redeemed += 1
        self.used_at = now
        if isinstance(transfer, Upload):
            self._phase = UploadPhase.VALUE
            self._upload = ticket, transfer
            self._expect(transfer.offer.length / MIN_RATE + TRANSFER_GRACE)
        else:
            self._expect(SERVER_IDLE_TIMEOUT)
            value = self._server.responder.give(transfer, now)
            self._server.metrics.given += 1
            self._server.metrics.bytes_sent += len(value or b"")
            self._answer(ticket, value)

    def _received(self, ticket: bytes, upload: Upload) -> None:
        self._phase = UploadPhase.TICKET
        self._upload = None
        value = self._take(upload.offer.length)
        self._expect(SERVER_IDLE_TIMEOUT)
        self._uncommitted += 1
        self._server.metrics.taken += 1
        self._server.metrics.bytes_received += len(value)
        now = self._server.clock.seconds()
        self._server.responder.take(upload, value, now, partial(self._verdict_reached, ticket))

    def _verdict_reached(self, ticket: bytes, answer: UploadAnswer) -> None:
        was_full = self._uncommitted == MAX_UNCOMMITTED
        self._uncommitted -= 1
        if self._phase is not UploadPhase.GONE:
            self._answer(ticket, answer)
            if was_full:
                self._advance()

    def _answer(self, ticket: bytes, answer: UploadAnswer) -> None:
        self.transport.write(encode_answer(ticket, answer))

    def _set_reading(self) -> None:
        reading = len(self._buffer) < MAX_VALUE or (
            self._uncommitted < MAX_UNCOMMITTED and not self._is_paused
        )
        if reading == self._reading or self._phase is UploadPhase.GONE:
            return
        self._reading = reading
        if reading:
            self.transport.resumeProducing()
        else:
            self.transport.pauseProducing()

    @property
    def is_busy(self) -> bool:
        """Whether a transfer is under way, in either direction."""
        return self._phase is UploadPhase.VALUE or self._uncommitted > 0 or self._is_paused

    # The end of the connection

    def _expect(self, seconds: float) -> None:
        self.deadline = self._server.clock.seconds() + seconds

    def deadline_passed(self) -> None:
        """As `HasDeadline`."""
        idle = self._phase is UploadPhase.TICKET and not self._buffer and not self._is_paused
        if idle:
            self._server.metrics.idle += 1
        else:
            self._server.metrics.slow += 1
        self.close()

    def _cut(self, reason: str) -> None:
        self._server.peer_refused(self.host, reason)
        self.close()

    def close(self) -> None:
        """Cut the connection."""
        if self._phase is not UploadPhase.GONE:
            self._phase = UploadPhase.GONE
            self._upload = None
            self._buffer.clear()
            self._server.connection_closed(self)
            self.transport.abortConnection()


class BulkServer(Factory):
    """Accepts peers and makes their connections."""

    log = Logger()
    noisy = False

    def __init__(
        self,
        responder: Responder,
        tls: NodeTls,
        parties_of: Callable[[str], tuple[Party, ...]],
        clock: IReactorTime,
    ) -> None:
        self.responder = responder
        self.clock = clock
        self.metrics = BulkServerMetrics()
        self._parties_of = parties_of
        # Wraps each connection in TLS. This class keeps the list of connections itself.
        self._wrapper = TLSMemoryBIOFactory(tls, False, Factory(), clock)
        self._connections: SharedSlots[BulkServerConnection] = SharedSlots(MAX_CONNECTIONS, CONNECTION_LIMITS)
        self._deadlines = Deadlines(clock)
        self._arrivals = RateLimiter(ARRIVAL_RATE, 2 * ARRIVAL_RATE)
        self._log_limiter = LogLimiter(clock.seconds())

    def buildProtocol(self, addr: IAddress | None) -> TLSMemoryBIOProtocol | None:
        assert isinstance(addr, (IPv4Address, IPv6Address))
        host = addr.host.removeprefix("::ffff:")
        parties = self._parties_of(host)
        if not self._is_within_limits(parties) or not self._make_room(parties):
            self.metrics.too_many += 1
            return None
        return WholeWrites(self._wrapper, BulkServerConnection(self, host, parties))

    def _is_within_limits(self, parties: tuple[Party, ...]) -> bool:
        """Whether these parties may have one more connection, and their subnet is within its rate."""
        now = self.clock.seconds()
        return self._connections.has_share_left(parties) and all(
            self._arrivals.bucket(party, now).take(now) for party in parties if party[0] is Scope.SUBNET
        )

    def _make_room(self, parties: tuple[Party, ...]) -> bool:
        """Whether one more connection may be accepted; if the server is full, one of another party is closed.

        It is one of the party that has most: the oldest one that has redeemed no ticket, since a peer with a
        ticket shows it at once; else the one that was idle longest. A busy one is closed only if its party
        has far more than the others.
        """
        if not self._connections.is_full:
            return True
        first = sorted(self._connections, key=lambda one: one.used_at)
        victim = self._connections.to_evict(parties, first, lambda one: BUSY_MARGIN if one.is_busy else 0.0)
        if victim is None:
            return False
        self.metrics.displaced += 1
        victim.close()
        return True

    def connection_opened(self, connection: BulkServerConnection) -> None:
        """A peer has connected."""
        self._connections.add(connection, connection.parties)
        self._deadlines.add(connection)

    def peer_identified(self, connection: BulkServerConnection) -> None:
        """The peer has proven its key. If it has too many connections now, close an idle one, possibly this
        one."""
        of_key = [one for one in self._connections if one.public_key == connection.public_key]
        if len(of_key) > MAX_PER_KEY:
            self.metrics.of_one_key += 1
            next(one for one in of_key if not one.is_busy).close()

    def connection_closed(self, connection: BulkServerConnection) -> None:
        """A connection has ended, or is being cut."""
        if connection in self._connections:
            self._connections.remove(connection)
            self._deadlines.remove(connection)

    def peer_refused(self, host: str, reason: str) -> None:
        """Count and log a peer that is no node or breaks the protocol."""
        self.metrics.refused += 1
        if self._log_limiter.may_log(host, self.clock.seconds()):
            self.log.warn(
                "Closing a bulk connection from {host}: {reason}. Further cases from there are only counted "
                "until there has been none for a minute.",
                event="bulk.incoming_closed",
                host=host,
                reason=reason,
            )

    def close(self) -> None:
        """Cut all connections, after the port is closed."""
        for connection in list(self._connections):
            connection.close()
