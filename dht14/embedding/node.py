"""A node in a program on Twisted: `dht14.Node`."""

import os
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable
from functools import partial
from typing import Any, TypeVar, final

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python import threadable

from dht14.app.embedded_settings import embedded_settings
from dht14.app.options import Role
from dht14.app.service import NodeService, build_node
from dht14.client import file_transfer, plans
from dht14.client.address import format_address
from dht14.client.answers import Receipt, Value, value_from
from dht14.client.arguments import check_seconds, checked_hints
from dht14.client.errors import NotReady, TooManyWatches
from dht14.client.file_loop import FileLoop
from dht14.client.file_values import FetchedFile, FileSource, FileTarget, ReportProgress, StoredFile
from dht14.client.keys import Key, key_of
from dht14.client.plans import Owner, Plan
from dht14.embedding.kept_value import KeptValue, kept_value, not_kept
from dht14.embedding.node_calls import NodeCalls, not_ready
from dht14.embedding.node_files import NodeFiles
from dht14.embedding.node_plans import reply_to
from dht14.embedding.node_status import NodeStatus
from dht14.embedding.steady_reactor import SteadyReactor
from dht14.kademlia.keyspace import id_from_bytes
from dht14.maintenance.keep import Keeper
from dht14.net.api.readiness import StartStep
from dht14.net.api.states import KeyStates
from dht14.records.kept import KeepRefusal
from dht14.records.receipt import NoRecord

T = TypeVar("T")

READY_TIMEOUT = 60.0
"""Seconds. Mining a node id takes most of a first start."""

KEPT_PAGE = 500
"""Kept values that are read at once."""


