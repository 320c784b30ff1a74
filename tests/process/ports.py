"""Ports of 127.0.0.1 that processes which run tests side by side do not take from each other."""

import contextlib
import random
import socket
from itertools import count

FIRST = 10_000
RANGES, PORTS = 22, 1_000
"""Below 32,768, where the system's ports for clients begin. A process that runs tests has its own range."""


class PortRange:
    """A range of ports. It belongs to this process as long as that lives: it holds the first of them."""

    def __init__(self) -> None:
        ranges = list(range(FIRST, FIRST + RANGES * PORTS, PORTS))
        random.shuffle(ranges)
        for self.first in ranges:
            self._hold = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                self._hold.bind(("127.0.0.1", self.first))
                break
            except OSError:
                self._hold.close()
        else:
            raise AssertionError(
                f"{RANGES} processes run tests on this host; there are no ports for one more"
            )
        self._next = count(random.randrange(PORTS))

    def take(self) -> int:
        """Return a port that is free for UDP and TCP alike; others follow before it is returned again."""
        while True:
            port = self.first + 1 + next(self._next) % (PORTS - 1)
            udp, tcp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket()
            with contextlib.suppress(OSError), udp, tcp:
                udp.bind(("127.0.0.1", port))
                tcp.bind(("127.0.0.1", port))
                return port


_range: PortRange | None = None


def free_port() -> int:
    """Return a port of 127.0.0.1 that is free for UDP and TCP alike.

    It stays free until the node takes it: it is outside the range that the system gives to clients, no other
    process that runs tests is given it, and it is not given again soon.
    """
    global _range
    if _range is None:
        _range = PortRange()
    return _range.take()
