"""What happens to the nodes of a soak: kills, restarts, other keys and identities, log levels, signals."""

import random
import signal
import time
from http.client import HTTPException

from attrs import define, field

from tests.process.nodes import TIMEOUT
from tests.process.soak_clients import Clients
from tests.process.soak_nodes import SoakNode

STOP_SECONDS = 20.0
"""Within which a node ends after SIGTERM: twice what is promised, on a machine that others use too."""

ENDINGS = {"killed": 5, "stopped": 3, "rekeyed": 2, "given another identity": 1}
"""What is done to a node that is not steady, and how often."""
DISTURBANCES = {"log level changed": 2, "log reopened": 2, "log rotated": 1}
"""What is done to any node."""


@define(eq=False)
class Faults:
    """One fault after the other, with pauses of `pause` seconds on average."""

    clients: Clients
    pause: float
    rng: random.Random
    """Its own: threads share that of the clients, and one seed gives the same faults in the same order."""
    slowest_stop: float = field(default=0.0, init=False)
    slowest_return: float = field(default=0.0, init=False)
    """Seconds from the start of a node to its join."""

    def came_up(self) -> None:
        """All nodes are there."""
        for node in self.clients.nodes:
            self.clients.history.availability.came_up(node.node_id, time.monotonic())

    def next(self) -> None:
        """The next fault; returns when the node works again."""
        clients, rng = self.clients, self.rng
        kinds = ENDINGS | DISTURBANCES
        (what,) = rng.choices(list(kinds), list(kinds.values()))
        mortal = [node for node in clients.nodes if not node.is_steady]
        node = rng.choice(mortal if what in ENDINGS else list(clients.nodes))
        pause = rng.uniform(0.0, 3.0)
        if what in ENDINGS:
            self._end_and_return(node, what, pause)
        else:
            self._disturb(node, what)
        clients.count(f"nodes: {what}")

    def _end_and_return(self, node: SoakNode, what: str, pause: float) -> None:
        clients, availability = self.clients, self.clients.history.availability
        with clients.lock:
            clients.up.remove(node)
            availability.went_down(node.node_id, time.monotonic())
        took = node.end(signal.SIGKILL if what == "killed" else signal.SIGTERM)
        if what != "killed":
            self.slowest_stop = max(self.slowest_stop, took)
            if took > STOP_SECONDS:
                clients.breach(f"{node.name} took {took:.0f} s to end")
        if what == "rekeyed":
            node.rekey()
        elif what == "given another identity":
            node.forget_identity()
        clients.ended.wait(pause)
        began = time.monotonic()
        node.start().wait_for_join(TIMEOUT)
        self.slowest_return = max(self.slowest_return, time.monotonic() - began)
        with clients.lock:
            availability.came_up(node.node_id, time.monotonic(), kept=True)
            clients.up.append(node)

    def _disturb(self, node: SoakNode, what: str) -> None:
        if what == "log reopened":
            node.send(signal.SIGHUP)
        elif what == "log rotated":
            node.send(signal.SIGUSR1)
        else:
            self._set_level(node, "debug")
            self.clients.ended.wait(self.pause)
            self._set_level(node, "info")

    def _set_level(self, node: SoakNode, level: str) -> None:
        try:
            with node.http("POST", f"v1/loglevel?level={level}") as response:
                response.read()
                if response.status != 200:
                    self.clients.breach(f"{node.name} did not change its log level: {response.status}")
        except (OSError, HTTPException) as error:
            self.clients.breach(f"{node.name} did not change its log level: {error!r}")
