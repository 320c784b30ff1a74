"""The side of the bulk channel that holds values: takes tickets, and what they are for. DESIGN 4.4."""

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
from dht14.security.shares import SharedPlaces
from dht14.security.subnets import Party, Scope
from dht14.security.tickets import TICKET_BYTES
from dht14.wire.bulk_messages import UploadAnswer, encode_answer

HANDSHAKE_TIMEOUT = 5.0
TICKET_TIMEOUT = 5.0
"""From the end of the handshake to the first ticket."""

SERVER_IDLE_TIMEOUT = 60.0
"""How long a connection may stay open between two transfers."""

TRANSFER_GRACE = 2.0
"""Seconds on top of what a transfer takes at the floor."""

MAX_UNCOMMITTED = 4
"""Values of one connection that may wait for their commit before the next is read."""

MAX_CONNECTIONS = 256
MAX_PER_SUBNET = 32
CONNECTION_LIMITS = {
    Scope.HOST: MAX_PER_SUBNET,
    Scope.SUBNET: MAX_PER_SUBNET,
    Scope.PROVIDER: 4 * MAX_PER_SUBNET,
    # A whole network may be there: what it has gives way, to others and among itself, and nobody is kept out.
    Scope.PRIVATE_HOST: MAX_CONNECTIONS + 1,
}
MAX_PER_KEY = 2
"""A peer needs one; while it has lost one without our knowing it makes another."""
BUSY_MARGIN = 0.25
"""The part of its share by which a party must have more before a connection of it is cut that is at work."""
ARRIVAL_RATE = 20
"""Connections that may come in a second from one subnet, twice as many at once: a handshake costs 1 ms."""


class UploadPhase(Enum):
    """What the connection waits for."""

    HANDSHAKE = auto()
    TICKET = auto()
    VALUE = auto()
    GONE = auto()


@implementer(IHandshakeListener, IPushProducer)
class BulkServerConnection(Protocol):
    """One connection of a peer.

    It keeps at most `MAX_UNCOMMITTED` values and as much again as one value: it does not read on while more wait
    for their commit, or while the peer does not take what it asked for.
    """

    log = Logger()
    transport: TLSMemoryBIOProtocol

    def __init__(self, server: "BulkServer", host: str, parties: tuple[Party, ...]) -> None:
        self.host = host
        self.parties = parties
        self.tickets_redeemed = 0
        """Tickets redeemed: until the first one it may be anybody's connection."""
        self.used_at = 0.0
        """When the last of them was; strangers have never used it."""
        self.public_key = b""
        """That the peer has proven to have; empty before the end of the handshake."""
        self._server = server
        self._phase = UploadPhase.HANDSHAKE
        self._buffer = bytearray()
        self._upload: tuple[bytes, Upload] | None = None
        """The ticket and the errand of the value that comes now."""
        self._uncommitted = 0
        self._is_paused = False
        self._reading = True
        self.deadline = 0.0
        """When what is waited for now must have come."""

    # What the transport tells us.

    def connectionMade(self) -> None:
        self._expect(HANDSHAKE_TIMEOUT)
        self._server.connection_opened(self)
        self.transport.registerProducer(self, True)

    def handshakeCompleted(self) -> None:
        """The peer has proven that it has its key (Twisted calls). Nothing is sent; a ticket must come."""
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
        """The peer does not take its values as fast as it asks for them."""
        self._is_paused = True
        self._expect(2 * MAX_VALUE / MIN_RATE + TRANSFER_GRACE)

    def resumeProducing(self) -> None:
        """It has taken them."""
        self._is_paused = False
        self._expect(SERVER_IDLE_TIMEOUT)
        self._advance()

    def stopProducing(self) -> None:
        """Comes with `connectionLost`, which sees to everything."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._phase = UploadPhase.GONE
        self._buffer.clear()
        self._server.connection_closed(self)

    # The work

    def _advance(self) -> None:
        """Do all that can be done with what is there, then read on or not."""
        while self._uncommitted < MAX_UNCOMMITTED and not self._is_paused and self._next():
            pass
        self._set_reading()

    def _next(self) -> bool:
        """One ticket or one value; False where it is not there yet."""
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
            self._cut("a ticket that is worth nothing")
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

    # The end

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
        """Cut the connection, whatever it is at."""
        if self._phase is not UploadPhase.GONE:
            self._phase = UploadPhase.GONE
            self._upload = None
            self._buffer.clear()
            self._server.connection_closed(self)
            self.transport.abortConnection()


class BulkServer(Factory):
    """Lets peers in and makes their connections."""

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
        # Wraps each connection; which of them there are is our own business.
        self._wrapper = TLSMemoryBIOFactory(tls, False, Factory(), clock)
        self._connections: SharedPlaces[BulkServerConnection] = SharedPlaces(
            MAX_CONNECTIONS, CONNECTION_LIMITS
        )
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
        """Whether these have few enough connections, and not too many came from their subnet just now."""
        now = self.clock.seconds()
        return self._connections.has_share_left(parties) and all(
            self._arrivals.bucket(party, now).take(now) for party in parties if party[0] is Scope.SUBNET
        )

    def _make_room(self, parties: tuple[Party, ...]) -> bool:
        """Whether one more may be let in. For it one goes of those who have most: of these the oldest that has
        shown no ticket yet, since a peer with a ticket shows it at once; else the one that rests longest. One
        that is at work goes only where its party has far more than the others."""
        if not self._connections.is_full:
            return True
        first = sorted(self._connections, key=lambda one: one.used_at)
        victim = self._connections.giving_way(parties, first, lambda one: BUSY_MARGIN if one.is_busy else 0.0)
        if victim is None:
            return False
        self.metrics.displaced += 1
        victim.close()
        return True

    def connection_opened(self, connection: BulkServerConnection) -> None:
        """A connection stands."""
        self._connections.enter(connection, connection.parties)
        self._deadlines.add(connection)

    def peer_identified(self, connection: BulkServerConnection) -> None:
        """The peer has shown its key. It has one connection too many now, perhaps: one that rests goes, if
        need be this one."""
        of_key = [one for one in self._connections if one.public_key == connection.public_key]
        if len(of_key) > MAX_PER_KEY:
            self.metrics.of_one_key += 1
            next(one for one in of_key if not one.is_busy).close()

    def connection_closed(self, connection: BulkServerConnection) -> None:
        """A connection is gone, or will be in a moment."""
        if connection in self._connections:
            self._connections.leave(connection)
            self._deadlines.remove(connection)

    def peer_refused(self, host: str, reason: str) -> None:
        """A peer is not what it should be, or does what it should not."""
        self.metrics.refused += 1
        if self._log_limiter.may_log(host, self.clock.seconds()):
            self.log.warn(
                "A bulk connection from {host} is cut: {reason}. More of them from there are only counted for "
                "a while.",
                host=host,
                reason=reason,
            )

    def close(self) -> None:
        """Cut all connections; to be called when the port is closed."""
        for connection in list(self._connections):
            connection.close()
