"""The phases of a node's start: which of them its clients wait for, and what `dht14 wait` reads."""

from enum import Enum, auto

from twisted.internet.interfaces import IReactorTime

from dht14.app.options import Role
from dht14.app.state_file import StateFile
from dht14.net.api.readiness import Readiness, StartStep
from dht14.stack import Stack


class StartPhase(Enum):
    """The phases of a node, in order; it never goes back. Clients can connect in all of them but the last:
    `Readiness` lets them wait for what they need."""

    BOUND = auto()
    """Its ports are bound and its directory is locked; the service was not started yet."""
    SEARCHING = auto()
    """It searches for the proof of work of its node id."""
    OPENING = auto()
    """It has its node id and opens its database, for which it waits a short time."""
    WORKING = auto()
    """It joins, answers others and does its maintenance. A large database may still be opening."""
    FAILED = auto()
    """It could not start. The process goes on, so that `dht14 health` reports that it does not work."""
    ENDING = auto()
    """It hands over its values and closes."""


class StartProgress:
    """The phase of one node, for its clients and for `dht14 wait`. The service changes it."""

    def __init__(self, role: Role, clock: IReactorTime, state_file: StateFile) -> None:
        self.phase = StartPhase.BOUND
        steps = set(StartStep)
        if role is Role.BOOTSTRAP:
            steps.remove(StartStep.VALUES)  # It has no database.
        self.readiness = Readiness(clock, steps)
        self._state_file = state_file
        self._stack: Stack | None = None

    def entered(self, phase: StartPhase) -> None:
        """The next phase began."""
        self.phase = phase
        if phase in (StartPhase.FAILED, StartPhase.ENDING):
            self.readiness.give_up()
        self.publish()

    def built(self, stack: Stack) -> None:
        """The node has a stack, which will join; its database is being opened."""
        self._stack = stack
        self.readiness.node_started(stack.node)
        stack.join.first_try.addCallback(lambda _: self.step_done(StartStep.JOIN))
        self.entered(StartPhase.OPENING)

    def step_done(self, step: StartStep) -> None:
        """One of the awaited steps is done."""
        self.readiness.step_done(step)
        self.publish()

    def publish(self) -> None:
        """Write the state file, if the state has changed."""
        awaited = [step.value for step in self.readiness.pending_steps]
        self._state_file.write(awaited, self._stack is not None and self._stack.join.joined)

    def ended(self) -> None:
        """The node is closed."""
        self._state_file.remove()
