"""The side of the bulk channel that holds values: takes tickets, and what they are for. DESIGN 4.4."""

from collections import Counter
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
from dht14.net.bulk.deadlines import Deadlines
from dht14.net.bulk.tls import NodeTls, WholeWrites, peer_public_key
from dht14.net.log_limiter import LogLimiter
from dht14.node.responder import Responder
from dht14.node.transfers import Upload
from dht14.security.rate_limiter import RateLimiter
from dht14.security.shares import SharedSlots
from dht14.security.subnets import Party, Scope
from dht14.security.tickets import TICKET_BYTES
from dht14.wire.bulk_messages import UploadAnswer, encode_answer

HANDSHAKE_SECONDS = 5.0
TICKET_SECONDS = 5.0
"""From the end of the handshake to the first ticket."""

KEPT_SECONDS = 60.0
"""How long a connection may stay open between two transfers."""

FLOOR = 8 * 1024
"""Bytes per second below which a transfer is given up."""

GRACE = 2.0
"""Seconds on top of what a transfer takes at the floor."""

MOST_AT_WORK = 4
"""Values of one connection that may wait for their commit before the next is read."""

MOST_CONNECTIONS = 256
MOST_PER_SUBNET = 32
CONNECTIONS_OF = {
    Scope.HOST: MOST_PER_SUBNET,
    Scope.SUBNET: MOST_PER_SUBNET,
    Scope.PROVIDER: 4 * MOST_PER_SUBNET,
    # A whole network may be there: what it has gives way, to others and among itself, and nobody is kept out.
    Scope.PRIVATE_HOST: MOST_CONNECTIONS + 1,
}
MOST_PER_KEY = 2
"""A peer needs one; while it has lost one without our knowing it makes another."""
MARGIN = 0.25
"""The part of its share by which a party must have more before a connection of it is cut that is at work."""
ARRIVALS_A_SUBNET = 20
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

    It keeps at most `MOST_AT_WORK` values and as much again as one value: it does not read on while more wait
    for their commit, or while the peer does not take what it asked for.
    """

    log = Logger()
    transport: TLSMemoryBIOProtocol

    def __init__(self, server: "BulkServer", host: str, parties: tuple[Party, ...]) -> None:
        self.host = host
        self.parties = parties
        self.errands = 0
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
        self._at_work = 0
        self._choked = False
        self._reading = True
        self.deadline = 0.0
        """When what is waited for now must have come."""

    # What the transport tells us.

    def connectionMade(self) -> None:
        self._expect(HANDSHAKE_SECONDS)
        self._server.opened(self)
        self.transport.registerProducer(self, True)

    def handshakeCompleted(self) -> None:
        """The peer has proven that it has its key (Twisted calls). Nothing is sent; a ticket must come."""
        try:
            self.public_key = peer_public_key(self.transport.getHandle())
        except Malformed as flaw:
            self._cut(str(flaw))
            return
        self._phase = UploadPhase.TICKET
        self._expect(TICKET_SECONDS)
        self._server.proved(self)

    def dataReceived(self, data: bytes) -> None:
        self._buffer += data
        self._advance()

    def pauseProducing(self) -> None:
        """The peer does not take its values as fast as it asks for them."""
        self._choked = True
        self._expect(2 * MAX_VALUE / FLOOR + GRACE)

    def resumeProducing(self) -> None:
        """It has taken them."""
        self._choked = False
        self._expect(KEPT_SECONDS)
        self._advance()

    def stopProducing(self) -> None:
        """Comes with `connectionLost`, which sees to everything."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._phase = UploadPhase.GONE
        self._buffer.clear()
        self._server.left(self)

    # The work

    def _advance(self) -> None:
        """Do all that can be done with what is there, then read on or not."""
        while self._at_work < MOST_AT_WORK and not self._choked and self._next():
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
        errand = self._server.responder.redeem(ticket, self.public_key, now)
        if errand is None:
            self._cut("a ticket that is worth nothing")
            return
        self.errands += 1
        self.used_at = now
        if isinstance(errand, Upload):
            self._phase = UploadPhase.VALUE
            self._upload = ticket, errand
            self._expect(errand.offer.length / FLOOR + GRACE)
        else:
            self._server.counters["given"] += 1
            self._expect(KEPT_SECONDS)
            self._answer(ticket, self._server.responder.give(errand, now))

    def _received(self, ticket: bytes, upload: Upload) -> None:
        self._phase = UploadPhase.TICKET
        self._upload = None
        value = self._take(upload.offer.length)
        self._expect(KEPT_SECONDS)
        self._at_work += 1
        self._server.counters["taken"] += 1
        now = self._server.clock.seconds()
        self._server.responder.take(upload, value, now, partial(self._judged, ticket))

    def _judged(self, ticket: bytes, answer: UploadAnswer) -> None:
        was_full = self._at_work == MOST_AT_WORK
        self._at_work -= 1
        if self._phase is not UploadPhase.GONE:
            self._answer(ticket, answer)
            if was_full:
                self._advance()

    def _answer(self, ticket: bytes, answer: UploadAnswer) -> None:
        self.transport.write(encode_answer(ticket, answer))

    def _set_reading(self) -> None:
        reading = len(self._buffer) < MAX_VALUE or (self._at_work < MOST_AT_WORK and not self._choked)
        if reading == self._reading or self._phase is UploadPhase.GONE:
            return
        self._reading = reading
        if reading:
            self.transport.resumeProducing()
        else:
            self.transport.pauseProducing()

    @property
    def is_at_work(self) -> bool:
        """Whether a transfer is under way, in either direction."""
        return self._phase is UploadPhase.VALUE or self._at_work > 0 or self._choked

    # The end

    def _expect(self, seconds: float) -> None:
        self.deadline = self._server.clock.seconds() + seconds

    def too_slow(self) -> None:
        """As `HasDeadline`."""
        idle = self._phase is UploadPhase.TICKET and not self._buffer and not self._choked
        self._server.counters["idle" if idle else "slow"] += 1
        self.close()

    def _cut(self, reason: str) -> None:
        self._server.refused(self.host, reason)
        self.close()

    def close(self) -> None:
        """Cut the connection, whatever it is at."""
        if self._phase is not UploadPhase.GONE:
            self._phase = UploadPhase.GONE
            self._upload = None
            self._buffer.clear()
            self._server.left(self)
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
        self.counters: Counter[str] = Counter()
        """Connections by how they ended early, values by which way they went."""
        self._parties_of = parties_of
        # Wraps each connection; which of them there are is our own business.
        self._wrapper = TLSMemoryBIOFactory(tls, False, Factory(), clock)
        self._connections: SharedSlots[BulkServerConnection] = SharedSlots(MOST_CONNECTIONS, CONNECTIONS_OF)
        self._watch = Deadlines(clock)
        self._arrivals = RateLimiter(ARRIVALS_A_SUBNET, 2 * ARRIVALS_A_SUBNET)
        self._lines = LogLimiter(clock.seconds())

    def buildProtocol(self, addr: IAddress | None) -> TLSMemoryBIOProtocol | None:
        assert isinstance(addr, (IPv4Address, IPv6Address))
        host = addr.host.removeprefix("::ffff:")
        parties = self._parties_of(host)
        if not self._may_come(parties) or not self._has_room(parties):
            self.counters["too many"] += 1
            return None
        return WholeWrites(self._wrapper, BulkServerConnection(self, host, parties))

    def _may_come(self, parties: tuple[Party, ...]) -> bool:
        """Whether these have few enough connections, and not too many came from their subnet just now."""
        now = self.clock.seconds()
        return self._connections.has_share_left(parties) and all(
            self._arrivals.bucket(party, now).take(now) for party in parties if party[0] is Scope.SUBNET
        )

    def _has_room(self, parties: tuple[Party, ...]) -> bool:
        """Whether one more may be let in. For it one goes of those who have most: of these the oldest that has
        shown no ticket yet, since a peer with a ticket shows it at once; else the one that rests longest. One
        that is at work goes only where its party has far more than the others."""
        if not self._connections.is_full:
            return True
        first = sorted(self._connections, key=lambda one: one.used_at)
        victim = self._connections.to_evict(parties, first, lambda one: MARGIN if one.is_at_work else 0.0)
        if victim is None:
            return False
        self.counters["displaced"] += 1
        victim.close()
        return True

    def opened(self, connection: BulkServerConnection) -> None:
        """A connection stands."""
        self._connections.add(connection, connection.parties)
        self._watch.begin(connection)

    def proved(self, connection: BulkServerConnection) -> None:
        """The peer has shown its key. It has one connection too many now, perhaps: one that rests goes, if
        need be this one."""
        of_key = [one for one in self._connections if one.public_key == connection.public_key]
        if len(of_key) > MOST_PER_KEY:
            self.counters["of one key"] += 1
            next(one for one in of_key if not one.is_at_work).close()

    def left(self, connection: BulkServerConnection) -> None:
        """A connection is gone, or will be in a moment."""
        if connection in self._connections:
            self._connections.remove(connection)
            self._watch.end(connection)

    def refused(self, host: str, reason: str) -> None:
        """A peer is not what it should be, or does what it should not."""
        self.counters["refused"] += 1
        if self._lines.is_due(host, self.clock.seconds()):
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
