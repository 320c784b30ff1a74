"""A node in an asyncio program: `dht14.aio.run_node`."""

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TypeVar, final

from twisted.internet.defer import Deferred

from dht14.client.answers import Receipt, Value
from dht14.client.file_values import FetchedFile, FileSource, FileTarget, ReportProgress, StoredFile
from dht14.client.keys import Key
from dht14.client.plans import Owner
from dht14.embedding.guest_reactor import GuestReactor
from dht14.embedding.kept_value import KeptValue
from dht14.embedding.node import READY_TIMEOUT, Node
from dht14.embedding.node_status import NodeStatus
from dht14.embedding.until_done import until_done

T = TypeVar("T")


@final
class AsyncioNode:
    """A node of the network in this process, while the block of its `run_node` lasts.

    Its calls are those of the clients, with the same receipts, values and errors, and take at most 5 seconds
    from their turn, but for those for files: 64 are under way at once. A call before the node is ready waits
    for that.
    """

    def __init__(self, node: Node) -> None:
        """Made by `run_node`, on its event loop."""
        self._node = node
        self._loop = asyncio.get_running_loop()

    @property
    def _here(self) -> Node:
        """The node, for a call on its own loop. On another one it would run in two threads at once, and its
        answers would wake nobody."""
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError(
                "the node belongs to another event loop, that of its run_node; from another thread use "
                "asyncio.run_coroutine_threadsafe"
            )
        return self._node

    async def ready(self, timeout: float = READY_TIMEOUT) -> None:
        """Wait until the node has its id, its values and its neighbours, or has found that it is alone.

        Raises `NotReady` after `timeout` seconds.
        """
        await _future(self._here.ready(timeout))

    @property
    def p2p_address(self) -> str:
        """`HOST:PORT` for other nodes: a seed for them."""
        return self._node.p2p_address

    @property
    def api_address(self) -> str | None:
        """`HOST:PORT` for clients; None without `api`."""
        return self._node.api_address

    @property
    def node_id(self) -> str | None:
        """64 hex digits; None until the node has mined its first one."""
        return self._node.node_id

    def status(self) -> NodeStatus:
        """Return the state of the node now."""
        return self._node.status()

    async def put(self, value: bytes, *, key: Key, ttl: int = 0, replication: int = 0) -> Receipt:
        """As `Client.put`."""
        return await _future(self._here.put(value, key=key, ttl=ttl, replication=replication))

    async def put_content(self, value: bytes, *, ttl: int = 0, replication: int = 0) -> Receipt:
        """As `Client.put_content`."""
        return await _future(self._here.put_content(value, ttl=ttl, replication=replication))

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
        """As `Client.put_signed`."""
        return await _future(
            self._here.put_signed(value, owner, salt, seq, cas, ttl=ttl, replication=replication)
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
        """As `Client.delete`."""
        return await _future(self._here.delete(owner, salt, seq, cas, replication=replication))

    async def get(self, key: Key) -> Value | None:
        """As `Client.get`."""
        return await _future(self._here.get(key))

    async def get_content(self, key: Key) -> Value | None:
        """As `Client.get_content`."""
        return await _future(self._here.get_content(key))

    async def put_file(
        self,
        source: FileSource,
        *,
        owner: Owner | None = None,
        salt: bytes = b"",
        seq: int | None = None,
        cas: int | None = None,
        ttl: int = 0,
        replication: int = 0,
        progress: ReportProgress | None = None,
    ) -> StoredFile:
        """As `Client.put_file`."""
        return await _future(
            self._here.put_file(
                source,
                owner=owner,
                salt=salt,
                seq=seq,
                cas=cas,
                ttl=ttl,
                replication=replication,
                progress=progress,
            )
        )

    async def get_file(
        self,
        address: str,
        target: FileTarget,
        *,
        max_bytes: int | None = None,
        progress: ReportProgress | None = None,
    ) -> FetchedFile | None:
        """As `Client.get_file`."""
        return await _future(self._here.get_file(address, target, max_bytes=max_bytes, progress=progress))

    async def file_keys(self, address: str) -> list[bytes] | None:
        """As `Client.file_keys`."""
        return await _future(self._here.file_keys(address))

    async def watch(self, key: Key) -> AsyncGenerator[Value | None, None]:
        """As `Client.watch`; it ends when the node stops."""
        values = self._here.watch(key)
        try:
            while (following := await _future(Deferred.fromCoroutine(_next(values)))) is not None:
                yield following[0]
        finally:
            await _future(Deferred.fromCoroutine(_close(values)))

    async def keep(self, key: Key, *, ttl: int = 0, replication: int = 0) -> KeptValue:
        """As `Node.keep`."""
        return await _future(self._here.keep(key, ttl=ttl, replication=replication))

    async def unkeep(self, key: Key) -> bool:
        """As `Node.unkeep`."""
        return await _future(self._here.unkeep(key))

    def kept(self) -> list[KeptValue]:
        """As `Node.kept`."""
        return self._node.kept()


@asynccontextmanager
async def run_node(
    data_dir: str | os.PathLike[str],
    seeds: Iterable[str] = (),
    p2p: str = "127.0.0.1:0",
    api: str | None = None,
    **options: object,
) -> AsyncIterator[AsyncioNode]:
    """Run a node on the running event loop while the block lasts. Arguments and errors as of `dht14.Node`.

    At the end, however the block ends, the node hands its values over and closes all that it has opened; a
    cancellation waits for that, 8 seconds at most.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            "run_node needs a running event loop; on another reactor of Twisted use dht14.Node"
        ) from None
    reactor = GuestReactor(loop)
    try:
        node = Node(data_dir, seeds, p2p, api, reactor=reactor, **options)
        await _future(node.start())
        try:
            yield AsyncioNode(node)
        finally:
            await until_done(_future(node.stop()))
    finally:
        reactor.end()


async def _next(values: AsyncGenerator[T, None]) -> tuple[T] | None:
    """Return the next value; None at the end."""
    async for value in values:
        return (value,)
    return None


async def _close(values: AsyncGenerator[T, None]) -> None:
    await values.aclose()


def _future(deferred: "Deferred[T]") -> "asyncio.Future[T]":
    return deferred.asFuture(asyncio.get_running_loop())
