"""An honest client at work, in a process of its own: what others do to a node is measured by it.

    python -m tests.process.load SECONDS PORT PORT ...

Puts values at one API, gets them from the next, one after the other, and prints how long each took.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

from attrs import frozen

from tests.process.nodes import Twistd, VoidPhone, environment


@frozen
class Served:
    """The results of the client: seconds of each request, and the number of wrong ones."""

    puts: list[float]
    gets: list[float]
    wrong: int

    def __str__(self) -> str:
        kinds = (("puts", self.puts), ("gets", self.gets))
        parts = [
            f"{len(times)} {name}, median {1e3 * statistics.median(times):.1f}, 99 % within "
            f"{1e3 * percentile(times, 0.99):.1f}, longest {1e3 * max(times):.1f} ms"
            for name, times in kinds
            if times
        ]
        return "; ".join([*parts, f"{self.wrong} wrong"])


def percentile(times: Sequence[float], share: float) -> float:
    """Return the time within which this share of the requests was answered."""
    return sorted(times)[min(int(share * len(times)), len(times) - 1)]


class Load:
    """The client process, which works for `seconds`."""

    def __init__(self, nodes: Sequence[Twistd], seconds: float) -> None:
        words = [sys.executable, "-m", "tests.process.load", str(seconds)]
        words += [str(node.api_port) for node in nodes]
        self._process = subprocess.Popen(words, stdout=subprocess.PIPE, env=environment({}))

    @property
    def works(self) -> bool:
        """Whether it still works."""
        return self._process.poll() is None

    def served(self) -> Served:
        """Wait for its end; return its results."""
        out, _ = self._process.communicate()
        return Served(**json.loads(out))

    def stop(self) -> None:
        """Kill it."""
        if self.works:
            self._process.kill()
            self._process.communicate()


def main(seconds: float, ports: list[int]) -> Served:
    """Put and get for `seconds`."""
    clients = [VoidPhone(port) for port in ports]
    puts: list[float] = []
    gets: list[float] = []
    wrong = turn = 0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        key, value = os.urandom(32), os.urandom(200)
        began = time.perf_counter()
        stored = clients[turn % len(clients)].put(key, value)
        puts.append(time.perf_counter() - began)
        began = time.perf_counter()
        found = clients[(turn + 1) % len(clients)].get(key)
        gets.append(time.perf_counter() - began)
        wrong += not stored or found != value
        turn += 1
    return Served(puts, gets, wrong)


if __name__ == "__main__":
    served = main(float(sys.argv[1]), [int(port) for port in sys.argv[2:]])
    print(json.dumps({"puts": served.puts, "gets": served.gets, "wrong": served.wrong}))
