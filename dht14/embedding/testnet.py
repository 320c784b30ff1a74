"""Test networks of real nodes on 127.0.0.1: `dht14.testing.testnet`.

The nodes are processes of their own: a node can be killed as `kill -9` kills it, and whatever reactor, event
loop or threads the tests use, they do not meet. A host process forks them (`testnet_host`), so the imports
cost their time once, and ends with all of them as soon as the connection to it ends. This module imports no
Twisted.
"""

import asyncio
import contextlib
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Iterable, Sequence
from types import TracebackType
from typing import Any, final

from dht14.client.asynchronous import Client as AsyncioClient
from dht14.client.blocking import Client
from dht14.embedding.until_done import until_done
from dht14.errors import StartError

MAX_NODES = 100

END_TIMEOUT = 5.0
"""Seconds that the host has to end; then it is killed, and the kernel kills its nodes."""

_LONGEST_ORDER = 90.0
"""Seconds. The host has limits of its own, which are shorter."""

_GIVEN = {"data_dir", "seeds", "bootstrap", "p2p", "p2p_address", "api", "api_address"}
"""What each node gets from its host."""

_BOOT = (
    "import sys; folder, keeps, *sys.path[:] = sys.argv[1:]; "
    "from dht14.embedding.testnet_host import main; main(folder, keeps == 'keeps')"
)
"""The host imports from where this process does."""


def testnet(
    nodes: int = 5, *, keep: str | os.PathLike[str] | None = None, **options: object
) -> "TestnetContext":
    """Make a network of `nodes` real nodes on 127.0.0.1 for one block.

    `async with testnet(5) as cluster` gives an `AsyncCluster`, `with testnet(5) as cluster` a `Cluster`. All
    nodes are ready when the block begins. Nothing is left when it ends, however it ends, but for the folder
    `keep`, where a later network finds the values again. `options` are those of conf/config.ini.

    Raises ValueError and TypeError, and on entry `StartError`.
    """
    if not isinstance(nodes, int):
        raise TypeError(f"nodes is how many there are (int), not {type(nodes).__name__}")
    for name in _GIVEN & options.keys():
        raise ValueError(f"{name} is not for you to give: each node of a test network gets its own")
    if not 1 <= nodes <= MAX_NODES:
        raise ValueError(f"a test network has 1 to {MAX_NODES} nodes, not {nodes}")
    return TestnetContext(nodes, keep, options)


testnet.__test__ = False  # type: ignore[attr-defined]  # pytest would take it for a test.


@final
class TestnetContext:
    """What `testnet` returns: for one `with` or `async with`."""

    __test__ = False

    def __init__(self, nodes: int, keep: str | os.PathLike[str] | None, options: dict[str, object]) -> None:
        self._nodes = nodes
        self._host = _HostProcess(keep, options)
        self._clients: tuple[Client, ...] = ()
        self._async_clients: tuple[AsyncioClient, ...] = ()

    def __enter__(self) -> "Cluster":
        try:
            self._host.open()
            self._host.tell({"do": "add", "nodes": self._nodes})
            self._host.tell({"do": "start", "numbers": list(range(self._nodes))})
            self._clients = tuple(map(Client, self._host.addresses))
        except BaseException:
            self._host.close()
            raise
        return Cluster(self._host, self._clients)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for client in self._clients:
                client.close()
        finally:
            self._host.close()

    async def __aenter__(self) -> "AsyncCluster":
        try:
            self._host.open()
            await self._host.tell_soon({"do": "add", "nodes": self._nodes})
            await self._host.tell_soon({"do": "start", "numbers": list(range(self._nodes))})
            self._async_clients = tuple(map(AsyncioClient, self._host.addresses))
        except BaseException:
            self._host.close()
            raise
        return AsyncCluster(self._host, self._async_clients)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            closing = asyncio.gather(*(client.close() for client in self._async_clients))
            await until_done(closing)
        finally:
            # Without an await, so that nothing can come between: it takes a few milliseconds.
            self._host.close()


