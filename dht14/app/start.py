"""The start of a node, phase by phase: what its clients still wait for, and what `dht14 wait` is told."""

from enum import Enum, auto

from twisted.internet.interfaces import IReactorTime

from dht14.app.options import Role
from dht14.app.state_file import StateFile
from dht14.net.api.readiness import Readiness, StartStep
from dht14.stack import Stack


class StartPhase(Enum):
    """How far a node is. It only moves downwards in this list. Clients may come from the first phase on:
    `Readiness` lets them wait for what they need."""

    BOUND = auto()
    """Its ports are open, its directory is locked; nothing is read yet."""
    SEARCHING = auto()
    """It searches its identity."""
    OPENING = auto()
    """It knows who it is; its values are opened, for which it waits a moment."""
    WORKING = auto()
    """It joins, answers others and keeps up its part. Large values may still be opening."""
    FAILED = auto()
    """It cannot begin. The process lives on, for others to see that it does not work."""
    ENDING = auto()
    """It hands over and closes."""


class Start:
    """Where one node is in its start. The service moves it on."""

    def __init__(self, role: Role, clock: IReactorTime, state_file: StateFile) -> None:
        self.phase = StartPhase.BOUND
        # A bootstrap node has no values to wait for.
        nothing = frozenset[StartStep]() if role is Role.NODE else {StartStep.VALUES}
        self.readiness = Readiness(clock, set(StartStep) - nothing)
        self._state_file = state_file
        self._stack: Stack | None = None

    def entered(self, phase: StartPhase) -> None:
        """The next phase has begun."""
        self.phase = phase
        if phase in (StartPhase.FAILED, StartPhase.ENDING):
            self.readiness.give_up()
        self.say()

    def composed(self, stack: Stack) -> None:
        """There is a node, which will join and open its values."""
        self._stack = stack
        self.readiness.node_started(stack.node)
        stack.join.first_try.addCallback(lambda _: self.over(StartStep.JOIN))
        self.entered(StartPhase.OPENING)

    def over(self, what: StartStep) -> None:
        """One thing less to wait for."""
        self.readiness.step_done(what)
        self.say()

    def say(self) -> None:
        """Write down what has changed since it was said last."""
        awaited = [what.value for what in self.readiness.pending_steps]
        self._state_file.say(awaited, self._stack is not None and self._stack.join.joined)

    def ended(self) -> None:
        """The node is closed."""
        self._state_file.remove()