@final
class Node:
    """A node of the network in this process, on Twisted. Several can run in one process.

    Its calls are those of the clients, and return Deferreds, which coroutines can await. They have the same
    receipts, values and errors, and take at most 5 seconds from their turn, but for those for files: 64 are
    under way at once. A call before the node is ready waits for that.
    """

    def __init__(
        self,
        data_dir: str | os.PathLike[str],
        seeds: Iterable[str] = (),
        p2p: str = "127.0.0.1:0",
        api: str | None = None,
        *,
        reactor: Any = None,
        **options: object,
    ) -> None:
        """`data_dir` is the folder of its identity and values, made if it is missing; `seeds` are the nodes
        to join through, as `HOST:PORT` or `NODEID@HOST:PORT`; `p2p` and `api` are its addresses for others
        and for clients, where port 0 is any free one. Without `api` no client can connect.

        `reactor` is the one to run on, or else Twisted's global one. `options` are those of conf/config.ini,
        of any section. Raises `ConfigError`.
        """
        self._settings = embedded_settings(data_dir, seeds, p2p, api, options)
        self._has_api = api is not None
        self._given_reactor = reactor
        self._is_global = False
        """Whether it runs on Twisted's global reactor."""
        self._service: NodeService | None = None
        """None before the start, and from the beginning of the stop."""
        self._calls: NodeCalls | None = None
        """Those since the last start."""
        self._stopping: Deferred[None] | None = None
        self._p2p_address: str | None = None
        self._api_address: str | None = None
        self._node_id: str | None = None

    def start(self) -> "Deferred[None]":
        """Lock the data directory, bind the ports and begin to join; fires when the ports are bound.

        Fails with `ConfigError`, `DataDirInUse` or `AddressUnavailable`; then nothing is left open, and it
        can be tried again. A stopped node can be started again.
        """
        return maybeDeferred(self._start)

    def ready(self, timeout: float = READY_TIMEOUT) -> "Deferred[None]":
        """Fires when the node has its id, its values and its neighbours, or has found that it is alone.

        Fails with `NotReady` after `timeout` seconds.
        """
        return Deferred.fromCoroutine(self._ready(timeout))

    def stop(self) -> "Deferred[None]":
        """Hand the values over to other nodes, for at most 4 seconds, and close all that the node has opened.

        Calls under way fail. A node that does not run is stopped already.
        """
        stopped: Deferred[None] = Deferred()
        service, self._service = self._service, None
        if service is not None:
            self._files.end()
            self._remember_id(service)
            assert self._calls is not None
            self._stopping = Deferred.fromCoroutine(self._stop(service, self._calls))
        if self._stopping is None:
            stopped.callback(None)
        else:
            # Each caller has a Deferred of its own: none can change what another one gets.
            self._stopping.addBoth(_tell, stopped)
        return stopped

    @property
    def p2p_address(self) -> str:
        """`HOST:PORT` for other nodes: a seed for them. Raises RuntimeError before the first start."""
        if self._p2p_address is None:
            raise RuntimeError("the node has no address yet: call start() first")
        return self._p2p_address

    @property
    def api_address(self) -> str | None:
        """`HOST:PORT` for clients; None without `api`, and before the first start."""
        return self._api_address

    @property
    def node_id(self) -> str | None:
        """64 hex digits; None until the node has mined its first one."""
        if self._service is not None:
            self._remember_id(self._service)
        return self._node_id

    def status(self) -> NodeStatus:
        """Return the state of the node now. Raises RuntimeError if it does not run."""
        service = self._running_service()
        stack, pending = service.stack, service.readiness.pending_steps
        store = stack.store if stack is not None else None
        # A store that is not open yet has no sizes.
        is_open = store is not None and StartStep.VALUES not in pending
        return NodeStatus(
            is_ready=not pending,
            waits_for=tuple(sorted(step.value for step in pending)),
            joined=stack is not None and stack.table.has_live_contact(),
            node_id=self.node_id,
            p2p_address=self.p2p_address,
            api_address=self.api_address,
            contacts=len(stack.table) if stack is not None else 0,
            values=len(store) if store is not None and is_open else 0,
            stored_bytes=store.space().used if store is not None and is_open else 0,
        )

    # Calls

    def put(self, value: bytes, *, key: Key, ttl: int = 0, replication: int = 0) -> "Deferred[Receipt]":
        """As `Client.put`."""
        return self._run(plans.put(value, key, ttl, replication))

    def put_content(self, value: bytes, *, ttl: int = 0, replication: int = 0) -> "Deferred[Receipt]":
        """As `Client.put_content`."""
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
    ) -> "Deferred[Receipt]":
        """As `Client.put_signed`."""
        return self._run(plans.put_signed(value, owner, salt, seq, cas, ttl, replication, now=time.time()))

    def delete(
        self,
        owner: Owner,
        salt: bytes = b"",
        seq: int | None = None,
        cas: int | None = None,
        *,
        replication: int = 0,
    ) -> "Deferred[Receipt | None]":
        """As `Client.delete`."""
        return self._run(plans.delete(owner, salt, seq, cas, replication))

    def get(self, key: Key) -> "Deferred[Value | None]":
        """As `Client.get`."""
        return self._run(plans.get(key))

    def get_content(self, key: Key) -> "Deferred[Value | None]":
        """As `Client.get_content`."""
        return self._run(plans.get_content(key))

    def put_file(
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
    ) -> "Deferred[StoredFile]":
        """As `dht14.aio.Client.put_file`."""
        put = partial(file_transfer.put_file, owner=owner, salt=salt, seq=seq, cas=cas, progress=progress)
        return self._transfer(lambda loop: put(self, source, loop, ttl=ttl, replication=replication))

    def get_file(
        self,
        address: str,
        target: FileTarget,
        *,
        max_bytes: int | None = None,
        progress: ReportProgress | None = None,
    ) -> "Deferred[FetchedFile | None]":
        """As `dht14.aio.Client.get_file`."""
        get = partial(file_transfer.get_file, max_bytes=max_bytes, progress=progress)
        return self._transfer(lambda loop: get(self, address, target, loop))

    def file_keys(self, address: str) -> "Deferred[list[bytes] | None]":
        """As `dht14.aio.Client.file_keys`."""
        return self._transfer(lambda loop: file_transfer.file_keys(self, address, loop))

    async def watch(self, key: Key) -> AsyncGenerator[Value | None, None]:
        """Yield the value of a key, None where there is none, and from then on each change of it.

        For `async for` in a coroutine. A value that is replaced before it is fetched from the iterator is
        left out. It ends when the node stops. Raises `NotReady`, `TooManyWatches`, `Forged`, `BadKey`.
        """
        raw_key = key_of(key)
        states = KeyStates(self._running_service().readiness, id_from_bytes(raw_key))
        try:
            while (found := await states.following()) is not None:
                if found is NoRecord.TOO_MANY_WATCHES:
                    raise TooManyWatches
                yield value_from(reply_to(raw_key, found, self._clock()))
        finally:
            states.end()

    # Kept values

    def keep(self, key: Key, *, ttl: int = 0, replication: int = 0) -> "Deferred[KeptValue]":
        """Renew what is stored under a key, until `unkeep`; fires when that is on this node's disk.

        `ttl`: seconds that it lives after each renewal; 0 asks for the default, as for `replication`. Put the
        value first. Fails with `NotKept`, with `NotReady`, or with `Unanswered` if the value cannot be looked
        up.
        """
        return self._until_stop(self._keep(key, ttl, replication))

    def unkeep(self, key: Key) -> "Deferred[bool]":
        """Stop renewing a value; fires with whether it was kept. Fails with `NotReady`.

        What is also a part of a file that `dht14 keep dht14:HEX` keeps stays with that.
        """
        return self._until_stop(self._unkeep(key))

    def kept(self) -> list[KeptValue]:
        """Return all kept values, with what became of their last renewals."""
        keeper = self._keeper()
        found, mark = [], b""
        while True:
            page = keeper.page(mark, KEPT_PAGE)
            found += [kept_value(entry, self._clock()) for entry in page.entries]
            if page.mark is None:
                return found
            mark = page.mark

    # Inside

    async def _keep(self, key: Key, ttl: int, replication: int) -> KeptValue:
        ttl, replication = checked_hints(ttl, replication)
        found = await self._running_service().readiness.get(id_from_bytes(key_of(key)))
        if isinstance(found, NoRecord):
            raise not_kept(found)
        kept = await self._keeper().keep_record(found, ttl, replication)
        if isinstance(kept, KeepRefusal):
            raise not_kept(kept)
        return kept_value(kept, self._clock())

    async def _unkeep(self, key: Key) -> bool:
        removed = await self._keeper().unkeep(id_from_bytes(key_of(key)))
        if isinstance(removed, KeepRefusal):
            raise not_kept(removed)
        return removed is not None

    def _keeper(self) -> Keeper:
        stack = self._running_service().stack
        if stack is None or stack.keeper is None:
            raise NotReady("the node has no id yet")
        return stack.keeper

    def _start(self) -> None:
        if self._service is not None or (self._stopping is not None and not self._stopping.called):
            raise RuntimeError("the node runs already, or has not stopped yet")
        reactor = self._given_reactor
        if reactor is None:
            # The program has chosen its reactor before it starts a node, and nothing here did so before.
            from twisted.internet import reactor
        self._is_global = reactor is sys.modules.get("twisted.internet.reactor")
        self._stopping = None
        steady: Any = SteadyReactor(reactor)
        service = build_node(self._settings, steady, Role.NODE, has_api=self._has_api)
        self._clock = steady.seconds
        self._files = NodeFiles(reactor)
        self._p2p_address = format_address(*service.ports.p2p_address)
        if service.ports.api is not None:
            self._api_address = format_address(*service.ports.api.address)
        self._service = service
        self._calls = NodeCalls(service.readiness, steady)
        service.startService()

    async def _ready(self, timeout: float) -> None:
        check_seconds(timeout)
        readiness = self._running_service().readiness
        if not await readiness.when_ready(timeout):
            raise not_ready(readiness, "its log says more")

    async def _stop(self, service: NodeService, calls: NodeCalls) -> None:
        calls.stopping()
        try:
            await service.stopService()
        finally:
            calls.end()

    def _remember_id(self, service: NodeService) -> None:
        if service.stack is not None:
            self._node_id = f"{service.stack.table.own_id:064x}"

    def _running_service(self) -> NodeService:
        if self._service is None:
            raise RuntimeError("the node does not run: it was not started, or is stopped")
        if self._is_global and threadable.ioThread is not None and not threadable.isInIOThread():
            raise RuntimeError(
                "the node was called in another thread than that of its reactor: use "
                "reactor.callFromThread, or twisted.internet.threads.blockingCallFromThread"
            )
        return self._service

    def _transfer(self, begin: Callable[[FileLoop], Awaitable[T]]) -> "Deferred[T]":
        async def transfer() -> T:
            self._running_service()
            return await self._files.run(begin)

        return Deferred.fromCoroutine(transfer())

    def _run(self, plan: Plan[T]) -> "Deferred[T]":
        async def run() -> T:
            self._running_service()
            assert self._calls is not None
            return await self._calls.carry_out(plan)

        return self._until_stop(run())

    def _until_stop(self, call: Coroutine[Any, Any, T]) -> "Deferred[T]":
        return Deferred.fromCoroutine(call) if self._calls is None else self._calls.run(call)


def _tell(result: T, other: "Deferred[T]") -> T:
    other.callback(result)
    return result
