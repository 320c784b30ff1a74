"""The blocking client: `dht14.Client`."""

import selectors
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Generic, TypeVar, final

from dht14.client import plans
from dht14.client.address import DEFAULT_ADDRESS, parse_address, problem_of
from dht14.client.answers import Receipt, Value
from dht14.client.channel import (
    ANSWER_TIMEOUT,
    FIRST_RETRY,
    LAST_RETRY,
    Channel,
    Exchange,
    NodeDialect,
)
from dht14.client.errors import DhtError, TimedOut
from dht14.client.keys import Key, KeyT
from dht14.client.plans import Owner, Plan, complete
from dht14.wire.api_messages import ApiReply, ApiRequest

T = TypeVar("T")

_RECEIVE_BYTES = 256 * 1024


@final
class Client:
    """A client of a node's API that blocks.

    Threads may share it: each call has a connection of its own while it lasts, and `connections` of them at
    most are open. Connections are made when they are needed, kept, and made again when they break.

    A call under way when its connection breaks is sent once more, a put too. Content and an owner's value
    are the same however often they are put. An open value that is put twice replaces, the second time,
    what another client put between the two; where that matters use `put_signed` with `cas`.
    """

    def __init__(
        self, address: str = DEFAULT_ADDRESS, *, timeout: float = ANSWER_TIMEOUT, connections: int = 4
    ) -> None:
        """`address` is `HOST:PORT` or `[IPV6]:PORT`; a request that is not answered within `timeout`
        seconds fails with `TimedOut`; `connections` (1 to 64) are as many calls as run at a time. Raises
        ValueError."""
        if timeout <= 0 or not 1 <= connections <= 64:
            raise ValueError("timeout is more than 0 s, connections is 1 to 64")
        host, port = parse_address(address)
        self._pool = _Pool(host, port, timeout, connections)

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; those in use when their calls end."""
        self._pool.close()

    def put(self, value: bytes, *, key: Key, ttl: int = 0, replication: int = 0) -> Receipt:
        """Store a value of 1 to 65,495 bytes; the receipt says on how many nodes it is.

        `ttl` in seconds and `replication` in nodes are hints; 0 is the node's default. Raises `Refused`,
        `NotReady`, `NoNode`, `TimedOut`, `TooLarge`, `BadKey`.
        """
        return self._run(plans.put(value, key, ttl, replication))

    def put_content(self, value: bytes, *, ttl: int = 0, replication: int = 0) -> Receipt:
        """Store a value under its SHA-256, where nobody can replace it; `Receipt.key` is that key. Raises
        as `put`."""
        return self._run(plans.put_content(value, ttl, replication))

    def put_signed(
        self,
        value: bytes,
        owner: Owner,
        salt: bytes = b"",
        seq: int | None = None,
        cas: int | None = None,
        *,
        ttl: int = 0,
        replication: int = 0,
    ) -> Receipt:
        """Store a value that only its owner can replace; `Receipt.key` is its key.

        `owner` is an Ed25519 private key, its PEM bytes or a path to them; `salt` (up to 64 bytes)
        distinguishes the values of one owner. `seq` numbers the version: the greatest wins. `cas` refuses
        to replace a version above it. Without both the present version is read, and the new one is the
        next, stored only if no other was stored in between. Raises as `put`, and `Unanswered`, `Forged`.
        """
        return self._run(plans.put_signed(value, owner, salt, seq, cas, ttl, replication, now=time.time()))

    def delete(
        self,
        owner: Owner,
        salt: bytes = b"",
        seq: int | None = None,
        cas: int | None = None,
        *,
        replication: int = 0,
    ) -> Receipt | None:
        """Delete an owner's value everywhere, for `max_ttl` (a day). None where none is found and neither
        number is given. Arguments and errors as of `put_signed`."""
        return self._run(plans.delete(owner, salt, seq, cas, replication))

    def get(self, key: Key) -> Value | None:
        """Return the value of a key, an owner's value verified; None where there is none or its owner has
        deleted it.

        Raises `Unanswered`, `NotReady`, `NoNode`, `TimedOut`, `Forged`, `BadKey`.
        """
        return self._run(plans.get(key))

    def get_content(self, key: Key) -> Value | None:
        """Return the value whose SHA-256 is the key, whatever others have put there; None where there is
        none."""
        return self._run(plans.get_content(key))

    def get_many(self, keys: Iterable[Key], *, concurrency: int = 32) -> list[Value | None]:
        """Return the values of many keys, in their order, `concurrency` of them asked for at a time.

        Raises `Incomplete` at the end where some failed; it has the results of all.
        """
        return complete(self._run_many((plans.get(key) for key in keys), concurrency))

    def put_many(
        self,
        items: Mapping[KeyT, bytes] | Iterable[tuple[KeyT, bytes]],
        *,
        ttl: int = 0,
        replication: int = 0,
        concurrency: int = 32,
    ) -> list[Receipt]:
        """Store many values, `(key, value)` each, `concurrency` of them at a time; their receipts in the same
        order.

        Items are taken as there is room, so an iterator may make them. Raises `Incomplete` at the end
        where some failed; it has the results of all.
        """
        pairs = items.items() if isinstance(items, Mapping) else items
        some = (plans.put(value, key, ttl, replication) for key, value in pairs)
        return complete(self._run_many(some, concurrency))

    def _run(self, plan: Plan[T]) -> T:
        (result,) = self._run_many(iter((plan,)), 1)
        if isinstance(result, DhtError):
            raise result
        return result

    def _run_many(self, some: Iterator[Plan[T]], concurrency: int) -> list[T | DhtError]:
        if concurrency < 1:
            raise ValueError("concurrency is 1 or more")
        with self._pool.connection() as connection:
            return _Batch(connection, some, concurrency).run()


def ask_once(address: tuple[str, int], request: ApiRequest, timeout: float = ANSWER_TIMEOUT) -> ApiReply:
    """Send one request over a connection of its own and return the reply. Raises `NoNode` or `TimedOut`.

    For commands, which end as soon as they know that the node is gone.
    """
    connection = _SocketConnection(*address, NodeDialect(), timeout, awaits_return=False)
    exchange = Exchange(request, time.monotonic() + timeout)
    connection.channel.add(exchange)
    try:
        while exchange.outcome is None:
            connection.advance()
    finally:
        connection.close()
    if isinstance(exchange.outcome, DhtError):
        raise exchange.outcome
    return exchange.outcome


class _Pool:
    """The connections of one client: as many as there are calls at a time, up to a limit."""

    def __init__(self, host: str, port: int, timeout: float, limit: int) -> None:
        self._host, self._port, self._timeout = host, port, timeout
        self._node = NodeDialect()
        self._slots = threading.Semaphore(limit)
        self._idle: list[_SocketConnection] = []
        self._is_closed = False

    @contextmanager
    def connection(self) -> "Iterator[_SocketConnection]":
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

    def _take(self) -> "_SocketConnection":
        # Another thread may be as quick.
        try:
            return self._idle.pop()
        except IndexError:
            return _SocketConnection(self._host, self._port, self._node, self._timeout)


class _SocketConnection:
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
            failed, is_dead = self.channel.expire(now)
            if is_dead:
                failed += self.channel.lost(by_node=False)
                self._drop()
            return failed
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


class _Batch(Generic[T]):
    """Some plans that run over one connection, a number of them at a time."""

    def __init__(self, connection: _SocketConnection, some: Iterator[Plan[T]], concurrency: int) -> None:
        self._connection = connection
        self._plans = enumerate(some)
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