class _Members:
    """What both kinds of cluster know of their nodes."""

    def __init__(self, host: "_HostProcess") -> None:
        self._host = host

    @property
    def addresses(self) -> tuple[str, ...]:
        """`HOST:PORT` of the API of each node."""
        return self._host.addresses

    @property
    def seeds(self) -> tuple[str, ...]:
        """`HOST:PORT` of each node for other nodes: a node of your own can join through them, in the network
        `testnet` with the difficulty 0."""
        return tuple(node["p2p"] for node in self._host.nodes)

    @property
    def pids(self) -> tuple[int | None, ...]:
        """The process of each node; None for one that was killed."""
        return tuple(node["pid"] for node in self._host.nodes)

    @property
    def folder(self) -> str:
        """The folder with `node-0`, `node-1` …: data directories, and in each the log `node.log`."""
        return self._host.folder

    def _order(self, do: str, numbers: Iterable[int]) -> dict[str, object]:
        return {"do": do, "numbers": [self._number(number) for number in numbers]}

    def _partition(self, groups: Sequence[Iterable[int]]) -> dict[str, object]:
        for group in groups:
            if isinstance(group, int | str):
                raise TypeError("a partition has groups, each a list of numbers: partition([0, 1], [2])")
        if len(groups) < 2:
            raise ValueError("a partition has two groups or more")
        lists = [[self._number(number) for number in group] for group in groups]
        if len({number for group in lists for number in group}) < sum(map(len, lists)):
            raise ValueError("a node is in one group only")
        return {"do": "partition", "groups": lists}

    def _number(self, number: int) -> int:
        if not isinstance(number, int):
            raise TypeError(f"a node is its number, as in kill(1, 2), not {type(number).__name__}")
        if not 0 <= number < len(self._host.nodes):
            raise IndexError(f"there is no node {number}: the network has 0 to {len(self._host.nodes) - 1}")
        return number


@final
class Cluster(_Members):
    """A network for tests that block. Threads may share the clients, not the rest."""

    def __init__(self, host: "_HostProcess", clients: tuple[Client, ...]) -> None:
        """Made by `testnet`."""
        super().__init__(host)
        self.clients = clients
        """A client of each node."""

    def kill(self, *nodes: int) -> None:
        """Kill these nodes, as `kill -9` does; those that are dead stay so."""
        self._host.tell(self._order("kill", nodes))

    def start(self, *nodes: int) -> None:
        """Start killed nodes again, with their values and addresses; returns when they are ready. Raises
        `StartError`."""
        self._host.tell(self._order("start", nodes))

    def partition(self, *groups: Iterable[int]) -> None:
        """Let the nodes of one group hear nothing of those of the others. Nodes in no group hear all."""
        self._host.tell(self._partition(groups))

    def heal(self) -> None:
        """End the partition. The nodes find each other within a second or two."""
        self._host.tell({"do": "partition", "groups": []})


@final
class AsyncCluster(_Members):
    """A network for tests with asyncio. A cancelled call is carried out all the same."""

    def __init__(self, host: "_HostProcess", clients: tuple[AsyncioClient, ...]) -> None:
        """Made by `testnet`."""
        super().__init__(host)
        self.clients = clients
        """A client of each node."""

    async def kill(self, *nodes: int) -> None:
        """As `Cluster.kill`."""
        await self._tell(self._order("kill", nodes))

    async def start(self, *nodes: int) -> None:
        """As `Cluster.start`."""
        await self._tell(self._order("start", nodes))

    async def partition(self, *groups: Iterable[int]) -> None:
        """As `Cluster.partition`."""
        await self._tell(self._partition(groups))

    async def heal(self) -> None:
        """As `Cluster.heal`."""
        await self._tell({"do": "partition", "groups": []})

    async def _tell(self, order: dict[str, object]) -> None:
        await until_done(asyncio.ensure_future(self._host.tell_soon(order)))


