"""The host of a test network: a process that forks one process for each node, and ends with all of them.

`dht14 testnet` is one. `dht14.testing.testnet` starts one as a child and gives it orders: `main`.
"""

import json
import os
import select
import shutil
import signal
import socket
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn

from attrs import define, field

from dht14.embedding.testnet_node import LOG_NAME, MemberSpec, become_node
from dht14.errors import StartError

START_TIMEOUT = 60.0
"""Seconds that nodes have to become ready."""

TESTNET_OPTIONS: Mapping[str, object] = {
    "difficulty": 0,
    "network": "testnet",
    # A node calls its seeds this often for a quarter of an hour: so the parts of a partition find each other
    # again as soon as it is healed.
    "bootstrap_retry_interval": 1,
    "max_bootstrap_retries": 900,
}
"""Options of all nodes, where the caller does not say otherwise."""


SIGNAL_GRACE = 0.5
"""Seconds for which the end of a node may be part of the end of all."""


class NodeEnded(StartError):
    """The process of a node has ended."""


class HostAbandoned(Exception):
    """The network is not needed any more: the program that started its host has ended, or said so."""


@define
class _Member:
    """One node. Its process is None while it does not run."""

    folder: str
    p2p: str
    api: str
    sources: tuple[tuple[str, int], ...] = ()
    """The addresses that its datagrams come from."""
    pid: int | None = None
    link: socket.socket | None = None
    received: bytes = b""


@define
class TestnetHost:
    """The nodes of one network, by number. Not for a process with threads: it forks."""

    __test__ = False

    _folder: str
    _options: Mapping[str, object]
    _owner: socket.socket
    """A connection whose end means that the network is not needed any more. Nothing is sent through it while
    an order is carried out."""
    _members: list[_Member] = field(factory=list, init=False)
    _groups: Sequence[Sequence[int]] = field(default=(), init=False)

    def add(self, nodes: int, first_api_port: int = 0) -> None:
        """Add nodes, which do not run yet. Their API ports follow one another; 0: any free ones."""
        for number in range(len(self._members), len(self._members) + nodes):
            port = first_api_port + number if first_api_port else 0
            folder = os.path.join(self._folder, f"node-{number}")
            self._members.append(_Member(folder, "127.0.0.1:0", f"127.0.0.1:{port}"))

    def start(self, numbers: Iterable[int]) -> None:
        """Start nodes that do not run, and return when all are ready. Raises `StartError`."""
        self._tell_groups()  # Who does not answer has ended, or was killed by the number of its process.
        stopped = [self._members[number] for number in numbers if self._members[number].pid is None]
        deadline = time.monotonic() + START_TIMEOUT
        if stopped and not any(member.sources for member in self._members):
            # The very first one: the others join through it.
            self._spawn(stopped[0])
            self._hear_address(stopped[0], deadline)
        for member in stopped:
            if member.pid is None:
                self._spawn(member)
        for member in stopped:
            while "ready" not in self._hear_address(member, deadline):
                pass
        self._tell_groups()

    def kill(self, numbers: Iterable[int]) -> None:
        """Kill nodes, as `kill -9` does. Those that do not run stay as they are."""
        killed = [self._members[number] for number in numbers if self._members[number].pid is not None]
        for member in killed:
            assert member.pid is not None
            os.kill(member.pid, signal.SIGKILL)
        for member in killed:
            self._bury(member)

    def partition(self, groups: Sequence[Sequence[int]]) -> None:
        """Let nodes of different groups hear nothing of each other. Nodes in no group hear all; no group at
        all heals the network."""
        self._groups = groups
        self._tell_groups()

    def describe(self) -> list[dict[str, Any]]:
        """Return where each node is."""
        return [
            {
                "node": number,
                "api": member.api,
                "p2p": member.p2p,
                "pid": member.pid,
                "data_dir": member.folder,
            }
            for number, member in enumerate(self._members)
        ]

    def next_end(self) -> int | None:
        """Wait until a node ends by itself and return its number; None if none runs. Raises
        `HostAbandoned`."""
        links = {member.link: number for number, member in enumerate(self._members) if member.link}
        if not links:
            return None
        while True:
            for link in self._wait_for(*links):
                number = links[link]
                if not self._receive(self._members[number]):
                    self._bury(self._members[number])
                    # A SIGTERM to all processes (systemd, timeout) may have reached the node first.
                    self._wait_for(timeout=SIGNAL_GRACE)
                    return number

    def close(self) -> None:
        """Kill all nodes."""
        self.kill(range(len(self._members)))

    # Inside

    def _spawn(self, member: _Member) -> None:
        seeds = tuple(other.p2p for other in self._members if other is not member and other.sources)
        spec = MemberSpec(
            folder=member.folder,
            seeds=seeds,
            p2p=member.p2p,
            api=member.api,
            options={**TESTNET_OPTIONS, **self._options},
        )
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if not pid:
            self._become(spec, theirs, ours)
        theirs.close()
        member.pid, member.link, member.received = pid, ours, b""

    def _become(self, spec: MemberSpec, link: socket.socket, other_end: socket.socket) -> NoReturn:
        """Be a node from now on, without what the host has open."""
        try:
            for member in self._members:
                if member.link is not None:
                    member.link.close()
            other_end.close()
            os.close(self._owner.fileno())
            become_node(link, spec)
        finally:
            os._exit(1)

    def _hear_address(self, member: _Member, deadline: float) -> dict[str, Any]:
        """Return the next message of a node that starts, and remember the addresses that it names."""
        said = self._hear(member, deadline)
        if "sources" in said:
            member.p2p, member.api = said["p2p"], said["api"]
            member.sources = tuple((host, port) for host, port in said["sources"])
        return said

    def _hear(self, member: _Member, deadline: float) -> dict[str, Any]:
        """Return the next message of a node. Raises `StartError` if it has none, `HostAbandoned`."""
        while b"\n" not in member.received:
            assert member.link is not None
            if not self._wait_for(member.link, timeout=max(deadline - time.monotonic(), 0)):
                raise StartError(f"a node is not ready: {_last_words(member)}")
            if not self._receive(member):
                raise NodeEnded(f"a node has ended: {_last_words(member)}")
        line, _, member.received = member.received.partition(b"\n")
        said: dict[str, Any] = json.loads(line)
        if "error" in said:
            raise StartError(said["error"])
        return said

    def _wait_for(self, *links: socket.socket, timeout: float | None = None) -> list[socket.socket]:
        """Return those of the links that can be read. Raises `HostAbandoned`."""
        heard = select.select([*links, self._owner], [], [], timeout)[0]
        if self._owner in heard:
            raise HostAbandoned
        return heard

    def _receive(self, member: _Member) -> bool:
        assert member.link is not None
        try:
            piece = member.link.recv(65_536)
        except ConnectionError:
            piece = b""
        member.received += piece
        return bool(piece)

    def _tell_groups(self) -> None:
        """Tell all nodes whom they must not hear, and bury those that have ended."""
        told = []
        for number, member in enumerate(self._members):
            if member.link is None:
                continue
            shut = [source for other in self._others(number) for source in self._members[other].sources]
            try:
                member.link.sendall(json.dumps(shut).encode() + b"\n")
            except ConnectionError:
                self._bury(member)
            else:
                told.append(member)
        deadline = time.monotonic() + START_TIMEOUT
        for member in told:
            try:
                self._hear(member, deadline)
            except NodeEnded:
                self._bury(member)

    def _others(self, number: int) -> set[int]:
        """The nodes of the other groups, for one that is in a group."""
        own = next((set(group) for group in self._groups if number in group), None)
        return {other for group in self._groups for other in group} - own if own is not None else set()

    def _bury(self, member: _Member) -> None:
        assert member.pid is not None
        assert member.link is not None
        os.waitpid(member.pid, 0)
        member.link.close()
        member.pid = member.link = None


