"""Blocking sockets: a pool of connections for threads, and calls that share a connection."""

import selectors
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from dht14.client.address import format_address, problem_of
from dht14.client.channel import FIRST_RETRY, LAST_RETRY, Channel, Exchange
from dht14.client.dialect import NodeDialect
from dht14.client.errors import DhtError, TimedOut
from dht14.client.plans import Plan
from dht14.wire.api_messages import ApiReply

T = TypeVar("T")

_RECEIVE_BYTES = 256 * 1024


class ConnectionPool:
    """The connections of one client: as many as there are calls at a time, up to a limit."""

    def __init__(self, host: str, port: int, timeout: float, limit: int) -> None:
        self._host, self._port, self._timeout = host, port, timeout
        self._node = NodeDialect(format_address(host, port))
        self._slots = threading.Semaphore(limit)
        self._idle: list[SocketConnection] = []
        self._is_closed = False

    def separate(self) -> "SocketConnection":
        """Return a connection that its user keeps and closes: one that is used for hours."""
        if self._is_closed:
            raise RuntimeError("the client is closed")
        return SocketConnection(self._host, self._port, self._node, self._timeout)

    @property
    def is_closed(self) -> bool:
        """Whether the client is closed."""
        return self._is_closed

    @contextmanager
    def connection(self) -> "Iterator[SocketConnection]":
        """A connection that nobody else uses meanwhile. Raises `TimedOut` where all are in use for too
        long."""
        if not self._slots.acquire(timeout=self._timeout):
            raise TimedOut("all connections of the client are in use")
        try:
            if self._is_closed:
                raise RuntimeError("the client is closed")
            connection = self._take()
            try:
                yield connection
            except BaseException:
                # Its replies are not all read.
                connection.close()
                raise
            self._idle.append(connection)
            if self._is_closed:
                self.close()
        finally:
            self._slots.release()

    def close(self) -> None:
        """Close what is not in use."""
        self._is_closed = True
        while self._idle:
            self._take().close()

    def _take(self) -> "SocketConnection":
        # Another thread may be as quick.
        try:
            return self._idle.pop()
        except IndexError:
            return SocketConnection(self._host, self._port, self._node, self._timeout)


