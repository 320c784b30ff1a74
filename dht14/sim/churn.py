"""Nodes that come and go."""

import random
from math import log

from attrs import define, frozen

from dht14.sim.clock import ProcessState
from dht14.sim.host import NodeRole, VirtualNode
from dht14.sim.world import World


@frozen
class SessionLengths:
    """How long nodes stay, in seconds: a Weibull distribution. A shape of 1 is the exponential one, where a
    node's age tells nothing. Where peers were measured shapes are 0.3 to 0.6: many leave soon, and who has
    stayed long will stay (D. Stutzbach and R. Rejaie, Understanding churn in peer-to-peer networks, IMC 2006).
    """

    median: float
    shape: float = 1.0

    def draw(self, rng: random.Random) -> float:
        """One session."""
        return rng.weibullvariate(self.median / log(2) ** (1 / self.shape), self.shape)


@define(eq=False)
class Churn:
    """Lets every value-holding node of a world leave when its session is over, and come back, or another one.

    `away` are the times until then; `stopped` is the part that leaves by SIGTERM rather than SIGKILL, and
    `returning` the part that comes back as the same node, with its disk where it has one.
    """

    _world: World
    _session_lengths: SessionLengths
    _downtimes: SessionLengths = SessionLengths(60.0)
    _stopped: float = 0.0
    _returning: float = 0.0
    _is_running: bool = True
    departures: int = 0
    """How many sessions have ended."""

    def start(self) -> None:
        """From now on nodes come and go."""
        for node in self._world.nodes.values():
            if node.role is NodeRole.NODE and node.running:
                self._session(node)

    def stop(self) -> None:
        """Nobody leaves any more."""
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
            # It is being stopped, and takes its time.
            self._world.clock.post(1.0, self._return, gone)
            return
        if self._world.rng.random() >= self._returning:
            self._world.replace(gone.number)
        self._session(self._world.start(gone.number))
