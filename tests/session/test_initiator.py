import random

from twisted.trial.unittest import SynchronousTestCase

from dht14.session import handshake as hs
from dht14.session.initiator import LONGEST_QUEUE, Initiator
from tests.session.pair import BEGINNING, Side


class OpeningTests(SynchronousTestCase):
    """What waits for a handshake."""

    def setUp(self) -> None:
        self.called, self.caller = Side(1, ("192.0.2.1", 8000)), Side(2, ("192.0.2.2", 8000))
        secret = random.Random(1).randbytes(32)
        self.opening = Initiator.begin(self.called.address, None, b"12345678", secret, BEGINNING)

    def finish(self) -> bytes:
        (challenge,) = self.called.take(self.opening.datagram, self.caller.address)
        parsed = hs.Challenge.parse(challenge)
        self.opening.finish(parsed, self.caller.identity, self.called.identity.node_id, BEGINNING)
        return self.opening.datagram

    def test_carried(self) -> None:
        """The first request with room in a FINISH rides in it, and does not wait any more when it is resent."""
        large, small = bytes(hs.FINISH_ROOM + 1), b"small"
        for request in (large, small, b"other"):
            self.opening.enqueue(request)
        self.called.take(self.finish(), self.caller.address)
        self.assertEqual(self.called.received, [small])
        self.opening.enqueue(small)
        self.assertEqual(self.opening.take_waiting(), [large, b"other"])
        self.assertEqual(self.opening.take_waiting(), [])

    def test_once(self) -> None:
        """A request that is enqueued again waits once; an empty one is none."""
        for request in (b"one", b"one", b"", b"two", b"one"):
            self.opening.enqueue(request)
        self.assertEqual(self.opening.take_waiting(), [b"one", b"two"])

    def test_bounded(self) -> None:
        """So many wait, and no more."""
        for number in range(2 * LONGEST_QUEUE):
            self.opening.enqueue(b"%d" % number)
        self.assertEqual(len(self.opening.take_waiting()), LONGEST_QUEUE)

    def test_seeks(self) -> None:
        """One that knows an id seeks it; one that knows none takes whoever is there."""
        self.assertTrue(self.opening.seeks(1) and self.opening.seeks(2))
        sought = Initiator.begin(self.called.address, 7, b"12345678", bytes([1] * 32), BEGINNING)
        self.assertTrue(sought.seeks(7))
        self.assertFalse(sought.seeks(8))
