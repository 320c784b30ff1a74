from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from dht14.net.api.states import KeyStates
from dht14.records.receipt import NoRecord
from tests.net.api.case import QuickNode, result_for


class Refusing(QuickNode):
    """A node that begins no watch."""

    def __init__(self, reason: NoRecord) -> None:
        super().__init__()
        self.reason = reason

    def watch(self, key, on_change):
        return succeed(self.reason)


class KeyStatesTests(SynchronousTestCase):
    """The states of key 1."""

    def setUp(self) -> None:
        self.node = QuickNode({1: b"one"})
        self.states = KeyStates(self.node, 1)

    def following(self) -> "Deferred[Any]":
        return Deferred.fromCoroutine(self.states.following())

    def test_states(self) -> None:
        """The present state comes first, then each change when it happens."""
        self.assertEqual(self.successResultOf(self.following()), result_for(1, b"one"))
        following = self.following()
        self.assertNoResult(following)
        self.node.change(1, None)
        self.assertIs(self.successResultOf(following), NoRecord.NOT_FOUND)

    def test_latest(self) -> None:
        """Of the states since the last look only the latest one comes."""
        self.successResultOf(self.following())
        for number in range(5):
            self.node.change(1, b"%d" % number)
        self.assertEqual(self.successResultOf(self.following()), result_for(1, b"4"))
        self.assertNoResult(self.following())

    def test_unknown(self) -> None:
        """A state that nobody knows is left out."""
        self.successResultOf(self.following())
        following = self.following()
        self.node.watches[0].on_change(NoRecord.UNANSWERED)
        self.assertNoResult(following)
        self.node.change(1, b"known")
        self.assertEqual(self.successResultOf(following), result_for(1, b"known"))

    def test_cancelled(self) -> None:
        """A wait that was cancelled loses nothing."""
        self.successResultOf(self.following())
        following = self.following()
        following.cancel()
        self.failureResultOf(following, CancelledError)
        self.node.change(1, b"later")
        self.assertEqual(self.successResultOf(self.following()), result_for(1, b"later"))

    def test_end(self) -> None:
        """The watch ends when it is ended; the states end when the node stops."""
        self.successResultOf(self.following())
        self.states.end()
        self.assertEqual(self.node.watches, [])
        self.assertIsNone(self.successResultOf(self.following()))
        self.states = KeyStates(self.node, 1)
        self.successResultOf(self.following())
        self.node.watches[0].on_change(NoRecord.NOT_READY)
        self.assertIsNone(self.successResultOf(self.following()))

    def test_refused(self) -> None:
        """Where there can be no watch, the reason is the only state."""
        for reason in (NoRecord.NOT_READY, NoRecord.TOO_MANY_WATCHES):
            self.states = KeyStates(Refusing(reason), 1)
            self.assertIs(self.successResultOf(self.following()), reason)
            self.assertIsNone(self.successResultOf(self.following()))
            self.states.end()
