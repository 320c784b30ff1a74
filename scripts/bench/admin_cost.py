"""Question: what does it cost a node to be scraped every second, with one dashboard open?

Six nodes on 127.0.0.1, and six clients that put and get, each at all nodes in turn, one request after the
other: together they keep two cores busy. An observed node is scraped once a second over a kept connection, as
Prometheus does it, and has a listener to its events, as an open dashboard is. A round has four turns of some
seconds: half of the nodes are observed, the other half, all, none.

- Processor time: how much more of it the observed half uses than the other half has to be the same in both
  turns. So each node is compared with others at the same seconds, and what else the machine does counts for
  both. The processes of the observers do not count: a browser and a Prometheus server run elsewhere.
- Requests a second, all observed against none. They pay for observers and clients as well, which share the
  cores here, and for all that the machine does meanwhile.

Printed are medians of the rounds, with the middle half of them.

    python scripts/bench/admin_cost.py [ROUNDS [SECONDS]]
"""

import os
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from math import sqrt
from pathlib import Path
from urllib.parse import urlsplit

from attrs import define, field, frozen

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.browser.chromium import DashboardNode, start_node
from tests.process.nodes import VoidPhone, environment, network

NODES = 6
HALVES = (0, 2, 4), (1, 3, 5)
SETTLE = 0.3
"""Seconds from the begin or end of observation to the begin of a turn."""
ACCEPT = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
"""What Prometheus asks for."""


