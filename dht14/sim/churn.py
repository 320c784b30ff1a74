"""Churn: nodes that leave and return, or are replaced."""

import random
from math import log

from attrs import define, frozen

from dht14.sim.clock import ProcessState
from dht14.sim.host import NodeRole, VirtualNode
from dht14.sim.world import World


@frozen
class SessionLengths:
    """The Weibull distribution of session lengths, in seconds. With a shape of 1 it is exponential: the age
    of a node predicts nothing. Measurements of peers gave shapes of 0.3 to 0.6: many leave soon, and old
    nodes stay (D. Stutzbach and R. Rejaie, Understanding churn in peer-to-peer networks, IMC 2006).
    """

    median: float
    shape: float = 1.0

    def draw(self, rng: random.Random) -> float:
        """Draw the length of one session."""
        return rng.weibullvariate(self.median / log(2) ** (1 / self.shape), self.shape)


@define(eq=False)
class Churn:
    """Ends the sessions of the value-holding nodes of a world. After a downtime the same node returns, or a
    new one replaces it.

    `stopped` is the share of nodes that leave by SIGTERM, not SIGKILL; `returning` is the share that return
    as the same node, with its disk if it has one.
    """

    _world: World
    _session_lengths: SessionLengths
    _downtimes: SessionLengths = SessionLengths(60.0)
    _stopped: float = 0.0
    _returning: float = 0.0
    _is_running: bool = True
    departures: int = 0
    """Sessions that have ended."""

    def start(self) -> None:
        """Start a session for every running node."""
        for node in self._world.nodes.values():
            if node.role is NodeRole.NODE and node.running:
                self._session(node)

    def stop(self) -> None:
        """End no more sessions."""
        self._is_running = False

    def _session(self, node: VirtualNode) -> None:
        self._world.clock.post(self._session_lengths.draw(self._world.rng), self._leave, node)

    def _leave(self, node: VirtualNode) -> None:
        if not self._is_running or node.process.state is ProcessState.DEAD:
            return
        self.departures += 1
        if self._world.rng.random() < self._stopped:
            self._world.stop(node)
        else:
            self._world.kill(node)
        self._world.clock.post(self._downtimes.draw(self._world.rng), self._return, node)

    def _return(self, gone: VirtualNode) -> None:
        if gone.process.state is not ProcessState.DEAD:
            # SIGTERM: it is still handing over its values.
            self._world.clock.post(1.0, self._return, gone)
            return
        if self._world.rng.random() >= self._returning:
            self._world.replace(gone.number)
        self._session(self._world.start(gone.number))
