from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from dht14.app.data_dir import DataDir
from dht14.app.options import Role
from dht14.app.start import StartPhase, StartProgress
from dht14.app.state_file import NodeState, StateFile, read_state
from dht14.net.api.readiness import StartStep
from dht14.records.receipt import NoRecord


class SomeJoin:
    """Joins when the test says so."""

    def __init__(self) -> None:
        self.first_try: Deferred[None] = Deferred()
        self.joined = False


class SomeStack:
    """The part of a stack that its start uses."""

    def __init__(self) -> None:
        self.node: Any = object()
        self.join = SomeJoin()


class StartTests(SynchronousTestCase):
    """The phases of a start, as clients and `dht14 wait` see them."""

    def setUp(self) -> None:
        self.data_dir = DataDir.open(self.mktemp())
        self.addCleanup(self.data_dir.close)
        self.stack: Any = SomeStack()
        self.clock = Clock()

    def start(self, role: Role = Role.NODE) -> StartProgress:
        return StartProgress(role, self.clock, StateFile(self.data_dir))

    def state(self) -> NodeState | None:
        return read_state(self.data_dir.path)

    def test_course(self) -> None:
        """Each phase is written to the state file when it begins, and each awaited thing when it is done."""
        start = self.start()
        self.assertEqual((start.phase, self.state()), (StartPhase.BOUND, None))
        start.entered(StartPhase.SEARCHING)
        self.assertEqual(self.state(), NodeState(("identity", "join", "values"), False))
        start.built(self.stack)
        self.assertEqual(
            (start.phase, self.state()), (StartPhase.OPENING, NodeState(("join", "values"), False))
        )
        start.step_done(StartStep.VALUES)
        start.entered(StartPhase.WORKING)
        self.assertEqual(self.state(), NodeState(("join",), False))
        self.stack.join.first_try.callback(None)
        self.assertEqual((self.state(), start.readiness.pending_steps), (NodeState((), False), frozenset()))
        self.stack.join.joined = True
        start.publish()
        self.assertEqual(self.state(), NodeState((), True))
        start.ended()
        self.assertIsNone(self.state())

    def test_bootstrap_node(self) -> None:
        """A bootstrap node has no database to wait for."""
        self.assertEqual(
            self.start(Role.BOOTSTRAP).readiness.pending_steps, {StartStep.IDENTITY, StartStep.JOIN}
        )

    def test_no_more_waiting(self) -> None:
        """After a failed start, and at the end, no client waits any more."""
        for phase in (StartPhase.FAILED, StartPhase.ENDING):
            start = self.start()
            waits = start.readiness.get(1)
            start.entered(phase)
            self.assertIs(self.successResultOf(waits), NoRecord.NOT_READY)
