"""The asyncio client: `dht14.aio.Client`."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar, final

from dht14.client import plans
from dht14.client.address import DEFAULT_ADDRESS, parse_address
from dht14.client.answers import Receipt, Value
from dht14.client.arguments import check_keys, checked_concurrency, checked_timeout, pairs_of
from dht14.client.channel import ANSWER_TIMEOUT
from dht14.client.dialect import NodeDialect
from dht14.client.errors import DhtError
from dht14.client.feeds import Feed, News, Pause
from dht14.client.keys import Key, KeyT, key_of
from dht14.client.pipeline import Pipeline
from dht14.client.plans import Owner, Plan, complete
from dht14.wire.api_messages import ApiReply, ApiRequest, GetRecord, WatchKey

if TYPE_CHECKING:
    from dht14.client.file_values import FetchedFile, FileSource, FileTarget, ReportProgress, StoredFile

# What only files need is imported where it is needed.

T = TypeVar("T")


@final
class Client:
    """A client of a node's API for asyncio.

    Calls of several tasks go through the same connections at the same time: each waits only for its own reply
    and for those before it on its connection. A key always uses the same connection, so a get brings what a
    put begun before it stored. Connections are made when they are needed and made again when they break.

    A call under way when its connection breaks is sent once more, a put too. Content and an owner's value are
    the same however often they are put. An open value that is put twice replaces, the second time, what
    another client put between the two; where that matters use `put_signed` with `cas`.

    A client belongs to the event loop of its first call. In other threads use `dht14.Client`.
    """

    def __init__(
        self, address: str = DEFAULT_ADDRESS, *, timeout: float = ANSWER_TIMEOUT, connections: int = 1
    ) -> None:
        """`address` is `HOST:PORT` or `[IPV6]:PORT`; a request that is not answered within `timeout`
        seconds fails with `TimedOut`; `connections` (1 to 64) help where slow replies hold up others.
        Raises ValueError."""
        timeout = checked_timeout(timeout, connections)
        dialect = NodeDialect(address)
        self._pipelines = [Pipeline(*parse_address(address), dialect, timeout) for _ in range(connections)]

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections. Calls that wait fail with `NoNode`."""
        for pipeline in self._pipelines:
            await pipeline.close()

    async def put(self, value: bytes, *, key: Key, ttl: int = 0, replication: int = 0) -> Receipt:
        """Store a value of 1 to 65,495 bytes; the receipt says on how many nodes it is.

        `ttl` in seconds and `replication` in nodes are hints; 0 is the node's default. Raises `Refused`,
        `NotReady`, `NoNode`, `TimedOut`, `TooLarge`, `BadKey`.
        """
        return await self._run(plans.put(value, key, ttl, replication))

    async def put_content(self, value: bytes, *, ttl: int = 0, replication: int = 0) -> Receipt:
        """Store a value under its SHA-256, where nobody can replace it; `Receipt.key` is that key. Raises
        as `put`."""
        return await self._run(plans.put_content(value, ttl, replication))

    async def put_signed(
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
        return await self._run(
            plans.put_signed(value, owner, salt, seq, cas, ttl, replication, now=time.time())
        )

    async def delete(
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
        return await self._run(plans.delete(owner, salt, seq, cas, replication))

    async def get(self, key: Key) -> Value | None:
        """Return the value of a key, an owner's value verified; None where there is none or its owner has
        deleted it.

        Raises `Unanswered`, `NotReady`, `NoNode`, `TimedOut`, `Forged`, `BadKey`.
        """
        return await self._run(plans.get(key))

    async def get_content(self, key: Key) -> Value | None:
        """Return the value whose SHA-256 is the key, whatever others have put there; None where there is
        none."""
        return await self._run(plans.get_content(key))

    async def get_many(self, keys: Iterable[Key], *, concurrency: int = 32) -> list[Value | None]:
        """Return the values of many keys, in their order, `concurrency` of them asked for at a time.

        Raises `Incomplete` at the end where some failed; it has the results of all.
        """
        check_keys(keys)
        return await _run_many((partial(self.get, key) for key in keys), concurrency)

    async def put_many(
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
        put = partial(self.put, ttl=ttl, replication=replication)
        calls = (partial(put, value, key=key) for key, value in pairs_of(items))
        return await _run_many(calls, concurrency)

    async def watch(self, key: Key) -> AsyncGenerator[Value | None, None]:
        """Yield the value of a key, None where there is none, and from then on each change of it.

        A value that is replaced before it is fetched from the iterator is left out. When the connection
        breaks the watch begins again, for as long as it takes, and a state that is new then is yielded. A
        node of another kind is asked every 5 seconds. The iterator ends when the client is closed.

        Before the first value it raises `NoNode`, `NotReady`, `TimedOut`, `BadKey`; later only `Forged`
        and `TooManyWatches`.
        """
        raw_key = key_of(key)
        pipeline = self._pipeline_of(raw_key)
        woken = asyncio.Event()
        feed = Feed(raw_key, woken.set)
        pipeline.feeds.add(feed)
        try:
            while not pipeline.is_closed:
                woken.clear()
                step = feed.step(time.monotonic())
                if isinstance(step, News):
                    yield step.value
                elif isinstance(step, Pause):
                    with suppress(asyncio.TimeoutError):
                        await asyncio.wait_for(woken.wait(), step.seconds)
                else:
                    try:
                        reply = await self._ask(step)
                    except DhtError as error:
                        feed.failed(error, time.monotonic())
                    else:
                        if isinstance(step, GetRecord):
                            feed.fetched(reply, time.monotonic())
        finally:
            if pipeline.feeds.remove(feed):
                pipeline.say(WatchKey(raw_key, on=False))

    async def put_file(
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
        """Store a file of any size; `StoredFile.address` is its address.

        `source` is a path or an open binary file, which is read to its end. The file is cut into content
        values, of which 32 are under way at once; memory stays the same for any size. With `owner` (and
        `salt`, `seq`, `cas`: see `put_signed`) the address is that of an owner's value, which names the
        file and can name another one later. `progress` is called for each piece. What fails is tried
        again for a minute.

        Put again what failed or was interrupted: pieces that are stored already are found. Raises
        `FileFailed`, OSError, ValueError.
        """
        from dht14.client import file_loop, file_transfer

        return await file_transfer.put_file(
            self,
            source,
            file_loop.AsyncioLoop(),
            owner=owner,
            salt=salt,
            seq=seq,
            cas=cas,
            ttl=ttl,
            replication=replication,
            progress=progress,
        )

    async def get_file(
        self,
        address: str,
        target: "FileTarget",
        *,
        max_bytes: int | None = None,
        progress: "ReportProgress | None" = None,
    ) -> "FetchedFile | None":
        """Fetch a file, each piece verified; None where there is none.

        To a path it is written as `target` with `.part` behind it, and renamed when all of it is on the
        disk; a further call goes on with a part file, whose pieces are verified again. An open binary
        file, a pipe or a device gets the bytes in order. Nothing limits these but `max_bytes`: a stranger
        can make an address of an exabyte with a few small manifests.

        Raises `TooLarge` before a piece is fetched, `FileFailed`, `NotAFile`, ValueError for what is no
        address, OSError, and what `get` raises while nothing is fetched yet.
        """
        from dht14.client import file_loop, file_transfer

        loop = file_loop.AsyncioLoop()
        return await file_transfer.get_file(
            self, address, target, loop, max_bytes=max_bytes, progress=progress
        )

    async def file_keys(self, address: str) -> list[bytes] | None:
        """Return the keys of all values that a file consists of, each once, its own first; None where there
        is none. Raises as `get_file`."""
        from dht14.client import file_loop, file_transfer

        return await file_transfer.file_keys(self, address, file_loop.AsyncioLoop())

    async def _run(self, plan: Plan[T]) -> T:
        try:
            request = next(plan)
            while True:
                request = plan.send(await self._ask(request))
        except StopIteration as end:
            result: T = end.value
            return result

    def _pipeline_of(self, key: bytes) -> Pipeline:
        return self._pipelines[key[0] % len(self._pipelines)]

    async def _ask(self, request: ApiRequest) -> ApiReply:
        exchange, future = self._pipeline_of(request.key).ask(request)
        try:
            return await future
        except asyncio.CancelledError:
            exchange.abandon()
            raise


async def _run_many(calls: Iterable[Callable[[], Awaitable[T]]], concurrency: int) -> list[T]:
    """Return the results of all calls in order. Raises `Incomplete`; at once an error that is no
    `DhtError`."""
    concurrency = checked_concurrency(concurrency)
    results: dict[int, T | DhtError] = {}
    numbered = enumerate(calls)

    async def work() -> None:
        for number, call in numbered:
            try:
                results[number] = await call()
            except DhtError as error:
                results[number] = error

    workers = [asyncio.ensure_future(work()) for _ in range(concurrency)]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    return complete([results[number] for number in range(len(results))])