class Observers:
    """A scraper and a listener for each observed node, in this process. They read and throw away."""

    def __init__(self, links: Sequence[str]) -> None:
        self._links = links
        self._selector = selectors.DefaultSelector()
        self._selector.register(sys.stdin, selectors.EVENT_READ)
        self._scrapers: list[tuple[socket.socket, bytes]] = []

    def run(self) -> None:
        """Observe the nodes that each line of the input names, until it ends. Scrapes are spread over a
        second."""
        turn, at = 0, time.monotonic()
        while True:
            at += 1 / len(self._links)
            turn = (turn + 1) % len(self._links)
            if turn < len(self._scrapers):
                scraper, scrape = self._scrapers[turn]
                scraper.sendall(scrape)
            self._read_until(at)

    def _read_until(self, end: float) -> None:
        while (left := end - time.monotonic()) > 0:
            for key, _ in self._selector.select(left):
                if isinstance(key.fileobj, socket.socket):
                    assert key.fileobj.recv(1 << 18), "a node hung up"
                elif line := os.read(0, 1000):
                    self._observe([int(number) for number in line.split()])
                else:
                    sys.exit()

    def _observe(self, numbers: list[int]) -> None:
        for key in list(self._selector.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                self._selector.unregister(key.fileobj)
                key.fileobj.close()
        self._scrapers.clear()
        for number in numbers:
            address, token = self._links[number].split("#token=")
            head = f"HTTP/1.1\r\nHost: {urlsplit(address).netloc}\r\n"
            listener, scraper = self._connect(address), self._connect(address)
            listener.sendall(f"GET /v1/events {head}Authorization: Bearer {token}\r\n\r\n".encode())
            self._scrapers.append((scraper, f"GET /metrics {head}Accept: {ACCEPT}\r\n\r\n".encode()))
        print("observing", flush=True)

    def _connect(self, address: str) -> socket.socket:
        parts = urlsplit(address)
        connection = socket.create_connection((parts.hostname, parts.port))
        self._selector.register(connection, selectors.EVENT_READ)
        return connection


@frozen
class Turn:
    """What one turn has shown."""

    rate: float
    """Requests a second."""
    used: list[float]
    """Processor seconds of each node for each request."""

    def half(self, number: int) -> float:
        """Return the processor seconds of half of the nodes for each request."""
        return sum(self.used[node] for node in HALVES[number])


@define
class Bench:
    """The nodes, with their clients and observers."""

    nodes: list[DashboardNode]
    observers: "subprocess.Popen[bytes]" = field(init=False)
    _phones: list[list[VoidPhone]] = field(init=False)
    """Of each client to each node."""

    def __attrs_post_init__(self) -> None:
        self._phones = [[node.node.client() for node in self.nodes] for _ in range(NODES)]
        words = [sys.executable, __file__, "observe", *(node.link for node in self.nodes)]
        pipe = subprocess.PIPE
        self.observers = subprocess.Popen(words, env=environment({}), stdin=pipe, stdout=pipe)

    def observe(self, numbers: Collection[int]) -> None:
        """Observe these nodes from now on, and no others."""
        assert self.observers.stdin is not None
        assert self.observers.stdout is not None
        self.observers.stdin.write(" ".join(map(str, numbers)).encode() + b"\n")
        self.observers.stdin.flush()
        assert self.observers.stdout.readline() == b"observing\n"
        time.sleep(SETTLE)

    def turn(self, observed: Collection[int], seconds: float) -> Turn:
        """Let the clients work."""
        self.observe(observed)
        before, began = self._used(), time.monotonic()
        with ThreadPoolExecutor(NODES) as clients:
            works = [clients.submit(self._work, number, began + seconds) for number in range(NODES)]
        requests = sum(one.result() for one in works)
        rate = requests / (time.monotonic() - began)
        return Turn(rate, [(now - then) / requests for now, then in zip(self._used(), before, strict=True)])

    def _work(self, client: int, end: float) -> int:
        """Put at each node in turn, and get from the next one; return the number of requests."""
        requests = 0
        for node in count(client):
            if time.monotonic() > end:
                break
            key, value = os.urandom(32), os.urandom(200)
            assert self._phones[client][node % NODES].put(key, value)
            assert self._phones[client][(node + 1) % NODES].get(key) == value
            requests += 2
        return requests

    def idle(self, observed: Collection[int], seconds: float) -> float:
        """Return the share of a core that each node uses while no client works."""
        self.observe(observed)
        before, began = self._used(), time.monotonic()
        time.sleep(seconds)
        return (sum(self._used()) - sum(before)) / (time.monotonic() - began) / NODES

    def _used(self) -> list[float]:
        """Return the processor time of each node, to the nanosecond: Linux has a clock for each process."""
        return [time.clock_gettime(~node.node.process.pid << 3 | 2) for node in self.nodes]


@frozen
class Round:
    """The turns of one round."""

    first: Turn
    """The first half is observed."""
    second: Turn
    every: Turn
    none: Turn

    @property
    def processor(self) -> float:
        """How much more an observed node uses: 0.01 is one percent."""
        first, second = self.first, self.second
        return sqrt(first.half(0) / first.half(1) * second.half(1) / second.half(0)) - 1

    @property
    def seconds(self) -> float:
        """The same in processor seconds of a node in each second."""
        used = [sum(turn.used) * turn.rate / NODES for turn in (self.first, self.second)]
        return self.processor * sum(used) / 2

    @property
    def rate(self) -> float:
        """How many more requests a second there are if all are observed."""
        return self.every.rate / self.none.rate - 1

    def __str__(self) -> str:
        alone, observed = (
            f"{turn.rate:.0f} requests/s, {1e3 * sum(turn.used):.2f} ms each"
            for turn in (self.none, self.every)
        )
        return f"processor {self.processor:+.1%}; alone {alone}; observed {observed}"


def a_round(bench: Bench, number: int, seconds: float) -> Round:
    """Run the turns of a round. What is compared follows upon each other, every other time the other way
    round."""
    observed = [*HALVES, range(NODES), ()]
    order = (1, 0, 3, 2) if number % 2 else (0, 1, 2, 3)
    turns = {which: bench.turn(observed[which], seconds) for which in order}
    return Round(*(turns[which] for which in range(len(observed))))


def _spread(changes: Sequence[float]) -> str:
    low, median, high = statistics.quantiles(changes, n=4)
    return f"{median:+.1%} (half of the rounds {low:+.1%} to {high:+.1%})"


def main(rounds: int, seconds: float) -> None:
    """Run the rounds and print the medians."""
    with tempfile.TemporaryDirectory() as folder, network(folder) as processes:
        first = processes.bootstrap_node()
        nodes = [start_node(processes, first) for _ in range(NODES)]
        for node in nodes:
            node.node.wait_for("Joined")
        bench = Bench(nodes)
        try:
            bench.turn((), 2 * seconds)  # It fills caches and makes sessions.
            done = []
            for number in range(rounds):
                done.append(a_round(bench, number, seconds))
                print(done[-1], flush=True)
            alone, observed = bench.idle((), 5 * seconds), bench.idle(range(NODES), 5 * seconds)
        finally:
            bench.observers.kill()
            bench.observers.communicate()
        with urllib.request.urlopen(nodes[0].url + "metrics") as answer:
            page = answer.read()
    print(f"processor time of a node for each request {_spread([one.processor for one in done])}")
    taken = statistics.median(one.seconds for one in done)
    print(f"that is {1e3 * taken:.1f} ms of processor time a second for each node")
    print(f"requests a second {_spread([one.rate for one in done])}")
    print(f"without clients: {alone:.2%} of a core for each node, observed {observed:.2%}")
    print(f"a scrape: {len(page)} bytes, {len(page.splitlines())} lines")


if __name__ == "__main__":
    if sys.argv[1:2] == ["observe"]:
        Observers(sys.argv[2:]).run()
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 40, float(sys.argv[2]) if len(sys.argv) > 2 else 2)
