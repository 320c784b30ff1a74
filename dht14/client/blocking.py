"""The blocking client: `dht14.Client`."""

import time
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar, final

from dht14.client import plans
from dht14.client.address import DEFAULT_ADDRESS, parse_address
from dht14.client.answers import Receipt, Value
from dht14.client.arguments import check_keys, checked_concurrency, checked_timeout, pairs_of
from dht14.client.channel import ANSWER_TIMEOUT, Exchange
from dht14.client.dialect import NodeDialect
from dht14.client.errors import DhtError
from dht14.client.feeds import Feed, News, Pause
from dht14.client.keys import Key, KeyT, key_of
from dht14.client.plans import Owner, Plan, complete
from dht14.client.sockets import ConnectionPool, PlanBatch, SocketConnection
from dht14.wire.api_messages import ApiReply, ApiRequest, GetRecord

if TYPE_CHECKING:
    from dht14.client.asynchronous import Client as AsyncioClient
    from dht14.client.file_values import FetchedFile, FileSource, FileTarget, ReportProgress, StoredFile

# What only files need is imported where it is used. It brings asyncio, on which files move here, too.

T = TypeVar("T")

LISTEN_SECONDS = 1.0
"""How long a watch listens before it looks whether the client was closed."""


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
        seconds fails with `TimedOut`; `connections` (1 to 64) is how many calls run at a time. Raises
        ValueError."""
        timeout = checked_timeout(timeout, connections)
        host, port = parse_address(address)
        self._address, self._timeout = address, timeout
        self._pool = ConnectionPool(host, port, timeout, connections)

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
        check_keys(keys)
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
        some = (plans.put(value, key, ttl, replication) for key, value in pairs_of(items))
        return complete(self._run_many(some, concurrency))

    def watch(self, key: Key) -> Generator[Value | None, None, None]:
        """Yield the value of a key, None where there is none, and from then on each change of it.

        It has a connection of its own. A value that is replaced before it is fetched from the iterator is
        left out. When the connection breaks the watch begins again, for as long as it takes, and a state
        that is new then is yielded. A node of another kind is asked every 5 seconds. The iterator ends when
        the client is closed, a second later at most.

        Before the first value it raises `NoNode`, `NotReady`, `TimedOut`, `BadKey`; later only `Forged`
        and `TooManyWatches`.
        """
        return watch_reporting(self, key, lambda error: None)

    def put_file(
        self,
        source: "FileSource",
        *,
        owner: Owner | None = None,
        salt: bytes = b"",
        seq: int | None = None,
        cas: int | None = None,
        ttl: int = 0,
        replication: int = 0,
        progress: "ReportProgress | None" = None,
    ) -> "StoredFile":
        """As `dht14.aio.Client.put_file`; `progress` is called in another thread."""
        return self._in_thread(
            lambda client: client.put_file(
                source,
                owner=owner,
                salt=salt,
                seq=seq,
                cas=cas,
                ttl=ttl,
                replication=replication,
                progress=progress,
            ),
        )

    def get_file(
        self,
        address: str,
        target: "FileTarget",
        *,
        max_bytes: int | None = None,
        progress: "ReportProgress | None" = None,
    ) -> "FetchedFile | None":
        """As `dht14.aio.Client.get_file`; `progress` is called in another thread."""
        return self._in_thread(
            lambda client: client.get_file(address, target, max_bytes=max_bytes, progress=progress)
        )

    def file_keys(self, address: str) -> list[bytes] | None:
        """As `dht14.aio.Client.file_keys`."""
        return self._in_thread(lambda client: client.file_keys(address))

    def _in_thread(self, call: "Callable[[AsyncioClient], Awaitable[T]]") -> T:
        from dht14.client.file_thread import run

        if self._pool.is_closed:
            raise RuntimeError("the client is closed")
        return run(self._address, self._timeout, call)

    def _run(self, plan: Plan[T]) -> T:
        (result,) = self._run_many(iter((plan,)), 1)
        if isinstance(result, DhtError):
            raise result
        return result

    def _run_many(self, some: Iterator[Plan[T]], concurrency: int) -> list[T | DhtError]:
        concurrency = checked_concurrency(concurrency)
        with self._pool.connection() as connection:
            return PlanBatch(connection, some, concurrency).run()


def ask_once(address: tuple[str, int], request: ApiRequest, timeout: float) -> ApiReply:
    """Send one request over a connection of its own and return the reply. Raises `NoNode` or `TimedOut`.

    For commands, which end as soon as they know that the node is gone.
    """
    connection = SocketConnection(*address, NodeDialect(), timeout, awaits_return=False)
    try:
        return _ask(connection, request)
    finally:
        connection.close()


def _ask(connection: SocketConnection, request: ApiRequest) -> ApiReply:
    exchange = Exchange(request, time.monotonic() + connection.timeout)
    connection.channel.add(exchange)
    while exchange.outcome is None:
        connection.advance()
    if isinstance(exchange.outcome, DhtError):
        raise exchange.outcome
    return exchange.outcome


def watch_reporting(
    client: Client, key: Key, report: Callable[[DhtError | None], object]
) -> Generator[Value | None, None, None]:
    """Do the same as `Client.watch`, and call `report` with each error after which it goes on, and with None
    when the node answers again."""
    feed, pool = Feed(key_of(key)), client._pool
    connection, is_lost = pool.separate(), False
    connection.channel.feeds.add(feed)
    try:
        while not pool.is_closed:
            step = feed.step(time.monotonic())
            if isinstance(step, News):
                yield step.value
            elif isinstance(step, Pause):
                connection.listen(min(step.seconds, LISTEN_SECONDS))
            else:
                try:
                    reply = _ask(connection, step)
                except DhtError as error:
                    feed.failed(error, time.monotonic())
                    is_lost = True
                    report(error)
                    continue
                if is_lost:
                    is_lost = False
                    report(None)
                if isinstance(step, GetRecord):
                    feed.fetched(reply, time.monotonic())
    finally:
        connection.close()
