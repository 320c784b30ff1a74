from twisted.trial.unittest import SynchronousTestCase

from dht14.node.greeter import NEWCOMERS_AT_ONCE, Greeter
from dht14.wire.messages import Ping, Pong
from tests.fakes import RpcRecorder, contact


class GreeterTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.rpc = RpcRecorder()
        self.greeter = Greeter(self.rpc)

    def test_ping(self) -> None:
        """A stranger gets a PING, and no second one while that is out."""
        for _ in range(3):
            self.greeter.greet(contact(1))
        self.assertEqual([(who, what) for who, what, _ in self.rpc.calls], [(contact(1), Ping())])

    def test_bounded(self) -> None:
        """Of a flood of strangers a few get one; the others are left alone."""
        for number in range(100):
            self.greeter.greet(contact(number, number))
        self.assertEqual(len(self.rpc.calls), NEWCOMERS_AT_ONCE)

    def test_room_again(self) -> None:
        """Each PING that is over, however it ended, makes room for another stranger's, or the same one's."""
        for number in range(NEWCOMERS_AT_ONCE):
            self.greeter.greet(contact(number, number))
        first, second = self.rpc.calls[:2]
        first[2].call_answered(first[0], Pong())
        second[2].call_failed(second[0])
        self.rpc.calls.clear()
        for stranger in (first[0], contact(100, 100), contact(101, 101)):
            self.greeter.greet(stranger)
        self.assertEqual(self.rpc.contacts, [first[0], contact(100, 100)])
