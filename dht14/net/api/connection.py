"""One connection of an API client: when its requests begin, when it gets their replies, and how it ends.

A request goes from `IncomingRequests`, with a token of the `ClientAccount`, through the `RequestQueue` to the
`Dispatcher`, which calls the node. Its reply goes through the `RequestQueue` to the `TcpStream`. Changes of
watched keys (`ConnectionWatches`) go between the replies. What keeps the next request from beginning, an
`Obstacle` or a full queue, also stops the reading: TCP then slows the client down, and nothing is dropped.
"""

from enum import Enum, auto
from typing import Protocol

from twisted.internet import protocol
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from dht14.errors import Malformed
from dht14.net.api.clients import ClientAccount
from dht14.net.api.dispatch import Dispatcher, NodeAccess, Result
from dht14.net.api.incoming import IncomingRequests
from dht14.net.api.metrics import BadFrame
from dht14.net.api.request_queue import QueuedRequest, RequestQueue
from dht14.net.api.tcp_stream import TcpStream, TcpTransport
from dht14.net.api.watching import ConnectionWatches
from dht14.wire.api_messages import Get

LINGER_TIMEOUT = 5.0
"""Seconds of the lingering close: after a bad frame a client has them to read its last replies."""

REQUESTS_PER_TURN = 256
"""Requests of one connection that are begun in one turn of the reactor."""


class Server(NodeAccess, Protocol):
    """The server of a connection."""

    def connection_opened(self, connection: "ApiConnection") -> None:
        """A client has connected."""

    def work_done(self, connection: "ApiConnection") -> None:
        """The client is gone, and its last request has ended."""


class ApiPhase(Enum):
    """The life of a connection::

        phase     since             requests it begins         it sends       once all is answered
        OPEN      it was made       all that come              replies, news  waits for more
        ENDING    end of stream     all that came              replies        closes: CLOSED
        ENDING    stopped           those waiting for a key    replies        closes: CLOSED
        REFUSING  a bad frame       those waiting for a key    replies        lingering close: CLOSED
        CLOSED    its last reply    none; discards bytes       nothing        waits for the client to go
        GONE      the client went   only PUTs that came        nothing        tells its account: DONE

    It only moves down this list.
    """

    OPEN = auto()
    ENDING = auto()
    REFUSING = auto()
    CLOSED = auto()
    GONE = auto()
    DONE = auto()


class Obstacle(Enum):
    """A reason, apart from a full queue, not to begin the next request."""

    NO_SLOT = auto()
    """The client has too many connections; its account calls `slot_acquired`."""
    NOT_READ = auto()
    """The client does not read its replies; the transport calls `resumeProducing`."""
    THROTTLED = auto()
    """The client's token bucket is empty; its account calls `tokens_available`."""
    YIELDED = auto()
    """Other connections have their turn in the reactor first."""