def _last_words(member: _Member) -> str:
    """The end of what a node wrote before it ended."""
    for name in ("stderr", LOG_NAME):
        try:
            with open(os.path.join(member.folder, name), encoding="utf-8", errors="replace") as file:
                lines = file.read().splitlines()
        except OSError:
            continue
        if lines:
            return lines[-1]
    return "it has written nothing"


def main(folder: str, keeps_folder: bool) -> None:
    """Carry out the orders that come through the standard input, a socket, until its other end is closed."""
    owner = socket.socket(fileno=os.dup(0))
    host: TestnetHost | None = None
    try:
        with owner.makefile("rb") as lines:
            for line in lines:
                order = json.loads(line)
                if host is None:
                    host = TestnetHost(folder, order.pop("options"), owner)
                owner.sendall(json.dumps(_carried_out(host, **order)).encode() + b"\n")
    except (HostAbandoned, ConnectionError):
        pass
    except Exception:  # noqa: BLE001 - the process that waits for a reply reads its last line
        traceback.print_exc()
    finally:
        if host is not None:
            host.close()
        if not keeps_folder:
            shutil.rmtree(folder, ignore_errors=True)
        # The tests wait for this end: the interpreter need not be taken down piece by piece.
        os._exit(0)


def _carried_out(host: TestnetHost, do: str, **arguments: Any) -> dict[str, Any]:
    orders: dict[str, Callable[..., None]] = {
        "add": host.add,
        "start": host.start,
        "kill": host.kill,
        "partition": host.partition,
    }
    try:
        orders[do](**arguments)
    except StartError as error:
        return {"error": str(error)}
    return {"nodes": host.describe()}
