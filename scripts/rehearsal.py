#!/usr/bin/env python3
"""What a network that scripts/deploy.sh has started promises, tried on it: nodes are restarted, cut off and
killed.

    scripts/deploy.sh 10 && python scripts/rehearsal.py
    scripts/deploy.sh --local 5 && python scripts/rehearsal.py

One line per promise; exits with 1 when one was broken. Nodes that were killed stay so.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import threading
import time
import typing
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from attrs import define, field, frozen

from dht14.cmd.api_client import ask
from dht14.cmd.command_error import CommandError
from dht14.kademlia.parameters import MAX_VALUE
from dht14.wire.api_messages import Get, Put, Success

FOLDER = Path(__file__).parent.parent / "data" / "deployment"
API_PORT = int(os.environ.get("API_PORT", "7400"))
VALUES = 100
KILLED = 3
TIMEOUT = 60.0
STOP_SECONDS, RETURN_SECONDS = 10.0, 30.0
PAUSE_SECONDS = 0.05
"""Seconds between two requests of the load: all nodes must return its values afterwards."""

SETTLE_SECONDS = 5.0
"""Seconds between two restarts, as an operator waits for the restarted node."""


class Hosts(Protocol):
    """Stops and starts nodes on their hosts."""

    def stop(self, name: str) -> str:
        """Send SIGTERM; return the exit code, where it is known."""

    def start(self, name: str) -> None:
        """Start it again with the same options."""

    def kill(self, name: str) -> None:
        """Send SIGKILL."""


class Containers:
    """Nodes in containers."""

    def stop(self, name: str) -> str:
        """As `Hosts.stop`."""
        docker("stop", "--time", "60", _container(name))
        return docker("inspect", "--format", "{{.State.ExitCode}}", _container(name))

    def start(self, name: str) -> None:
        """As `Hosts.start`."""
        docker("start", _container(name))

    def kill(self, name: str) -> None:
        """As `Hosts.kill`."""
        docker("kill", _container(name))


@define
class Processes:
    """Nodes as processes; the system has their command lines and environments."""

    _calls: dict[str, tuple[list[str], dict[str, str]]] = field(factory=dict)

    def stop(self, name: str) -> str:
        """As `Hosts.stop`."""
        self._end(name, signal.SIGTERM)
        return "unseen"

    def start(self, name: str) -> None:
        """As `Hosts.start`."""
        words, environment = self._calls[name]
        subprocess.run(words, env=environment, cwd=FOLDER.parent.parent, check=True)

    def kill(self, name: str) -> None:
        """As `Hosts.kill`."""
        self._end(name, signal.SIGKILL)

    def _end(self, name: str, number: int) -> None:
        pid = int((FOLDER / name / "twistd.pid").read_text())
        variables = _strings_of(pid, "environ")
        environment = dict(variable.split("=", 1) for variable in variables)
        self._calls[name] = (_strings_of(pid, "cmdline"), environment)
        os.kill(pid, number)
        # A node holds the lock of its directory for as long as it lives.
        subprocess.run(["flock", "--timeout", "60", FOLDER / name / "lock", "true"], check=True)


def _strings_of(pid: int, file: str) -> list[str]:
    return Path(f"/proc/{pid}/{file}").read_text().rstrip("\0").split("\0")


def _container(name: str) -> str:
    return f"dht-14_{name}"


def docker(*words: str) -> str:
    """Return the output of docker with these words."""
    return subprocess.run(["docker", *words], check=True, capture_output=True, text=True).stdout.strip()


def finds_from_inside(node: "Node", key: bytes) -> bool:
    """Whether a GET inside the container returns a value."""
    words = ["docker", "exec", _container(node.name), "dht14", "get", key.hex()]
    return subprocess.run(words, check=False, capture_output=True).returncode == 0


@frozen
class Node:
    """One node: its name and the port of its API."""

    name: str
    port: int

    def put(self, key: bytes, value: bytes) -> bool:
        """Put; return whether it is acknowledged. Raises `CommandError` when the node does not run."""
        return isinstance(ask(("127.0.0.1", self.port), Put(0, 0, key, value)), Success)

    def get(self, key: bytes) -> bytes | None:
        """Get; return the value. Raises `CommandError` when the node does not run."""
        reply = ask(("127.0.0.1", self.port), Get(key))
        return reply.value if isinstance(reply, Success) else None

    def answers(self) -> bool:
        """Whether its API answers."""
        try:
            self.get(random.randbytes(32))
        except CommandError:
            return False
        return True


@define
class Tally:
    """The lines of the report, and whether all promises were kept."""

    broken: int = 0

    def report(self, good: bool, what: str) -> None:
        """Report one promise: kept or not."""
        self.broken += not good
        print("kept  " if good else "BROKEN", what, flush=True)


@define
class Rehearsal:
    """The promises, in an order in which each leaves the network intact for the next."""

    nodes: list[Node]
    hosts: Hosts
    rng: random.Random
    tally: Tally = field(factory=Tally)
    values: dict[bytes, bytes] = field(factory=dict)
    """The acknowledged values."""

    def put_values(self, largest: int) -> None:
        """Put values of 1 byte to the largest at the first node."""
        sizes = [round(largest ** (n / (VALUES - 1))) for n in range(VALUES)]
        began = time.monotonic()
        refused = [size for size in sizes if not self._put(self.nodes[0], self.rng.randbytes(size))]
        seconds = time.monotonic() - began
        self.tally.report(
            not refused, f"{VALUES} values of 1 to {largest} bytes put, {seconds:.1f} s; refused: {refused}"
        )

    def _put(self, node: Node, value: bytes) -> bool:
        key = self.rng.randbytes(32)
        stored = node.put(key, value)
        if stored:
            self.values[key] = value
        return stored

    def read_all(self, when: str, nodes: Iterable[Node]) -> None:
        """Get every value from each of these nodes."""
        nodes, values = list(nodes), dict(self.values)
        missing: list[str] = []
        slowest = 0.0
        for node in nodes:
            for key, value in values.items():
                began = time.monotonic()
                if node.get(key) != value:
                    missing.append(f"{key.hex()[:8]} at {node.name}")
                slowest = max(slowest, time.monotonic() - began)
        self.tally.report(
            not missing,
            f"{when}: {len(values)} values read from each of {len(nodes)} nodes, "
            f"slowest {slowest:.2f} s; missing: {missing}",
        )

    def restart_each(self) -> None:
        """Restart all nodes, one after another, under load."""
        load = Load(self.nodes, dict(self.values), random.Random(self.rng.random()))
        began = time.monotonic()
        stops: list[float] = []
        codes = set()
        with load:
            for node in self.nodes:
                load.spare(node)
                stopping = time.monotonic()
                codes.add(self.hosts.stop(node.name))
                stops.append(time.monotonic() - stopping)
                self.hosts.start(node.name)
                wait_until(node.answers)
                load.spare(None)
                time.sleep(SETTLE_SECONDS)
        self.values |= load.values
        self.tally.report(
            max(stops) <= STOP_SECONDS and codes <= {"0", "unseen"},
            f"SIGTERM ends a node within {max(stops):.1f} s, exit code {', '.join(codes)}",
        )
        self.tally.report(
            not load.failed_gets and not load.refused_puts,
            f"{len(self.nodes)} nodes restarted under load, {time.monotonic() - began:.0f} s: "
            f"{load.gets} gets, {len(load.failed_gets)} failed {load.failed_gets[:3]}; "
            f"{load.puts} puts, {load.refused_puts} refused",
        )
        self.read_all("after that", self.nodes)

    def cut_off(self) -> None:
        """Take one container off the network, and reconnect it."""
        lost, other = self.nodes[-1], self.nodes[0]
        network = "dht-14_network"
        docker("network", "disconnect", network, _container(lost.name))
        stored = self._put(other, b"written meanwhile")
        key = next(reversed(self.values))
        time.sleep(RETURN_SECONDS)
        gone = not finds_from_inside(lost, key)
        docker("network", "connect", "--alias", lost.name, network, _container(lost.name))
        began = time.monotonic()
        wait_until(lambda: finds_from_inside(lost, key))
        seconds = time.monotonic() - began
        self.tally.report(
            stored and gone and seconds <= RETURN_SECONDS,
            f"{lost.name} was cut off for {RETURN_SECONDS:.0f} s, "
            f"and found what was put meanwhile {seconds:.1f} s after it",
        )
        self.read_all("after that", [lost])

    def stop_one(self) -> None:
        """Values that only one node may have are at others once it has ended."""
        stopped, *others = self.nodes
        self.hosts.stop(stopped.name)
        self.read_all(f"{stopped.name} stopped", others)
        self.hosts.start(stopped.name)
        wait_until(stopped.answers)

    def kill_some(self) -> None:
        """Kill some nodes at once."""
        killed = self.rng.sample(self.nodes, KILLED)
        for node in killed:
            self.hosts.kill(node.name)
        self.read_all(f"{KILLED} of {len(self.nodes)} killed", (n for n in self.nodes if n not in killed))


@typing.final
@define
class Load:
    """Puts and gets from two threads during a `with` block."""

    nodes: list[Node]
    values: dict[bytes, bytes]
    rng: random.Random
    gets: int = 0
    puts: int = 0
    refused_puts: int = 0
    failed_gets: list[str] = field(factory=list)
    _spared: Node | None = None
    _lock: threading.Lock = field(factory=threading.Lock)
    _ended: threading.Event = field(factory=threading.Event)
    _threads: list[threading.Thread] = field(factory=list)

    def __enter__(self) -> "Load":
        self._threads = [threading.Thread(target=self._repeat, args=(act,)) for act in (self._put, self._get)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def spare(self, node: Node | None) -> None:
        """Send no more requests to this node; return when none is in flight."""
        with self._lock:
            self._spared = node

    def _repeat(self, act: Callable[[Node], None]) -> None:
        while not self._ended.wait(PAUSE_SECONDS):
            # One request at a time: a spared node has none left.
            with self._lock:
                act(self.rng.choice([node for node in self.nodes if node != self._spared]))

    def _put(self, node: Node) -> None:
        key, value = self.rng.randbytes(32), self.rng.randbytes(self.rng.randint(1, 1000))
        self.puts += 1
        if node.put(key, value):
            self.values[key] = value
        else:
            self.refused_puts += 1

    def _get(self, node: Node) -> None:
        key = self.rng.choice(list(self.values))
        self.gets += 1
        if node.get(key) != self.values[key]:
            self.failed_gets.append(f"{key.hex()[:8]} at {node.name}")


def wait_until(condition: Callable[[], bool]) -> None:
    """Return when the condition holds. Raises `TimeoutError`."""
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {TIMEOUT:.0f} s in vain")
        time.sleep(0.1)


def main() -> int:
    parser = argparse.ArgumentParser(description="Try on a deployment what it promises.")
    parser.add_argument(
        "--largest", type=int, default=MAX_VALUE, help="bytes of the largest value (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=14, help="of all that is random (%(default)s)")
    args = parser.parse_args()
    in_containers = (FOLDER / "in_containers").exists()
    if in_containers:
        count = len(docker("ps", "--quiet", "--filter", "name=dht-14_node_").split())
    else:
        count = len(list(FOLDER.glob("node_*")))
    if count <= KILLED:
        parser.exit(
            2, f"there is no deployment here, or one of {KILLED} nodes or less: scripts/deploy.sh 10\n"
        )
    nodes = [Node(f"node_{n}", API_PORT + n) for n in range(1, count + 1)]
    rehearsal = Rehearsal(nodes, Containers() if in_containers else Processes(), random.Random(args.seed))
    rehearsal.put_values(args.largest)
    rehearsal.read_all("put at node_1", nodes[1:])
    rehearsal.stop_one()
    rehearsal.restart_each()
    if in_containers:
        rehearsal.cut_off()
    rehearsal.kill_some()
    return 1 if rehearsal.tally.broken else 0


if __name__ == "__main__":
    sys.exit(main())
