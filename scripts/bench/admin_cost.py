"""Question: what does it cost a node to be scraped every second, with one dashboard open?

Five nodes on 127.0.0.1 and a client that puts and gets through all of them, in pairs of turns: one alone, one
while each node is scraped once a second, over a kept connection as Prometheus does it, and has a listener to
its events. The median of the ratios of the pairs is printed, with the least and the greatest: of requests a
second, and of processor seconds of the nodes for each request. Throughput also pays for the process of the
observers, where nodes and observers share the cores. On a busy machine both vary more than observers cost;
the share of a core that they take from a node without a client varies little.

    python scripts/bench/admin_cost.py [PAIRS [SECONDS]]
"""

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

from attrs import frozen

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.browser.chromium import DashboardNode, start_node
from tests.process.load import Load
from tests.process.nodes import environment, network

NODES = 5
TICK = os.sysconf("SC_CLK_TCK")
ACCEPT = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
"""What Prometheus asks for."""


def observe(urls: list[str]) -> None:
    """Scrape each node once a second, and listen to its events, until this process is killed."""
    connections = []
    for url in urls:
        address, token = url.split("#token=")
        threading.Thread(target=_listen, args=(address, token)).start()
        connections.append(HTTPConnection(urlsplit(url).netloc))
    while True:
        began = time.monotonic()
        for connection in connections:
            connection.request("GET", "/metrics", headers={"Accept": ACCEPT})
            connection.getresponse().read()
        time.sleep(max(0.0, began + 1 - time.monotonic()))


def _listen(address: str, token: str) -> None:
    request = urllib.request.Request(f"{address}v1/events", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request) as events:
        for _ in events:
            pass


@contextlib.contextmanager
def observers(nodes: list[DashboardNode]) -> Iterator[None]:
    """The observers of these nodes, in a process of their own, for a `with` block."""
    words = [sys.executable, __file__, "observe", *(node.link for node in nodes)]
    process = subprocess.Popen(words, env=environment({}))
    try:
        time.sleep(2)
        assert process.poll() is None
        yield
    finally:
        process.kill()
        process.wait()


@frozen
class Turn:
    """What one turn has shown."""

    rate: float
    """Requests a second."""
    cost: float
    """Processor seconds of all nodes for each request."""


def turn(nodes: list[DashboardNode], seconds: float) -> Turn:
    """Let the client work."""
    before = processor_seconds(nodes)
    served = Load([node.node for node in nodes], seconds).served()
    assert not served.wrong
    requests = len(served.puts) + len(served.gets)
    return Turn(requests / seconds, (processor_seconds(nodes) - before) / requests)


def idle_cost(nodes: list[DashboardNode], seconds: float) -> float:
    """Return the share of a core that each node uses while no client works."""
    before = processor_seconds(nodes)
    time.sleep(seconds)
    return (processor_seconds(nodes) - before) / seconds / len(nodes)


def processor_seconds(nodes: list[DashboardNode]) -> float:
    """Return the processor time that the nodes have used."""
    total = 0
    for node in nodes:
        fields = Path(f"/proc/{node.node.process.pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICK


def _spread(ratios: Sequence[float]) -> str:
    median = statistics.median(ratios)
    return f"{median - 1:+.1%} ({min(ratios) - 1:+.1%} to {max(ratios) - 1:+.1%})"


def main(pairs: int, seconds: float) -> None:
    """Run the pairs and print the medians."""
    ratios: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as folder, network(folder) as processes:
        first = processes.bootstrap_node()
        nodes = [start_node(processes, first) for _ in range(NODES)]
        for node in nodes:
            node.node.wait_for("Joined")
        turn(nodes, seconds)  # The first one fills caches and makes sessions.
        for number in range(pairs):
            # The order changes, because a store grows.
            if number % 2:
                alone = turn(nodes, seconds)
            with observers(nodes):
                observed = turn(nodes, seconds)
            if not number % 2:
                alone = turn(nodes, seconds)
            ratios.append((observed.rate / alone.rate, observed.cost / alone.cost))
            print(
                f"alone {alone.rate:.0f} requests/s, {1e3 * alone.cost:.2f} ms each; "
                f"observed {observed.rate:.0f}, {1e3 * observed.cost:.2f} ms",
                flush=True,
            )
        unwatched = idle_cost(nodes, seconds)
        with observers(nodes):
            watched = idle_cost(nodes, seconds)
        began = time.perf_counter()
        with urllib.request.urlopen(nodes[0].url + "metrics") as answer:
            page = answer.read()
        taken = time.perf_counter() - began
    rates, costs = zip(*ratios, strict=True)
    print(f"throughput {_spread(rates)}, processor {_spread(costs)}")
    print(f"without a client: {unwatched:.2%} of a core for each node, observed {watched:.2%}")
    print(f"a scrape: {len(page)} bytes, {len(page.splitlines())} lines, {1e3 * taken:.1f} ms")


if __name__ == "__main__":
    if sys.argv[1:2] == ["observe"]:
        observe(sys.argv[2:])
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 8, float(sys.argv[2]) if len(sys.argv) > 2 else 10)