@implementer(IHalfCloseableProtocol, IPushProducer)
class ApiConnection(protocol.Protocol):
    """One connection of a client.

    Each event changes phase, obstacles or queue and then calls `_advance`, which does all that follows from
    them.
    """

    _log = Logger()
    transport: TcpTransport
    _stream: TcpStream
    """Exists from `connectionMade` on."""

    def __init__(self, server: Server, account: ClientAccount) -> None:
        self._server = server
        self._account = account
        self._phase = ApiPhase.OPEN
        self._obstacles: set[Obstacle] = set()
        self._incoming = IncomingRequests(server.clock, self._too_slow)
        self._queue = RequestQueue(account)
        self._watches = ConnectionWatches(server.node, account.watch_share(), self._advance)
        self._dispatcher = Dispatcher(server, account.address, self._watches)
        self._is_advancing = False

    # Events of the transport

    def connectionMade(self) -> None:
        self._stream = TcpStream(self.transport, self, self._server.clock)
        self._server.connection_opened(self)
        if not self._account.acquire_slot(self):
            self._obstacles.add(Obstacle.NO_SLOT)
            self._set_reading()

    def dataReceived(self, data: bytes) -> None:
        if self._phase is ApiPhase.OPEN:
            self._incoming.feed(data)
            self._advance()

    def pauseProducing(self) -> None:
        self._obstacles.add(Obstacle.NOT_READ)

    def resumeProducing(self) -> None:
        self._queue.all_read()
        self._lifted(Obstacle.NOT_READ)

    def stopProducing(self) -> None:
        """`connectionLost` follows and does all."""

    def readConnectionLost(self) -> None:
        if self._phase is ApiPhase.OPEN:
            self._phase = ApiPhase.ENDING
            self._advance()
        elif self._phase is ApiPhase.CLOSED:
            self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """This side has closed its half, after the last reply."""

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        self._phase = ApiPhase.GONE
        self._stream.lost()
        self._queue.all_read()
        self._obstacles -= {Obstacle.NOT_READ, Obstacle.NO_SLOT}
        self._leave_token_queue()
        self._incoming.forget_gets()
        self._account.connection_lost(self)
        # Requests that wait for the state of a key end with this.
        self._watches.end()
        self._advance()

    # Events of the account and the server

    def slot_acquired(self) -> None:
        """The client may have this connection now."""
        self._lifted(Obstacle.NO_SLOT)

    def tokens_available(self) -> None:
        """It is this connection's turn to take tokens of the client's account."""
        self._lifted(Obstacle.THROTTLED)

    def stop(self) -> None:
        """Begin no further request, answer those under way, then close."""
        self._forget_frames()
        if self._phase is ApiPhase.OPEN:
            self._phase = ApiPhase.ENDING
        self._advance()

    def give_up(self) -> None:
        """Answer FAILURE to all requests under way."""
        for entry in self._queue.unsettled():
            answer = self._dispatcher.failure_reply if entry.has_begun else self._dispatcher.refusal
            self._queue.settle(entry, answer(entry.request))
        self._take_replies()
        self._advance()

    def abort(self) -> None:
        """Cut the connection."""
        if self._phase not in (ApiPhase.GONE, ApiPhase.DONE):
            self.transport.abortConnection()

    # What follows from an event

    def _lifted(self, obstacle: Obstacle) -> None:
        self._obstacles.discard(obstacle)
        self._advance()

    def _advance(self) -> None:
        """Begin and answer all that is possible now, then set the reading, or close."""
        if self._is_advancing:
            return
        self._is_advancing = True
        try:
            self._begin_requests()
            if self._watches.has_news:
                self._tell_news()
            self._stream.flush()
        finally:
            self._is_advancing = False
        # Without an obstacle all that came has begun. After a bad frame nothing more of it will.
        if not self._queue and (not self._obstacles or self._phase is ApiPhase.REFUSING):
            self._all_answered()
        self._set_reading()

    def _may_begin_next(self) -> bool:
        """Whether the next request that comes may begin."""
        return not self._obstacles and self._queue.has_room()

    def _yield(self) -> None:
        """Go on when others had their turn."""
        if Obstacle.YIELDED not in self._obstacles:
            self._obstacles.add(Obstacle.YIELDED)
            self._server.clock.callLater(0, self._lifted, Obstacle.YIELDED)

    def _set_reading(self) -> None:
        """Read, or leave the bytes in the buffers of TCP. The time of a frame runs while it is read."""
        is_reading = self._phase is ApiPhase.OPEN and self._may_begin_next()
        self._incoming.reading(is_reading)
        self._stream.set_reading(is_reading)

    # How requests begin

    def _begin_requests(self) -> None:
        """Begin requests, those first that have waited for their key."""
        now = self._server.clock.seconds()
        for _ in range(REQUESTS_PER_TURN):
            if Obstacle.NOT_READ in self._obstacles:
                return
            if entry := self._queue.next_ready():
                self._begin_ready(entry)
            elif not (self._may_begin_next() and self._begin_next(now)):
                return
        self._yield()

    def _begin_next(self, now: float) -> bool:
        """Begin the next request that came, or let it wait for its key. Return whether there was one, and a
        token for it."""
        try:
            request = self._incoming.take()
        except Malformed as error:
            self._refuse(str(error))
            return False
        if request is None:
            return False
        if not self._account.take_token(self, now):
            self._incoming.put_back(request)
            self._obstacles.add(Obstacle.THROTTLED)
            return False
        if self._queue.is_busy(request.key):
            self._queue.add(request)
            return True
        result = self._dispatcher.begin(request)
        if self._queue or isinstance(result, Deferred):
            self._reply_later(result, self._queue.add(request))
        else:
            # The node answered at once and no request waits before this one: the fast path of a GET from
            # this node's own store.
            self._stream.write(self._dispatcher.reply(request, result))
        return True

    def _begin_ready(self, entry: QueuedRequest) -> None:
        if self._phase is ApiPhase.GONE and isinstance(entry.request, Get):
            self._settle(b"", entry)
        elif entry.reply is None:
            self._reply_later(self._dispatcher.begin(entry.request), entry)

    # How they are answered

    def _reply_later(self, result: "Result | Deferred[Result]", entry: QueuedRequest) -> None:
        entry.has_begun = True
        self._dispatcher.then_reply(result, entry.request).addCallback(self._settle, entry)

    def _settle(self, reply: bytes, entry: QueuedRequest) -> None:
        if entry.reply is None:  # Otherwise `give_up` has answered it before the node did.
            self._queue.settle(entry, reply)
            self._take_replies()
            self._advance()

    def _take_replies(self) -> None:
        for reply in self._queue.take_replies(Obstacle.NOT_READ not in self._obstacles):
            self._stream.write(reply)

    def _tell_news(self) -> None:
        """Send the changes of watched keys, while the client reads. A reply for the same key goes first."""
        now = self._server.clock.seconds()
        for _ in range(REQUESTS_PER_TURN):
            if self._phase is not ApiPhase.OPEN or Obstacle.NOT_READ in self._obstacles:
                return
            news = self._watches.next_news(self._queue.is_answered, now)
            if news is None:
                return
            self._stream.write(news)
        self._yield()

    # How the connection ends

    def _too_slow(self) -> None:
        self._refuse(BadFrame.TOO_SLOW.value)
        self._advance()

    def _refuse(self, reason: str) -> None:
        """A bad frame came: answer the requests before it, and read no more."""
        self._server.metrics.bad_frames[BadFrame.of(reason)] += 1
        if self._server.log_limiter.take(self._server.clock.seconds()):
            self._log.warn(
                "Disconnecting API client {client}: bad frame ({reason}).",
                event="api.bad_frame",
                client=self._account.address,
                reason=reason,
            )
        self._forget_frames()
        self._phase = ApiPhase.REFUSING

    def _forget_frames(self) -> None:
        self._incoming.forget()
        self._leave_token_queue()

    def _leave_token_queue(self) -> None:
        if Obstacle.THROTTLED in self._obstacles:
            self._obstacles.discard(Obstacle.THROTTLED)
            self._account.leave_queue(self)

    def _all_answered(self) -> None:
        """Close; after a bad frame only this half, so that the client can read its last replies."""
        if self._phase is ApiPhase.ENDING:
            self._phase = ApiPhase.CLOSED
            self._stream.close()
        elif self._phase is ApiPhase.REFUSING:
            self._phase = ApiPhase.CLOSED
            self._stream.close_lingering(LINGER_TIMEOUT)
        elif self._phase is ApiPhase.GONE:
            self._phase = ApiPhase.DONE
            self._server.work_done(self)
            self._account.work_done()