class SocketConnection:
    """A channel and the socket that it uses, made when there is something to send."""

    def __init__(
        self, host: str, port: int, node: NodeDialect, timeout: float, awaits_return: bool = True
    ) -> None:
        self._host, self._port, self.timeout = host, port, timeout
        self.channel = Channel(node, awaits_return)
        self._socket: socket.socket | None = None
        self._selector = selectors.DefaultSelector()
        self._outgoing = memoryview(b"")
        self._retry_delay = 0.0

    def close(self) -> None:
        """Close it for good."""
        self.channel.close()
        self._drop()
        self._selector.close()

    def notice_end(self) -> None:
        """See whether the node has closed the connection while nobody used it."""
        if self._socket is not None and self._selector.select(0):
            self._receive(time.monotonic())

    def advance(self) -> list[Exchange]:
        """Send and receive what is possible, after waiting for that; the exchanges that are settled by it."""
        now = time.monotonic()
        deadline = self.channel.next_deadline()
        if deadline is None:
            return []
        if deadline <= now:
            return self._expire(now)
        if self._socket is None:
            return self._connect(deadline, now)
        if not self._outgoing:
            self._outgoing = memoryview(self.channel.to_send(now))
        if self._outgoing and not self._send():
            return self._lost()
        interest = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._outgoing else 0)
        if self._selector.get_key(self._socket).events != interest:
            self._selector.modify(self._socket, interest)
        settled: list[Exchange] = []
        wait = min(deadline, self.channel.next_deadline() or deadline) - now
        for _, events in self._selector.select(max(wait, 0)):
            if events & selectors.EVENT_READ:
                settled += self._receive(time.monotonic())
        return settled

    def listen(self, seconds: float) -> None:
        """Receive all that the node has sent of its own accord; wait for it at most `seconds`."""
        if self._socket is None:
            time.sleep(seconds)
            return
        deadline = time.monotonic() + seconds
        wait = seconds
        while self._socket is not None and self._selector.select(wait):
            self._receive(time.monotonic())
            wait = 0.0
            if time.monotonic() >= deadline:
                return  # It goes on and on.

    def _connect(self, deadline: float, now: float) -> list[Exchange]:
        if self._retry_delay:
            time.sleep(max(min(self._retry_delay, deadline - now), 0))
        try:
            found = socket.create_connection(
                (self._host, self._port), max(deadline - time.monotonic(), 0.001)
            )
        except TimeoutError:
            return self._unreachable("no connection could be made in time")
        except UnicodeError:
            return self._unreachable("no such host name")
        except OSError as error:
            return self._unreachable(problem_of(error))
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        found.setblocking(False)
        self._socket, self._retry_delay = found, 0.0
        self._selector.register(found, selectors.EVENT_READ)
        self.channel.connected(time.monotonic())
        return []

    def _expire(self, now: float) -> list[Exchange]:
        failed, is_dead = self.channel.expire(now)
        if is_dead:
            failed += self.channel.lost(by_node=False)
            self._drop()
        return failed

    def _unreachable(self, problem: str) -> list[Exchange]:
        self._retry_delay = min(2 * self._retry_delay, LAST_RETRY) or FIRST_RETRY
        return self.channel.unreachable(problem)

    def _send(self) -> bool:
        """Whether the connection still stands."""
        assert self._socket is not None
        try:
            self._outgoing = self._outgoing[self._socket.send(self._outgoing) :]
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            return False
        return True

    def _receive(self, now: float) -> list[Exchange]:
        assert self._socket is not None
        try:
            piece = self._socket.recv(_RECEIVE_BYTES)
        except (BlockingIOError, InterruptedError):
            return []
        except OSError:
            piece = b""
        if not piece:
            return self._lost()
        settled = self.channel.received(piece, now)
        if not self.channel.is_connected:
            self._drop()
        return settled

    def _lost(self) -> list[Exchange]:
        failed = self.channel.lost()
        self._drop()
        return failed

    def _drop(self) -> None:
        self._outgoing = memoryview(b"")
        if self._socket is not None:
            self._selector.unregister(self._socket)
            self._socket.close()
            self._socket = None


class PlanBatch(Generic[T]):
    """Runs plans over one connection, at most `concurrency` at a time."""

    def __init__(self, connection: SocketConnection, plans: Iterator[Plan[T]], concurrency: int) -> None:
        self._connection = connection
        self._plans = enumerate(plans)
        self._concurrency = concurrency
        self._running: dict[Exchange, tuple[int, Plan[T]]] = {}
        self._results: dict[int, T | DhtError] = {}

    def run(self) -> list[T | DhtError]:
        """Return the result of each, in order."""
        self._connection.notice_end()
        self._begin_some()
        while self._running:
            for exchange in self._connection.advance():
                self._settle(exchange)
            self._begin_some()
        return [self._results[number] for number in range(len(self._results))]

    def _begin_some(self) -> None:
        while len(self._running) < self._concurrency:
            numbered = next(self._plans, None)
            if numbered is None:
                return
            self._step(*numbered, None)

    def _settle(self, exchange: Exchange) -> None:
        number, plan = self._running.pop(exchange)
        outcome = exchange.outcome
        if isinstance(outcome, DhtError):
            plan.close()
            self._results[number] = outcome
        else:
            self._step(number, plan, outcome)

    def _step(self, number: int, plan: Plan[T], reply: ApiReply | None) -> None:
        try:
            request = next(plan) if reply is None else plan.send(reply)
        except StopIteration as end:
            self._results[number] = end.value
        except DhtError as error:
            self._results[number] = error
        else:
            exchange = Exchange(request, time.monotonic() + self._connection.timeout)
            self._running[exchange] = (number, plan)
            self._connection.channel.add(exchange)
