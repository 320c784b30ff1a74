"""One connection of an API client: from its bytes to the node and back.

Requests are decoded one by one, paid for with a token of the client's account, put in order by
`RequestQueue` and handed to the node. Whatever stands in the way (`Obstacle`, a full queue) also stops
the reading, so that TCP holds the client back and nothing is dropped.
"""

from contextlib import suppress
from enum import Enum, auto
from typing import Any, Protocol

from twisted.internet import protocol
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import (
    IConsumer,
    IDelayedCall,
    IHalfCloseableProtocol,
    IPushProducer,
    IReactorTime,
    ITCPTransport,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from dht14.errors import CallFailed, Malformed
from dht14.kademlia.keyspace import id_from_bytes
from dht14.net.api.clients import ApiClient
from dht14.net.api.frame_timeout import FrameTimer
from dht14.net.api.metrics import ApiMetrics, BadFrame
from dht14.net.api.replies import PutGet, failed, is_success, reply_to
from dht14.net.api.request_queue import QueuedRequest, RequestQueue
from dht14.net.log_limiter import LogLimiter
from dht14.wire.api_messages import (
    ApiRequest,
    Get,
    GetRecord,
    Put,
    PutWithReceipt,
    check_request_head,
    decode_request,
)
from dht14.wire.frames import FrameSplitter

LINGER_TIMEOUT = 5.0
"""So long a client of bad frames may take for its last replies before its connection is cut."""

REQUESTS_PER_TURN = 256
"""So many requests of one connection are begun before the reactor sees to others."""

_WRITE_BYTES = 64 * 1024


class _TcpTransport(ITCPTransport, IConsumer, IPushProducer):
    """What Twisted's TCP transports provide; no interface of theirs says all of it."""


class Server(Protocol):
    """What the connections of one server have in common."""

    node: PutGet
    clock: IReactorTime
    answers_puts: bool
    metrics: ApiMetrics
    log_limiter: LogLimiter

    def connection_opened(self, connection: "ApiConnection") -> None:
        """A connection stands."""

    def work_done(self, connection: "ApiConnection") -> None:
        """A connection is gone and its work is done."""


class ApiPhase(Enum):
    """The life of a connection. It only moves downwards in this list."""

    OPEN = auto()
    ENDING = auto()
    """No more bytes come; what did come is answered, then the connection is closed."""
    REFUSING = auto()
    """A bad frame came; what came before it is answered, then we linger."""
    CLOSED = auto()
    """Everything is answered, our side is closed; bytes that still come are thrown away."""
    GONE = auto()
    """The client is gone; the PUTs that it left are carried through."""


class Obstacle(Enum):
    """What keeps the next request from being begun, apart from a full queue."""

    NO_SLOT = auto()
    """The client has too many connections; its account says when there is a place for this one."""
    NOT_READ = auto()
    """The client does not take its replies; the transport says when it did."""
    THROTTLED = auto()
    """The client's bucket is empty; its account says when we may take from it."""
    YIELDED = auto()
    """Others shall have their turn in the reactor first."""


@implementer(IHalfCloseableProtocol, IPushProducer)
class ApiConnection(protocol.Protocol):
    """One connection of a client.

    Whatever happens is noted and then leads to `_advance`, which does all the work. As a producer it is
    paused and resumed by the transport, according to how much the client leaves unread.
    """

    _log = Logger()
    transport: _TcpTransport

    def __init__(self, server: Server, client: ApiClient) -> None:
        self._server = server
        self._client = client
        self._phase = ApiPhase.OPEN
        self._obstacles: set[Obstacle] = set()
        self._advancing = False
        self._reading = True
        self._splitter = _splitter()
        self._unpaid: ApiRequest | None = None
        self._queue = RequestQueue(client)
        self._replies: list[bytes] = []
        self._reply_bytes = 0
        self._frame_timer = FrameTimer(server.clock, self._too_slow)
        self._linger: IDelayedCall | None = None

    # What the transport tells us.

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)
        self.transport.setTcpKeepAlive(True)
        self.transport.registerProducer(self, True)
        self._server.connection_opened(self)
        if not self._client.acquire_slot(self):
            self._obstacles.add(Obstacle.NO_SLOT)
            self._set_reading()

    def dataReceived(self, data: bytes) -> None:
        if self._phase is ApiPhase.OPEN:
            self._splitter.feed(data)
            self._advance()

    def pauseProducing(self) -> None:
        self._obstacles.add(Obstacle.NOT_READ)

    def resumeProducing(self) -> None:
        self._queue.all_read()
        self._lifted(Obstacle.NOT_READ)

    def stopProducing(self) -> None:
        """Comes with `connectionLost`, which sees to everything."""

    def readConnectionLost(self) -> None:
        if self._phase is ApiPhase.OPEN:
            self._phase = ApiPhase.ENDING
            self._advance()
        elif self._phase is ApiPhase.CLOSED:
            self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Our own doing, after the last reply."""

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        self._phase = ApiPhase.GONE
        self._queue.all_read()
        self._obstacles -= {Obstacle.NOT_READ, Obstacle.NO_SLOT}
        if self._linger is not None and self._linger.active():
            self._linger.cancel()
        self._leave_queue()
        self._forget_gets()
        self._client.connection_lost(self)
        self._advance()

    # What our own side tells us.

    def slot_acquired(self) -> None:
        """We are one of the connections that the client may have."""
        self._lifted(Obstacle.NO_SLOT)

    def tokens_available(self) -> None:
        """It is our turn to take tokens from the client's account."""
        self._lifted(Obstacle.THROTTLED)

    def stop(self) -> None:
        """Begin nothing more, answer what is at work, close."""
        self._forget_frames()
        if self._phase is ApiPhase.OPEN:
            self._phase = ApiPhase.ENDING
        self._advance()

    def give_up(self) -> None:
        """Answer FAILURE to everything that is at work."""
        for entry in self._queue.unsettled():
            self._queue.settle(entry, self._reply_to(entry.request, failed(entry.request)))
        self._take_replies()
        self._advance()

    def abort(self) -> None:
        """Cut the connection."""
        if self._phase is not ApiPhase.GONE:
            self.transport.abortConnection()

    # The work.

    def _lifted(self, obstacle: Obstacle) -> None:
        self._obstacles.discard(obstacle)
        self._advance()

    def _advance(self) -> None:
        """Do all that can be done now, then read on, or not, or close."""
        if self._advancing:
            return
        self._advancing = True
        try:
            self._begin_requests()
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
            request = self._unpaid or self._next_request()
            if request is None:
                return
            if not self._client.take_token(self, now):
                self._unpaid = request
                self._obstacles.add(Obstacle.THROTTLED)
                return
            self._unpaid = None
            self._begin(request)
        if Obstacle.YIELDED not in self._obstacles:
            self._obstacles.add(Obstacle.YIELDED)
            self._server.clock.callLater(0, self._lifted, Obstacle.YIELDED)

    def _next_request(self) -> ApiRequest | None:
        try:
            frame = self._splitter.next_frame()
            if frame is None:
                return None
            self._frame_timer.reset()
            return decode_request(frame)
        except Malformed as error:
            self._refuse(str(error))
            return None

    def _begin(self, request: ApiRequest) -> None:
        if self._queue.is_busy(request.key):
            self._queue.add(request)
            return
        answer = self._ask(request)
        if not self._queue and answer.called and not isinstance(answer.result, (Deferred, Failure)):
            # The node knew at once and nothing waits before it: what a get from the own store costs.
            self._reply(self._reply_to(request, answer.result))
        else:
            self._follow(answer, self._queue.add(request))

    def _begin_ready(self, entry: QueuedRequest) -> None:
        if self._phase is ApiPhase.GONE and isinstance(entry.request, Get):
            self._settle(b"", entry)
        elif entry.reply is None:
            self._follow(self._ask(entry.request), entry)

    def _ask(self, request: ApiRequest) -> "Deferred[Any]":
        key = id_from_bytes(request.key)
        try:
            if isinstance(request, Get):
                self._server.metrics.gets += 1
                return self._server.node.get(key, isinstance(request, GetRecord) and request.content)
            self._server.metrics.puts += 1
            return self._server.node.put(key, request.value, request.ttl, request.replication)
        except Exception:  # noqa: BLE001 - whatever it is, the client has a right to its FAILURE
            return fail()

    def _follow(self, answer: "Deferred[Any]", entry: QueuedRequest) -> None:
        answer.addCallback(lambda result: self._reply_to(entry.request, result))
        answer.addErrback(self._failed, entry)
        answer.addCallback(self._settle, entry)

    def _failed(self, failure: Failure, entry: QueuedRequest) -> bytes:
        now = self._server.clock.seconds()
        if failure.check(CallFailed) is None and self._server.log_limiter.may_log(str(failure.type), now):
            self._log.failure(
                "The node failed a request of API client {client}", failure, client=self._client.address
            )
        return self._reply_to(entry.request, failed(entry.request))

    def _settle(self, reply: bytes, entry: QueuedRequest) -> None:
        if entry.reply is not None:
            return  # We gave it up before the node was done with it.
        self._queue.settle(entry, reply)
        self._take_replies()
        self._advance()

    def _take_replies(self) -> None:
        for reply in self._queue.take_replies(Obstacle.NOT_READ not in self._obstacles):
            self._reply(reply)

    def _reply_to(self, request: ApiRequest, result: object) -> bytes:
        """The reply to what the node told; none at all where PUTs are not answered."""
        if not (self._server.answers_puts or isinstance(request, Get | PutWithReceipt)):
            return b""
        reply = reply_to(request, result, self._server.clock.seconds())
        if is_success(result):
            self._server.metrics.successes += 1
        else:
            self._server.metrics.failures += 1
        return reply

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
        if reading and self._splitter.begun:
            self._frame_timer.start()
        else:
            self._frame_timer.pause()
        if reading != self._reading and self._phase in (ApiPhase.OPEN, ApiPhase.ENDING, ApiPhase.REFUSING):
            self._reading = reading
            if reading:
                self.transport.resumeProducing()
            else:
                self.transport.pauseProducing()

    # The end.

    def _too_slow(self) -> None:
        self._refuse(BadFrame.TOO_SLOW.value)
        self._advance()

    def _refuse(self, reason: str) -> None:
        self._server.metrics.bad_frames[BadFrame.of(reason)] += 1
        if self._server.log_limiter.take(self._server.clock.seconds()):
            self._log.warn(
                "API client {client} sent a bad frame and is disconnected: {reason}",
                client=self._client.address,
                reason=reason,
            )
        self._forget_frames()
        self._phase = ApiPhase.REFUSING

    def _finish(self) -> None:
        """Everything is answered."""
        if self._phase is ApiPhase.ENDING:
            self._phase = ApiPhase.CLOSED
            self.transport.unregisterProducer()
            self.transport.loseConnection()
        elif self._phase is ApiPhase.REFUSING:
            self._phase = ApiPhase.CLOSED
            self.transport.unregisterProducer()
            # To close with bytes unread would make the kernel throw away the replies that are under way.
            self.transport.loseWriteConnection()
            self.transport.resumeProducing()
            self._linger = self._server.clock.callLater(LINGER_TIMEOUT, self.transport.abortConnection)
        elif self._phase is ApiPhase.GONE:
            self._server.work_done(self)
            self._client.work_done()

    def _forget_frames(self) -> None:
        self._splitter = _splitter()
        self._leave_queue()
        self._unpaid = None

    def _forget_gets(self) -> None:
        if isinstance(self._unpaid, Get):
            self._unpaid = None
        puts = _splitter()
        with suppress(Malformed):
            while (frame := self._splitter.next_frame()) is not None:
                if isinstance(decode_request(frame), Put):
                    puts.feed(frame)
        self._splitter = puts

    def _leave_queue(self) -> None:
        if Obstacle.THROTTLED in self._obstacles:
            self._obstacles.discard(Obstacle.THROTTLED)
            self._client.leave_queue(self)


def _splitter() -> FrameSplitter:
    return FrameSplitter(check_request_head)