class _HostProcess:
    """The host of one network as its child process, from `open` to `close`."""

    def __init__(self, keep: str | os.PathLike[str] | None, options: dict[str, object]) -> None:
        self.folder = ""
        self.nodes: list[dict[str, Any]] = []
        """Where each node is."""
        self._keep = keep
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._link: socket.socket | None = None
        self._received = b""
        self._turn: asyncio.Lock | None = None

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(node["api"] for node in self.nodes)

    def open(self) -> None:
        """Start the host. Raises `StartError`."""
        if self._process is not None or self._link is not None:
            raise RuntimeError("a test network is for one block; call testnet() again")
        if not hasattr(os, "fork"):
            raise StartError("nodes do not run on this system")
        if self._keep is None:
            self.folder = tempfile.mkdtemp(prefix="dht14-testnet-")
        else:
            self.folder = os.path.abspath(os.fspath(self._keep))
            try:
                os.makedirs(self.folder, exist_ok=True)
            except OSError as error:
                raise StartError(f"keep: {self.folder} cannot be made ({error.strerror})") from None
        self._link, theirs = socket.socketpair()
        with theirs, open(os.path.join(self.folder, "host.stderr"), "ab") as errors:
            keeps = "keeps" if self._keep is not None else "removes"
            self._process = subprocess.Popen(
                [sys.executable, "-c", _BOOT, self.folder, keeps, *sys.path],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=errors,
                # Ctrl-C is for the tests: they end the network in their own time.
                start_new_session=True,
            )

    def tell(self, order: dict[str, object]) -> None:
        """Give an order and wait until it is carried out. Raises `StartError`."""
        link = self._send(order)
        deadline = time.monotonic() + _LONGEST_ORDER
        while b"\n" not in self._received:
            if not select.select([link], [], [], max(deadline - time.monotonic(), 0))[0]:
                raise StartError("the test network does not answer")
            self._receive(link)
        self._take_reply()

    async def tell_soon(self, order: dict[str, object]) -> None:
        """The same on an event loop."""
        self._turn = self._turn or asyncio.Lock()
        async with self._turn:
            link = self._send(order)
            while b"\n" not in self._received:
                await _until_readable(link)
                self._receive(link)
            self._take_reply()

    def close(self) -> None:
        """Kill all nodes and the host, and remove the folder. A second call does nothing."""
        link, self._link = self._link, None
        if link is not None:
            # A fork of this process may have a copy of the socket, so closing alone would not reach the host.
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
            link.close()
        if self._process is not None:
            try:
                self._process.wait(END_TIMEOUT)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._keep is None and self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _send(self, order: dict[str, object]) -> socket.socket:
        if self._link is None:
            raise RuntimeError("the block of this test network has ended")
        if not self.nodes:
            order = {**order, "options": self._options}
        try:
            message = json.dumps(order).encode() + b"\n"
        except TypeError:
            raise TypeError("options of a test network are texts and numbers") from None
        try:
            self._link.sendall(message)
        except OSError:
            raise StartError(self._last_words()) from None
        return self._link

    def _receive(self, link: socket.socket) -> None:
        try:
            piece = link.recv(65_536)
        except OSError:
            piece = b""
        if not piece:
            raise StartError(self._last_words())
        self._received += piece

    def _take_reply(self) -> None:
        line, _, self._received = self._received.partition(b"\n")
        reply = json.loads(line)
        if "error" in reply:
            raise StartError(reply["error"])
        self.nodes = reply["nodes"]

    def _last_words(self) -> str:
        try:
            with open(os.path.join(self.folder, "host.stderr"), encoding="utf-8", errors="replace") as file:
                lines = file.read().splitlines()
        except OSError:
            lines = []
        return f"the test network has ended: {lines[-1] if lines else 'it was killed'}"


def _until_readable(link: socket.socket) -> Awaitable[None]:
    loop = asyncio.get_running_loop()
    readable: asyncio.Future[None] = loop.create_future()
    loop.add_reader(link, _settle, readable)
    readable.add_done_callback(lambda _: loop.remove_reader(link))
    return readable


def _settle(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
