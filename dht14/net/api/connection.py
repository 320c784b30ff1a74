"""One connection of an API client: from bytes to requests, and from replies to bytes.

The connection decodes one request at a time, takes a token of the client's account for it, puts it into its
`RequestQueue` and hands it to the node (`Dispatcher`). An `Obstacle` or a full queue also stops the reading:
TCP then slows the client down, and nothing is dropped.
"""

from enum import Enum, auto
from typing import Any, Protocol

from twisted.internet import protocol
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IConsumer,
    IDelayedCall,
    IHalfCloseableProtocol,
    IPushProducer,
    ITCPTransport,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from dht14.errors import Malformed
from dht14.net.api.clients import ClientAccount
from dht14.net.api.dispatch import Dispatcher, NodeAccess
from dht14.net.api.incoming import IncomingRequests
from dht14.net.api.metrics import BadFrame
from dht14.net.api.request_queue import QueuedRequest, RequestQueue
from dht14.net.api.watching import ConnectionWatches
from dht14.wire.api_messages import (
    ApiRequest,
    Get,
)

LINGER_TIMEOUT = 5.0
"""Seconds that a client has for reading its last replies after a bad frame; then its connection is cut."""

REQUESTS_PER_TURN = 256
"""Requests of one connection that are begun in one turn of the reactor."""

_WRITE_BYTES = 64 * 1024
"""Replies are collected up to this size and written at once."""


class _TcpTransport(ITCPTransport, IConsumer, IPushProducer):
    """The interfaces that Twisted's TCP transports provide; Twisted has no one interface for all of them."""


class Server(NodeAccess, Protocol):
    """The server of a connection."""

    def connection_opened(self, connection: "ApiConnection") -> None:
        """A client has connected."""

    def work_done(self, connection: "ApiConnection") -> None:
        """The client is gone, and its last request has ended."""


