"""A peer that was written from docs/protocol.md watches keys of a real node."""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.independent_peer import IndependentPeer, Message, read_message, sha256, write_message
from tests.process.nodes import DIFFICULTY, Network, VoidPhone

WATCH, NOTIFY, REFUSED, WATCHING = 9, 10, 69, 73
KEY = bytes(range(32))

LEASES_PER_NODE, SHARE = 1_024, 4


def watch(number: int, key: bytes = KEY, begins: int = 1) -> bytes:
    return write_message([number.to_bytes(8, "big"), WATCH, key, b"", begins])


def mark(version: int, value: bytes) -> bytes:
    return sha256(version.to_bytes(8, "big") + sha256(value))[:8]


class WatchTests(SynchronousTestCase):
    def setUp(self) -> None:
        network = Network(Path(self.mktemp()).absolute())
        self.addCleanup(network.stop)
        self.node = network.node().wait_until_listening()
        assert self.node.api_port is not None
        self.client = VoidPhone(self.node.api_port)
        self.addCleanup(self.client.close)
        self.peer = IndependentPeer("main", DIFFICULTY, self.node.p2p_port)
        self.addCleanup(self.peer.close)
        # As behind a NAT: it is no contact, and gets nothing but what it asked for.
        self.peer.answers_hellos = False

    def notified(self) -> Message:
        """The next NOTIFY of the node, which the peer confirms."""
        items = read_message(self.peer.response())
        self.peer.send(self.peer.session.data(write_message([items[0], 64, 0])))
        return items

    def put(self, value: bytes) -> bytes:
        """Put; return the mark of the record."""
        return mark(self.client.put_with_receipt(KEY, value).version, value)

    def test_change(self) -> None:
        """It is told what the node holds, and of each change, once; not after it has given its lease back."""
        answer = read_message(self.peer.call(watch(1)))
        self.assertEqual(answer[1:], [WATCHING, 60_000, bytes(8), b"\0\0"])
        first = self.put(b"first")
        self.assertEqual(self.notified()[1:], [NOTIFY, KEY, first])
        second = self.put(b"second")
        self.assertEqual(self.notified()[1:], [NOTIFY, KEY, second])
        answer = read_message(self.peer.call_again(watch(2, begins=0)))
        self.assertEqual(answer[1:], [WATCHING, 0, second, b"\0\0"])
        third = self.put(b"third")
        answer = read_message(self.peer.call_again(watch(3)))
        self.assertEqual(answer, [(3).to_bytes(8, "big"), WATCHING, 60_000, third, b"\0\0"])

    def test_too_many(self) -> None:
        """A peer that asks for too many leases is refused, and goes on to be told by those that it has."""
        self.peer.call(watch(0))
        for number in range(1, LEASES_PER_NODE):
            answer = read_message(self.peer.call_again(watch(number, sha256(b"%d" % number))))
            self.assertEqual(answer[1], WATCHING, number)
        for number in range(2_000, 2_010):
            answer = read_message(self.peer.call_again(watch(number, sha256(b"%d" % number))))
            self.assertEqual(answer[1:], [REFUSED, b"\0\0", SHARE, 0])
        held = self.put(b"value")
        self.assertEqual(self.notified()[1:], [NOTIFY, KEY, held])
