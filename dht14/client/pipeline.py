"""Requests through one asyncio connection, which is made again when it breaks."""

import asyncio
from typing import cast

from dht14.client.address import problem_of
from dht14.client.channel import FIRST_RETRY, LAST_RETRY, Channel, Exchange
from dht14.client.dialect import NodeDialect
from dht14.client.errors import DhtError
from dht14.client.feeds import Feeds
from dht14.wire.api_messages import ApiReply, ApiRequest


class _AsyncioConnection(asyncio.Protocol):
    """One TCP connection of a pipeline. What it hears after the pipeline has left it is thrown away."""

    def __init__(self, pipeline: "Pipeline") -> None:
        self._pipeline = pipeline
        self.transport: asyncio.Transport | None = None
        self.is_paused = False
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not checked: the transports of uvloop have another base class.
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._pipeline.received(self, data)

    def pause_writing(self) -> None:
        self.is_paused = True

    def resume_writing(self) -> None:
        self.is_paused = False
        self._pipeline.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)
        self._pipeline.connection_ended(self)


class Pipeline:
    """A channel and the connection that it uses, made when there is something to send."""

    def __init__(self, host: str, port: int, node: NodeDialect, timeout: float) -> None:
        self._host, self._port, self._timeout = host, port, timeout
        self._channel = Channel(node)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connection: _AsyncioConnection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_flush_scheduled = False
        self._is_closed = False

    def ask(self, request: ApiRequest) -> "tuple[Exchange, asyncio.Future[ApiReply]]":
        """Queue a request; the future gets what it brings."""
        if self._is_closed:
            raise RuntimeError("the client is closed")
        loop = self._own_loop()
        future: asyncio.Future[ApiReply] = loop.create_future()
        exchange = Exchange(request, loop.time() + self._timeout, future)
        self._channel.add(exchange)
        self._flush_soon()
        return exchange, future

    @property
    def feeds(self) -> Feeds:
        """They receive the changes of watched keys."""
        return self._channel.feeds

    @property
    def is_closed(self) -> bool:
        """Whether the client is closed."""
        return self._is_closed

    def say(self, request: ApiRequest) -> None:
        """Queue a request to whose reply nobody listens, unless there is no connection."""
        if self._connection is not None and not self._is_closed:
            _, future = self.ask(request)
            future.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def close(self) -> None:
        """Close the connection and fail the calls that wait."""
        self._own_loop()
        self._is_closed = True
        self._settle(self._channel.close())
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        connection, self._connection = self._connection, None
        if connection is not None and connection.transport is not None:
            connection.transport.abort()
            await connection.ended

    # What the connection says.

    def received(self, connection: _AsyncioConnection, data: bytes) -> None:
        """Bytes have come."""
        if connection is not self._connection:
            return
        self._settle(self._channel.received(data, self._now()))
        if self._channel.is_connected:
            self._flush_soon()
        else:
            self._drop(connection)

    def connection_ended(self, connection: _AsyncioConnection) -> None:
        """The node has closed it, or it broke."""
        if connection is self._connection:
            self._connection = None
            self._settle(self._channel.lost())
            self._flush_soon()

    def flush(self) -> None:
        """Send what is to be sent, or make a connection for it."""
        self._is_flush_scheduled = False
        connection, channel = self._connection, self._channel
        if self._is_closed:
            return
        if connection is None or connection.transport is None:
            if self._connecting is None and channel.has_work():
                self._connecting = asyncio.ensure_future(self._connect())
        else:
            now = self._now()
            while not connection.is_paused and (frames := channel.to_send(now)):
                connection.transport.write(frames)
        self._set_timer()

    # What happens inside.

    def _own_loop(self) -> asyncio.AbstractEventLoop:
        """Return the running loop, the only one that ever uses this pipeline.

        A call of another one would wait for ever, and break what goes on in the first: nothing is locked.
        """
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            raise RuntimeError(
                "the asyncio client needs a running event loop; on another reactor of Twisted use a "
                "dht14.Node, or dht14.Client in a thread"
            ) from None
        if self._loop is None:
            self._loop = running
        elif self._loop is not running:
            raise RuntimeError(
                "the client belongs to another event loop, that of its first call: make one for each loop; "
                "from another thread use dht14.Client, or asyncio.run_coroutine_threadsafe"
            )
        return running

    def _now(self) -> float:
        assert self._loop is not None
        return self._loop.time()

    def _flush_soon(self) -> None:
        # Once per turn of the loop: the requests of all tasks that run in it leave in one piece.
        if not self._is_flush_scheduled and self._loop is not None:
            self._is_flush_scheduled = True
            self._loop.call_soon(self.flush)

    async def _connect(self) -> None:
        delay = FIRST_RETRY
        try:
            while self._channel.has_work():
                problem = await self._try_to_connect()
                if not problem:
                    break
                self._settle(self._channel.unreachable(problem))
                if self._channel.has_work():
                    await asyncio.sleep(delay)
                    delay = min(2 * delay, LAST_RETRY)
        finally:
            self._connecting = None
        self._flush_soon()

    async def _try_to_connect(self) -> str:
        """Return what the problem is; nothing when there is a connection."""
        assert self._loop is not None
        make = self._loop.create_connection(lambda: _AsyncioConnection(self), self._host, self._port)
        try:
            _, connection = await asyncio.wait_for(make, self._timeout)
        except asyncio.TimeoutError:
            return "no connection could be made in time"
        except UnicodeError:
            return "no such host name"
        except OSError as error:
            return problem_of(error)
        if connection.ended.done():
            return "the connection was closed at once"
        self._connection = connection
        self._channel.connected(self._now())
        return ""

    def _drop(self, connection: _AsyncioConnection) -> None:
        self._connection = None
        if connection.transport is not None:
            connection.transport.abort()
        self._flush_soon()

    def _set_timer(self) -> None:
        deadline = self._channel.next_deadline()
        if deadline is None or (self._timer is not None and self._timer.when() <= deadline):
            return
        if self._timer is not None:
            self._timer.cancel()
        assert self._loop is not None
        self._timer = self._loop.call_at(deadline, self._time_over)

    def _time_over(self) -> None:
        self._timer = None
        failed, is_dead = self._channel.expire(self._now())
        if is_dead and self._connection is not None:
            connection = self._connection
            failed += self._channel.lost(by_node=False)
            self._drop(connection)
        self._settle(failed)
        self._set_timer()

    def _settle(self, exchanges: list[Exchange]) -> None:
        for exchange in exchanges:
            future, outcome = exchange.owner, exchange.outcome
            assert isinstance(future, asyncio.Future)
            if future.done():
                continue
            if isinstance(outcome, DhtError):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)
