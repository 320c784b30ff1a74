import random

from twisted.trial.unittest import SynchronousTestCase

from dht14.session import handshake as hs
from dht14.session.initiator import MAX_WAITING_REQUESTS, Initiator
from dht14.session.layer import Target
from tests.session.pair import BEGINNING, Side


class InitiatorTests(SynchronousTestCase):
    """What waits for a handshake."""

    def setUp(self) -> None:
        self.called, self.caller = Side(1, ("192.0.2.1", 8000)), Side(2, ("192.0.2.2", 8000))
        secret = random.Random(1).randbytes(32)
        self.initiator = Initiator.begin(
            Target(self.called.address, None, False), b"12345678", secret, BEGINNING
        )

    def finish(self) -> bytes:
        (challenge,) = self.called.take(self.initiator.datagram, self.caller.address)
        parsed = hs.Challenge.parse(challenge)
        self.initiator.finish(parsed, self.caller.identity, self.called.identity.node_id, BEGINNING)
        return self.initiator.datagram

    def test_carried(self) -> None:
        """The FINISH carries the first request that fits; a resend of it does not wait."""
        large, small = bytes(hs.MAX_FINISH_REQUEST_BYTES + 1), b"small"
        for request in (large, small, b"other"):
            self.initiator.enqueue(request)
        self.called.take(self.finish(), self.caller.address)
        self.assertEqual(self.called.received, [small])
        self.initiator.enqueue(small)
        self.assertEqual(self.initiator.take_waiting(), [large, b"other"])
        self.assertEqual(self.initiator.take_waiting(), [])

    def test_once(self) -> None:
        """A request that is enqueued again waits once; an empty one is none."""
        for request in (b"one", b"one", b"", b"two", b"one"):
            self.initiator.enqueue(request)
        self.assertEqual(self.initiator.take_waiting(), [b"one", b"two"])

    def test_bounded(self) -> None:
        """The number of waiting requests is bounded."""
        for number in range(2 * MAX_WAITING_REQUESTS):
            self.initiator.enqueue(b"%d" % number)
        self.assertEqual(len(self.initiator.take_waiting()), MAX_WAITING_REQUESTS)
