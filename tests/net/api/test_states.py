from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from dht14.net.api.states import states
from dht14.records.receipt import NoRecord
from dht14.records.record import Record
from tests.net.api.case import QuickNode, told


class Refusing(QuickNode):
    """A node that begins no watch."""

    def __init__(self, reason: NoRecord) -> None:
        super().__init__()
        self.reason = reason

    def watch(self, key, on_change):
        return succeed(self.reason)


class StatesTests(SynchronousTestCase):
    """The watch of key 1 as an iterator."""

    def setUp(self) -> None:
        self.node = QuickNode({1: b"one"})
        self.states = states(self.node, 1)

    def following(self) -> "Deferred[Record | NoRecord | None]":
        """The next state; None at the end."""

        async def take() -> Record | NoRecord | None:
            async for state in self.states:
                return state
            return None

        return Deferred.fromCoroutine(take())

    def test_states(self) -> None:
        """The present state comes first, then each change when it happens."""
        self.assertEqual(self.successResultOf(self.following()), told(1, b"one"))
        following = self.following()
        self.assertNoResult(following)
        self.node.change(1, None)
        self.assertIs(self.successResultOf(following), NoRecord.NOT_FOUND)

    def test_latest(self) -> None:
        """Of the states since the last look only the latest one comes."""
        self.successResultOf(self.following())
        for number in range(5):
            self.node.change(1, b"%d" % number)
        self.assertEqual(self.successResultOf(self.following()), told(1, b"4"))
        self.assertNoResult(following := self.following())
        following.addErrback(lambda failure: failure.trap(CancelledError)).cancel()

    def test_end(self) -> None:
        """It ends when the node stops, and ends the watch when it is closed or cancelled."""
        self.successResultOf(self.following())
        self.node.watches[0].on_change(NoRecord.NOT_READY)
        self.assertIsNone(self.successResultOf(self.following()))
        self.assertEqual(self.node.watches, [])
        for end in (
            lambda: self.successResultOf(Deferred.fromCoroutine(self.states.aclose())),
            lambda: self.following().addErrback(lambda failure: failure.trap(CancelledError)).cancel(),
        ):
            self.states = states(self.node, 1)
            self.successResultOf(self.following())
            self.assertEqual(len(self.node.watches), 1)
            end()
            self.assertEqual(self.node.watches, [])

    def test_refused(self) -> None:
        """Where there can be no watch, the reason is the only state."""
        for reason in (NoRecord.NOT_READY, NoRecord.TOO_MANY_WATCHES):
            self.states = states(Refusing(reason), 1)
            self.assertIs(self.successResultOf(self.following()), reason)
            self.assertIsNone(self.successResultOf(self.following()))