class ApiPhase(Enum):
    """The life of a connection. It only moves down this list."""

    OPEN = auto()
    ENDING = auto()
    """No more bytes will come. The requests that came are answered, then the connection is closed."""
    REFUSING = auto()
    """A bad frame came. The requests before it are answered, then the client has time to read."""
    CLOSED = auto()
    """All is answered and our side is closed. Bytes that still come are discarded."""
    GONE = auto()
    """The client is gone. Its PUTs are still carried out."""
    DONE = auto()
    """And they are over: the account has been told."""


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

    Every event changes the state and then calls `_advance`, which does all the work. The connection is the
    transport's producer: the transport pauses it while the client leaves too much unread.
    """

    _log = Logger()
    transport: _TcpTransport

    def __init__(self, server: Server, account: ClientAccount) -> None:
        self._server = server
        self._account = account
        self._watches = ConnectionWatches(server.node, account.watch_share(), self._advance)
        self._dispatcher = Dispatcher(server, account.address, self._watches)
        self._phase = ApiPhase.OPEN
        self._obstacles: set[Obstacle] = set()
        self._advancing = False
        self._reading = True
        self._incoming = IncomingRequests(server.clock, self._too_slow)
        self._queue = RequestQueue(account)
        self._replies: list[bytes] = []
        self._reply_bytes = 0
        self._linger: IDelayedCall | None = None

    # Called by the transport

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)
        self.transport.setTcpKeepAlive(True)
        self.transport.registerProducer(self, True)
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
        self._queue.all_read()
        self._obstacles -= {Obstacle.NOT_READ, Obstacle.NO_SLOT}
        if self._linger is not None and self._linger.active():
            self._linger.cancel()
        self._leave_queue()
        self._incoming.forget_gets()
        self._account.connection_lost(self)
        # Requests that wait for the state of a key end with this.
        self._watches.end()
        self._advance()

    # Called by the server and the account

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

    # Requests and replies

    def _lifted(self, obstacle: Obstacle) -> None:
        self._obstacles.discard(obstacle)
        self._advance()

    def _advance(self) -> None:
        """Begin and answer all that is possible now, then set reading, or close."""
        if self._advancing:
            return
        self._advancing = True
        try:
            self._begin_requests()
            if self._watches.has_news:
                self._tell_news()
            self._write_replies()
        finally:
            self._advancing = False
        if not self._queue and (not self._obstacles or self._phase is ApiPhase.REFUSING):
            self._finish()
        self._set_reading()

    def _begin_requests(self) -> None:
        now = self._server.clock.seconds()
        for _ in range(REQUESTS_PER_TURN):
            if Obstacle.NOT_READ in self._obstacles:
                return
            if entry := self._queue.next_ready():
                self._begin_ready(entry)
                continue
            if self._obstacles or not self._queue.has_room():
                return
            request = self._next_request()
            if request is None:
                return
            if not self._account.take_token(self, now):
                self._incoming.put_back(request)
                self._obstacles.add(Obstacle.THROTTLED)
                return
            self._begin(request)
        self._yield()

    def _yield(self) -> None:
        """Go on when others had their turn."""
        if Obstacle.YIELDED not in self._obstacles:
            self._obstacles.add(Obstacle.YIELDED)
            self._server.clock.callLater(0, self._lifted, Obstacle.YIELDED)

    def _tell_news(self) -> None:
        """Send the changes of watched keys, while the client reads. A reply for the same key goes first."""
        now = self._server.clock.seconds()
        for _ in range(REQUESTS_PER_TURN):
            if self._phase is not ApiPhase.OPEN or Obstacle.NOT_READ in self._obstacles:
                return
            news = self._watches.next_news(self._queue.is_answered, now)
            if news is None:
                return
            self._reply(news)
        self._yield()

    def _next_request(self) -> ApiRequest | None:
        try:
            return self._incoming.take()
        except Malformed as error:
            self._refuse(str(error))
            return None

    def _begin(self, request: ApiRequest) -> None:
        if self._queue.is_busy(request.key):
            self._queue.add(request)
            return
        called = self._dispatcher.begin(request)
        if not self._queue and called.called and not isinstance(called.result, (Deferred, Failure)):
            # The node answered at once and no request waits before this one: the fast path of a GET from
            # this node's own store.
            self._reply(self._dispatcher.reply(request, called.result))
        else:
            self._reply_later(called, self._queue.add(request))

    def _begin_ready(self, entry: QueuedRequest) -> None:
        if self._phase is ApiPhase.GONE and isinstance(entry.request, Get):
            self._settle(b"", entry)
        elif entry.reply is None:
            self._reply_later(self._dispatcher.begin(entry.request), entry)

    def _reply_later(self, called: "Deferred[Any]", entry: QueuedRequest) -> None:
        entry.has_begun = True
        self._dispatcher.then_reply(called, entry.request).addCallback(self._settle, entry)

    def _settle(self, reply: bytes, entry: QueuedRequest) -> None:
        if entry.reply is not None:
            return  # `give_up` has answered it before the node did.
        self._queue.settle(entry, reply)
        self._take_replies()
        self._advance()

    def _take_replies(self) -> None:
        for reply in self._queue.take_replies(Obstacle.NOT_READ not in self._obstacles):
            self._reply(reply)

    def _reply(self, reply: bytes) -> None:
        self._replies.append(reply)
        self._reply_bytes += len(reply)
        if self._reply_bytes >= _WRITE_BYTES:
            self._write_replies()

    def _write_replies(self) -> None:
        if self._reply_bytes and self._phase is not ApiPhase.GONE:
            self.transport.write(b"".join(self._replies))
        self._replies.clear()
        self._reply_bytes = 0

    def _set_reading(self) -> None:
        reading = self._phase is ApiPhase.OPEN and not self._obstacles and self._queue.has_room()
        self._incoming.reading(reading)
        if reading != self._reading and self._phase in (ApiPhase.OPEN, ApiPhase.ENDING, ApiPhase.REFUSING):
            self._reading = reading
            if reading:
                self.transport.resumeProducing()
            else:
                self.transport.pauseProducing()

    # The end of the connection

    def _too_slow(self) -> None:
        self._refuse(BadFrame.TOO_SLOW.value)
        self._advance()

    def _refuse(self, reason: str) -> None:
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

    def _finish(self) -> None:
        """All is answered: close, or let the client read its last replies."""
        if self._phase is ApiPhase.ENDING:
            self._phase = ApiPhase.CLOSED
            self.transport.unregisterProducer()
            self.transport.loseConnection()
        elif self._phase is ApiPhase.REFUSING:
            self._phase = ApiPhase.CLOSED
            self.transport.unregisterProducer()
            # If this side closed with bytes unread, the kernel would discard the replies on their way.
            self.transport.loseWriteConnection()
            self.transport.resumeProducing()
            self._linger = self._server.clock.callLater(LINGER_TIMEOUT, self.transport.abortConnection)
        elif self._phase is ApiPhase.GONE:
            self._phase = ApiPhase.DONE
            self._server.work_done(self)
            self._account.work_done()

    def _forget_frames(self) -> None:
        self._incoming.forget()
        self._leave_queue()

    def _leave_queue(self) -> None:
        if Obstacle.THROTTLED in self._obstacles:
            self._obstacles.discard(Obstacle.THROTTLED)
            self._account.leave_queue(self)
